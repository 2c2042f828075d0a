"""What may refuse a valid object: admission webhooks, then quotas."""

from __future__ import annotations

from lambda_builder.devcluster.faults import Faults
from lambda_builder.devcluster.objects import Resource
from lambda_builder.devcluster.quotas import Quotas
from lambda_builder.devcluster.statuses import REASONS, ApiError, object_details

_WEBHOOK = "policy.devcluster.example"


class Policies:
    """Asks webhooks, which are faults of the kinds ``deny`` and ``webhook_error``, and quotas.

    The words and codes are those of ``apiserver/pkg/admission/plugin/webhook``: a denial has the
    code that the webhook gave, a webhook that cannot be asked (and whose ``failurePolicy`` is
    ``Fail``) is an internal error. On the server's thread only.
    """

    def __init__(self, faults: Faults, quotas: Quotas) -> None:
        self._faults = faults
        self._quotas = quotas

    def check(self, verb: str, resource: Resource, namespace: str, name: str) -> None:
        """Raise the refusal of an object that is to be created or changed."""
        if self._faults:
            self._ask_webhooks(verb, resource, name)
        if verb == "create":
            self._quotas.check(resource, namespace, name)

    def _ask_webhooks(self, verb: str, resource: Resource, name: str) -> None:
        for fault in self._faults.for_admission(verb, resource.plural, name):
            webhook = fault.webhook or _WEBHOOK
            if fault.kind == "deny":
                code = fault.status or 403
                words = fault.message or "not allowed by devcluster"
                raise ApiError(
                    code,
                    REASONS.get(code, ""),
                    f'admission webhook "{webhook}" denied the request: {words}',
                    object_details(resource, name) if code == 403 else {},
                )
            words = fault.message or (
                f'failed to call webhook: Post "https://{webhook}:443/validate?timeout=10s": '
                "context deadline exceeded"
            )
            words = f'failed calling webhook "{webhook}": {words}'
            raise ApiError(
                500,
                "InternalError",
                f"Internal error occurred: {words}",
                {"causes": [{"message": words}]},
            )

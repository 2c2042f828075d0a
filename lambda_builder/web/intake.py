"""Intake: a POST of events answered, as docs/http-api.rst has it, whoever calls: Flask or WSGI."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import structlog

from lambda_builder.access.policies import Caller
from lambda_builder.access.rules import SEND, Action
from lambda_builder.builds import BuildRequest, CommandRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.events.reader import Delivery
from lambda_builder.pipeline.acceptance import Receipt
from lambda_builder.problems import KINDS
from lambda_builder.steering.audit import Actor, Target
from lambda_builder.steps import Steps, Work
from lambda_builder.web import answers, correlation, problems
from lambda_builder.web.acknowledgement import wait_until_created
from lambda_builder.web.answers import Answer
from lambda_builder.web.posted import Posted
from lambda_builder.web.services import Services

_Event = BuildRequest | CommandRequest

_NOT_KEPT = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)
_LOGGED = 10
"""Most field names in one log line."""


class Intake:
    """Accepts the events of requests, of each all or none; thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def answer(self, environ: dict[str, Any]) -> Answer:
        """Answer one request, however long that takes, and count how; raises nothing."""
        return self._work(environ, in_thread=True).finish()

    def begin(self, environ: dict[str, Any]) -> Work[Answer]:
        """Return the work of answering one request, and of counting how; it raises nothing."""
        return self._work(environ, in_thread=False)

    def _work(self, environ: dict[str, Any], *, in_thread: bool) -> Work[Answer]:
        slot = ExitStack()

        def wait_for_disk() -> None:
            # A disk that stalls must not take the threads that answer probes.
            if self._services.settings.has_journal:
                slot.enter_context(self._services.threads.recording.take())

        steps = self._answering(Posted(environ), slot, in_thread=in_thread)
        return Work(steps, wait_for_disk)

    def _answering(self, posted: Posted, slot: ExitStack, *, in_thread: bool) -> Steps[Answer]:
        try:
            with slot:
                answer = yield from self._accept(posted, slot, in_thread=in_thread)
        except Exception as error:  # noqa: BLE001 - told to the sender and in the log
            answer = problems.of_error(error, posted.correlation_id)
        answer.headers[correlation.HEADER] = correlation.header_text(posted.correlation_id)
        answer.headers.update(self._services.limits.headers(posted.tenants))
        self._services.metrics.count_answer(answer.kind)
        return answer

    def _accept(self, posted: Posted, slot: ExitStack, *, in_thread: bool) -> Steps[Answer]:
        services = self._services
        with ExitStack() as slots:
            try:
                self._refuse_while_shutting_down()
                caller = services.access.check(SEND, posted.environ, lambda: self._body(posted))
                delivery = self._read(posted)
                waits = self._waits_for_jobs(delivery)
                commands = _commands_of(delivery)
                if not commands:
                    delivery = self._permitted(posted, delivery, caller)
                if in_thread or waits or commands:
                    yield None
                if commands:  # who sent one that is not permitted is noted in the journal
                    delivery = self._permitted(posted, delivery, caller)
                # Before anything is accepted: a refusal here must leave nothing behind.
                if waits:
                    slots.enter_context(services.threads.acknowledgements.take())
                with services.command_events.keeping(_commands_of(delivery)):
                    receipts = yield from self._accept_builds(delivery, caller)
                services.access.accepted(caller)
            except Refused as refused:
                yield from self._note_rejection(posted, refused)
                raise
            slot.close()
            try:
                return self._accepted(posted, delivery, receipts, waits=waits)
            except Refused as refused:
                _log_refusal(posted, refused)
                raise

    # -- reading -------------------------------------------------------------------------------

    def _refuse_while_shutting_down(self) -> None:
        if self._services.creator.is_shutdown:
            raise Refused(
                RefusalCode.SHUTTING_DOWN,
                "shutting down, please retry: another replica may take it",
            )

    def _body(self, posted: Posted) -> bytes:
        posted.read_body(self._services.settings.max_body_bytes)
        return posted.body

    def _read(self, posted: Posted) -> Delivery:
        services = self._services
        try:
            delivery = services.reader.read(posted.headers, self._body(posted), now=time.time())
        except Refused as refused:
            if refused.code is RefusalCode.UNSUPPORTED_EVENT_TYPE:
                services.metrics.count_received("", posted.apparent_mode)
            raise
        for event in delivery.events:
            services.metrics.count_received(event.event_type, delivery.mode)
        if len(delivery.events) == 1:
            posted.correlation_id = delivery.events[0].correlation_id
        if services.limits.are_set:
            known = (event.third_party_id for event in delivery.events)
            posted.tenants = frozenset(filter(None, known))
        return delivery

    def _permitted(self, posted: Posted, delivery: Delivery, caller: Caller) -> Delivery:
        """Return it, commands with who sent them; where these are refused that is noted."""
        services, commands = self._services, _commands_of(delivery)
        if not commands:
            permitted = services.access.permit(caller, delivery.mode, delivery.events)
            if permitted is delivery.events:
                return delivery
            return replace(delivery, events=permitted)
        by = Actor(caller.name, services.access.address_of(posted.environ))
        try:
            permitted = services.access.permit(caller, delivery.mode, delivery.events)
        except Refused as refused:
            for command in commands if not caller.is_anonymous else ():
                services.audit.failed(by, command.action, [Target.named_by(command)], refused.code)
            raise
        return replace(delivery, events=tuple(_sent_by(by, event) for event in permitted))

    def _waits_for_jobs(self, delivery: Delivery) -> bool:
        return self._services.settings.ack == "created" and any(
            isinstance(event, BuildRequest) for event in delivery.events
        )

    # -- accepting -----------------------------------------------------------------------------

    def _accept_builds(self, delivery: Delivery, caller: Caller) -> Steps[list[Receipt]]:
        builds = [event for event in delivery.events if isinstance(event, BuildRequest)]
        if not builds:
            return []
        tenants = caller.may(Action.SEND)
        return (yield from self._services.acceptance.accepting(builds, tenants))

    def _accepted(
        self, posted: Posted, delivery: Delivery, receipts: list[Receipt], *, waits: bool
    ) -> Answer:
        services = self._services
        if waits:
            states = wait_until_created(
                receipts,
                timeout=services.settings.ack_timeout_seconds,
                is_shutdown=lambda: services.creator.is_shutdown,
            )
        else:
            states = [receipt.state for receipt in receipts]
        built = iter(zip(receipts, states, strict=True))
        described = [
            answers.accepted_build(*next(built))
            if isinstance(event, BuildRequest)
            else answers.accepted_command(event)
            for event in delivery.events
        ]
        batch = delivery.mode == "batch"
        if not batch:
            # Of the build that is known, where this one is a duplicate.
            posted.correlation_id = described[0]["correlation_id"]
        empty = answers.wants_empty(services.settings.reply_mode, posted.headers.get("prefer"))
        return answers.acceptance(described, batch=batch, empty=empty)

    # -- refusing ------------------------------------------------------------------------------

    def _note_rejection(self, posted: Posted, refused: Refused) -> Steps[None]:
        """Count, keep and log a refused delivery: one bounded line without anything of its body.

        Nothing is kept of what is sent again, nor of what comes from nobody: that could push out
        the rest.
        """
        _log_refusal(posted, refused)
        rejections = self._services.rejections
        status = KINDS[refused.code].status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _NOT_KEPT:
            rejections.count(refused.code.value)
            return
        if self._services.settings.has_journal:
            try:
                yield None  # how much waits to be told has to be asked of the journal
            except Refused:
                rejections.count(refused.code.value)
                return
        rejections.add(
            refused.code.value,
            refused.detail,
            headers=posted.headers,
            body=posted.body,
            correlation_id=posted.correlation_id,
        )


def _sent_by(by: Actor, event: _Event) -> _Event:
    """Have a command say who sent it."""
    if isinstance(event, CommandRequest):
        return replace(event, identity=by.identity, address=by.address)
    return event


def _commands_of(delivery: Delivery) -> list[CommandRequest]:
    return [event for event in delivery.events if isinstance(event, CommandRequest)]


def _log_refusal(posted: Posted, refused: Refused) -> None:
    """Log a delivery that was not answered as accepted."""
    fields: dict[str, Any] = {"code": refused.code.value, "correlation_id": posted.correlation_id}
    if refused.errors:
        fields["fields"] = [problem.field[:64] for problem in refused.errors[:_LOGGED]]
    structlog.get_logger().warning(
        "event_rejected",
        **fields,
        content_type=posted.headers.get("content-type", "")[:100],
        content_length=posted.announced,
    )

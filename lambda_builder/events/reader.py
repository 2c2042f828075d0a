"""CloudEvents over HTTP: headers and a body in, build and command requests out.

Knows no Flask and no threads. See docs/http-api.rst for what is accepted and what is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lambda_builder.builds import (
    Action,
    BuildRequest,
    CommandRequest,
    Priority,
    job_name,
    netstring_digest,
    third_party_of,
)
from lambda_builder.errors import FieldProblem, RefusalCode, Refused
from lambda_builder.events.attributes import (
    REQUIRED,
    UPSTREAM_FAMILY,
    read_attributes,
    sent_correlation_id,
    traceparent_of,
)
from lambda_builder.events.binding import (
    ContentMode,
    Message,
    RawEvent,
    is_json,
    load_json,
    read_message,
)
from lambda_builder.events.data import (
    BuildData,
    CommandData,
    UpstreamBuildData,
    UpstreamCommandData,
    problems_of,
)
from lambda_builder.jsontext import dump_utf8
from lambda_builder.settings import CANCEL_EVENT_TYPES, COMMAND_EVENT_TYPES

MAX_PROBLEMS = 100
"""Most entries of one answer's ``errors``."""
_MOST_IN_DETAIL = 5
"""Problems that ``detail`` spells out."""
_Problem = tuple[RefusalCode, FieldProblem]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one HTTP request brought, in its order."""

    mode: ContentMode
    events: tuple[BuildRequest | CommandRequest, ...]


class EventReader:
    """Reads requests; holds nothing but its settings, so threads may share it."""

    def __init__(
        self, *, strict: bool, build_event_types: tuple[str, ...], name_by_target: bool = False
    ) -> None:
        """``name_by_target`` names Jobs by third party and parser instead of by the event."""
        self._strict = strict
        self._build_types = build_event_types
        self._name_by_target = name_by_target

    def read(self, headers: Mapping[str, str], body: bytes, *, now: float) -> Delivery:
        """Read one request; ``headers`` as WSGI gives them, ``now`` in seconds since the epoch.

        Raises ``Refused``, and nothing else whatever the input. It carries every problem found,
        of a batch by index (``[3].parser_id``), and then no event of the batch is taken.
        """
        message = read_message(headers, body)
        requests: list[BuildRequest | CommandRequest] = []
        problems: list[_Problem] = []
        for index, raw in enumerate(message.events):
            outcome = self._read_event(message, raw, now)
            if not isinstance(outcome, list):
                requests.append(outcome)
            elif message.mode == "batch":
                problems += [(code, _indexed(index, problem)) for code, problem in outcome]
            else:
                problems += outcome
        if problems:
            raise _refused(problems)
        return Delivery(message.mode, tuple(requests))

    def _read_event(
        self, message: Message, raw: RawEvent, now: float
    ) -> BuildRequest | CommandRequest | list[_Problem]:
        attributes = read_attributes(raw, strict=self._strict)
        values = attributes.values
        problems = [(RefusalCode.INVALID_EVENT, problem) for problem in attributes.problems]
        correlation_id, at_fault = sent_correlation_id(message, values)
        problems += [(RefusalCode.INVALID_EVENT, problem) for problem in at_fault]
        kind = values.get("type")
        if not isinstance(kind, str) or not kind:
            return problems
        if kind not in self._build_types and kind not in COMMAND_EVENT_TYPES:
            return [*problems, self._unsupported(kind)]
        if self._strict and not _declares_json(raw, values):
            problem = FieldProblem("datacontenttype", "must be JSON")
            problems.append((RefusalCode.INVALID_EVENT, problem))
        data, fields, at_fault = _read_data(raw, self._model(kind))
        problems += [(RefusalCode.INVALID_DATA, problem) for problem in at_fault]
        if problems or fields is None:
            return problems
        traceparent = traceparent_of(message, values)
        if isinstance(fields, BuildData):
            return self._build(values, data, fields, correlation_id, traceparent, now)
        return _command(values, fields, correlation_id, now)

    def _model(self, kind: str) -> type[BuildData] | type[CommandData]:
        """Return what validates the data of events of that type."""
        if kind in self._build_types:
            return UpstreamBuildData if kind.startswith(UPSTREAM_FAMILY) else BuildData
        return UpstreamCommandData if kind.startswith(UPSTREAM_FAMILY) else CommandData

    def _unsupported(self, kind: str) -> _Problem:
        supported = ", ".join((*self._build_types, *COMMAND_EVENT_TYPES))
        message = f"unsupported event type {kind[:100]!r}; supported: {supported}"
        return RefusalCode.UNSUPPORTED_EVENT_TYPE, FieldProblem("type", message)

    def _build(
        self,
        values: Mapping[str, Any],
        data: dict[str, Any],
        fields: BuildData,
        correlation_id: str,
        traceparent: str | None,
        now: float,
    ) -> BuildRequest:
        event_id, source = values["id"], values["source"]
        third_party_id = _known(fields.third_party_id) or third_party_of(source)
        event_hash = netstring_digest(source, event_id)
        target = (third_party_id, fields.parser_id)
        return BuildRequest(
            event_id=event_id,
            event_source=source,
            event_type=values["type"],
            parser_id=fields.parser_id,
            third_party_id=third_party_id,
            correlation_id=correlation_id or fields.correlation_id.strip() or event_id,
            event_hash=event_hash,
            job_name=job_name(
                *target, netstring_digest(*target) if self._name_by_target else event_hash
            ),
            priority=Priority(fields.priority),
            runtime=_known(fields.runtime),
            context_url=_known(fields.context_url),
            image=_known(fields.image),
            content_hash=_known(fields.content_hash),
            build_args=fields.build_args,
            event=_event_json(values, data),
            traceparent=traceparent,
            accepted_at=round(now, 3),
        )


def _command(
    values: Mapping[str, Any], fields: CommandData, correlation_id: str, now: float
) -> CommandRequest:
    return CommandRequest(
        action=Action.CANCEL if values["type"] in CANCEL_EVENT_TYPES else Action.RETRY,
        event_id=values["id"],
        event_source=values["source"],
        event_type=values["type"],
        correlation_id=correlation_id or values["id"],
        target_correlation_id=fields.correlation_id.strip() or None,
        job_name=fields.job_name.strip() or None,
        third_party_id=_known(fields.third_party_id),
        parser_id=_known(fields.parser_id),
        accepted_at=round(now, 3),
    )


def _known(text: str) -> str | None:
    return text if text.strip() else None


def _event_json(values: Mapping[str, Any], data: dict[str, Any]) -> bytes:
    """Return the event in one order of attributes, however it came."""
    content_type = values.get("datacontenttype", "")
    event = {name: values[name] for name in REQUIRED}
    # What was read as JSON is passed on as JSON.
    event["datacontenttype"] = content_type if is_json(content_type) else "application/json"
    event.update(item for item in values.items() if item[0] not in event)
    event["data"] = data
    return dump_utf8(event)


def _declares_json(raw: RawEvent, values: Mapping[str, Any]) -> bool:
    content_type = values.get("datacontenttype")
    if content_type is None:
        return not raw.encoded
    return isinstance(content_type, str) and is_json(content_type)


def _read_data(
    raw: RawEvent, model: type[BuildData] | type[CommandData]
) -> tuple[dict[str, Any], BuildData | CommandData | None, list[FieldProblem]]:
    try:
        data = _decoded_data(raw)
    except ValueError as error:
        return {}, None, [FieldProblem("data", str(error))]
    if not isinstance(data, dict):
        return {}, None, [FieldProblem("data", "must be a JSON object")]
    try:
        fields = model.model_validate(data)
    except ValidationError as error:
        return {}, None, problems_of(error)
    if isinstance(fields, CommandData) and not fields.names_a_target:
        message = "must name correlation_id, job_name, or third_party_id and parser_id"
        return {}, None, [FieldProblem("data", message)]
    return data, fields, []


def _decoded_data(raw: RawEvent) -> Any:
    """Return the data as JSON; raises ``ValueError`` with a message for the sender."""
    if raw.data_base64 is not None:
        if raw.data is not None:
            raise ValueError("must not be there beside data_base64")
        if not isinstance(raw.data_base64, str):
            raise ValueError("data_base64 must be a string")
        try:
            return load_json(base64.b64decode(raw.data_base64, validate=True))
        except ValueError as error:
            raise ValueError(f"data_base64 must hold JSON: {error}") from None
    return load_json(raw.data) if isinstance(raw.data, bytes) else raw.data


def _indexed(index: int, problem: FieldProblem) -> FieldProblem:
    return FieldProblem(f"[{index}].{problem.field}", problem.message)


def _refused(problems: list[_Problem]) -> Refused:
    texts = [f"{problem.field}: {problem.message}" for _, problem in problems[:_MOST_IN_DETAIL]]
    if len(problems) > _MOST_IN_DETAIL:
        texts.append(f"and {len(problems) - _MOST_IN_DETAIL} more")
    return Refused(
        problems[0][0],
        "; ".join(texts),
        errors=[problem for _, problem in problems[:MAX_PROBLEMS]],
    )

"""The data of build and command events: the models that validate, and that OpenAPI is made from.

Types are strict: nothing is coerced, and an explicit null is an error. Fields that the models do
not know are ignored here; the event keeps them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from lambda_builder.errors import FieldProblem

MAX_TEXT = 253
"""Longest id or label-like value, in characters."""
MAX_REFERENCE = 2048
"""Longest ``context_url`` or ``image``, in characters."""
MAX_ARG = 4096
"""Longest value of a build argument, in characters."""
MAX_ARGS = 100
MAX_SHOWN = 64
"""Characters of a sender's own field name that an answer repeats."""
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _not_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("blank", "must not be empty")
    return value


def _few(value: Any) -> Any:
    # Counted first: judging each of a hundred thousand entries would hold up everyone else.
    if isinstance(value, dict) and len(value) > MAX_ARGS:
        raise PydanticCustomError("too_long", "too long", {"max_length": MAX_ARGS})
    return value


_Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=_NO_CONTROLS)]
_Required = Annotated[
    str, Field(min_length=1, max_length=MAX_TEXT, pattern=_NO_CONTROLS), AfterValidator(_not_blank)
]
_Reference = Annotated[str, Field(max_length=MAX_REFERENCE, pattern=_NO_CONTROLS)]
_ArgName = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=_NO_CONTROLS)]
_ArgValue = Annotated[str, Field(max_length=MAX_ARG, pattern=_NO_CONTROLS)]
_Args = Annotated[dict[_ArgName, _ArgValue], Field(max_length=MAX_ARGS), BeforeValidator(_few)]


_STAND_INS = {"parser_id": "name", "third_party_id": "namespace"}
"""The names of upstream's events that stand in for ours."""
_PARSER_ID = AliasChoices("parser_id", _STAND_INS["parser_id"])
_THIRD_PARTY_ID = AliasChoices("third_party_id", _STAND_INS["third_party_id"])


class BuildData(BaseModel):
    """Data of an event that asks for a build. An empty optional string counts as absent."""

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    parser_id: _Required
    """What to build."""
    third_party_id: _Text = ""
    """Whose it is; by default the event's ``source`` without ``network.notifi.``."""
    correlation_id: _Text = ""
    """Used where neither a header nor an extension gives one."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Builds of higher priority leave the queue first."""
    runtime: _Text = ""
    """For the Job template."""
    context_url: _Reference = ""
    """Build context, instead of the one that is configured."""
    image: _Reference = ""
    """Image to push, instead of the one that is configured."""
    content_hash: _Text = ""
    """For the Job template."""
    build_args: _Args = Field(default_factory=dict)
    """Arguments of the image build, by name."""


class CommandData(BaseModel):
    """Data of an event that cancels or retries builds, which it names in one of three ways."""

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    correlation_id: _Text = ""
    """That of the builds, not of the command."""
    job_name: _Text = ""
    third_party_id: _Text = ""
    """Together with ``parser_id``."""
    parser_id: _Text = ""
    """Together with ``third_party_id``."""

    @property
    def names_a_target(self) -> bool:
        """Whether there is anything to look a build up by."""
        pair = self.third_party_id.strip() and self.parser_id.strip()
        return bool(self.correlation_id.strip() or self.job_name.strip() or pair)


def _stand_in(model: dict[str, Any]) -> None:
    """Add upstream's names to a JSON schema: of each pair one is enough."""
    properties = model["properties"]
    for ours, theirs in _STAND_INS.items():
        properties[theirs] = {
            **properties[ours],
            "title": theirs.title(),
            "description": f"Stands in for `{ours}` where that is missing.",
        }
    required = model.pop("required", ())
    if required:
        model["anyOf"] = [{"required": [name]} for name in ("parser_id", _STAND_INS["parser_id"])]


class _UpstreamNames(BaseModel):
    """What the ``io.knative.lambda`` family has: other names for the two ids."""

    model_config = ConfigDict(json_schema_extra=_stand_in)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:
        # An empty id is absent, so that its stand-in counts.
        if isinstance(data, dict):
            return {k: v for k, v in data.items() if not (k in _STAND_INS and v == "")}
        return data


class UpstreamBuildData(_UpstreamNames, BuildData):
    """Data of an ``io.knative.lambda`` event that asks for a build."""

    parser_id: _Required = Field(validation_alias=_PARSER_ID)
    """What to build."""
    third_party_id: _Text = Field("", validation_alias=_THIRD_PARTY_ID)
    """Whose it is; by default the event's ``source`` without ``network.notifi.``."""


class UpstreamCommandData(_UpstreamNames, CommandData):
    """Data of an ``io.knative.lambda`` event that cancels or retries builds."""

    third_party_id: _Text = Field("", validation_alias=_THIRD_PARTY_ID)
    """Together with ``parser_id``."""
    parser_id: _Text = Field("", validation_alias=_PARSER_ID)
    """Together with ``third_party_id``."""


def problems_of(error: ValidationError) -> list[FieldProblem]:
    """Put pydantic's errors into the words of a problem answer, one for each field at fault."""
    return [
        FieldProblem(_field(problem["loc"]), _message(problem))
        for problem in error.errors(include_url=False)
    ]


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:MAX_SHOWN] for part in location if part != "[key]") or "data"


def _message(problem: ErrorDetails) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "missing":
        return "is required"
    if problem["input"] is None:
        return "must not be null"
    return _MESSAGES.get(kind, problem["msg"]).format(**_numbers(context))


def _numbers(context: dict[str, Any]) -> dict[str, Any]:
    return {"max_length": context.get("max_length"), "expected": context.get("expected")}


_MESSAGES = {
    "blank": "must not be empty",
    "string_too_short": "must not be empty",
    "string_type": "must be a string",
    "string_too_long": "must be at most {max_length} characters long",
    "string_pattern_mismatch": "must not contain control characters",
    "literal_error": "must be one of {expected}",
    "dict_type": "must be an object of strings",
    "too_long": "must have at most {max_length} entries",
    "model_type": "must be a JSON object",
}

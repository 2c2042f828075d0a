"""Reading the settings: every problem at once, by the name of its variable."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lambda_builder.errors import BootError
from lambda_builder.settings.constants import PREFIX
from lambda_builder.settings.model import Settings
from lambda_builder.settings.variables import WITHOUT_PREFIX


def load() -> Settings:
    """Read the environment; raises ``BootError`` that lists every problem, one a line."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"  {_variable(each['loc'])}{_message(each)}" for each in error.errors()]
        raise BootError("\n".join(["invalid settings:", *lines])) from error


def _variable(location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    name = str(location[0]).upper()
    bare = name.startswith(PREFIX) or name.lower() in WITHOUT_PREFIX
    return f"{name if bare else PREFIX + name}: "


def _message(problem: ErrorDetails) -> str:
    """Say what a value must be, and what it is where that is no secret."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    told = _MESSAGES.get(kind, problem["msg"]).format(**context)
    shown = problem["input"]
    return f"{told}, is {shown[:100]!r}" if isinstance(shown, str) else told


_MESSAGES = {
    "greater_than": "must be over {gt:.10g}",
    "greater_than_equal": "must be at least {ge:.10g}",
    "less_than_equal": "must be at most {le:.10g}",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "string_too_long": "must be at most {max_length} characters long",
    "string_pattern_mismatch": (
        "must be a name as Kubernetes has them: of a-z, 0-9 and dashes, which are not at its ends"
    ),
}

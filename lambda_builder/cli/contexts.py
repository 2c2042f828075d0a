"""Contexts: the services that a user works with, by name, in one file.

``$XDG_CONFIG_HOME/lambda-builder/config.yaml``, or ``~/.config/…`` as the XDG base directory
specification has it::

    current: prod
    contexts:
      prod: {url: https://builds.example.com, token_file: ~/.config/lambda-builder/prod.token}
      here: {url: http://localhost:8080}
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.strict_yaml import load


class _Wrong(ValueError):
    """What the file holds is no list of contexts; says nothing of its text."""


@dataclass(frozen=True, slots=True)
class Context:
    """One service: where it is, and what it knows the user by."""

    url: str
    token_file: str | None = None
    token: str | None = None

    def secret(self) -> str | None:
        """Return the token; raises ``Failure`` where its file cannot be read."""
        if self.token_file is None:
            return self.token
        try:
            return Path(self.token_file).expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise Failure(
                f"{self.token_file} with the token cannot be read ({reason}): mend `token_file` in "
                f"{config_path()}.",
                Exit.USAGE,
            ) from error


@dataclass(slots=True)
class Contexts:
    """What the file holds."""

    current: str | None = None
    contexts: dict[str, Context] = field(default_factory=dict)

    def named(self, name: str) -> Context:
        """Return one; raises ``Failure`` where there is none of that name."""
        if name in self.contexts:
            return self.contexts[name]
        known = ", ".join(sorted(self.contexts)) or "none"
        raise Failure(
            f"there is no context {name!r} in {config_path()} (there: {known}): make it with "
            f"`lambda-builder context set {name} --url URL`.",
            Exit.USAGE,
        )

    def save(self) -> None:
        """Write the file, for its owner's eyes only; raises ``Failure``."""
        path = config_path()
        told = {
            "current": self.current,
            "contexts": {
                name: {key: value for key, value in asdict(each).items() if value is not None}
                for name, each in sorted(self.contexts.items())
            },
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made readable for the owner alone, and then put in place at once.
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                yaml.safe_dump(told, file, sort_keys=False, allow_unicode=True)
            os.replace(file.name, path)
        except OSError as error:
            raise Failure(f"{path} cannot be written: {error.strerror}.") from error


def config_path() -> Path:
    """Return where the file is."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "lambda-builder" / "config.yaml"


def read_contexts() -> Contexts:
    """Read the file, which need not be there; raises ``Failure`` where it is none of ours."""
    path = config_path()
    try:
        return _contexts(load(path.read_text("utf-8"), str(path)))
    except FileNotFoundError:
        return Contexts()
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise Failure(
            f"{path} is no list of contexts ({_reason(error)}): mend it, or move it away.",
            Exit.USAGE,
        ) from error


def _reason(error: Exception) -> str:
    """Say why the file cannot be read, without any of its text, which may hold tokens."""
    if isinstance(error, OSError):
        return error.strerror or "it cannot be read"
    if isinstance(error, _Wrong):
        return str(error)
    mark = getattr(error, "problem_mark", None)
    place = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
    return f"it is no YAML{place}"


def _contexts(told: Any) -> Contexts:
    if told is None:
        return Contexts()
    if not isinstance(told, dict) or not isinstance(told.get("contexts"), dict):
        raise _Wrong("it has no `contexts` with a name for each")
    contexts = {str(name): _context(each) for name, each in told["contexts"].items()}
    current = told.get("current")
    if current is not None and current not in contexts:
        raise _Wrong("`current` names none of its contexts")
    return Contexts(current, contexts)


def _context(told: Any) -> Context:
    known = {each.name for each in fields(Context)}
    if not isinstance(told, dict) or not told.keys() <= known or "url" not in told:
        raise _Wrong("each context has url, maybe token_file or token, and nothing else")
    if not all(isinstance(value, str | None) for value in told.values()):
        raise _Wrong("url, token_file and token are texts")
    return Context(**told)

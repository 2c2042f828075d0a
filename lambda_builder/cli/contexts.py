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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.strict_yaml import load


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
        told = load(path.read_text("utf-8"), str(path)) or {}
        return Contexts(_current(told), {n: _context(c) for n, c in told["contexts"].items()})
    except FileNotFoundError:
        return Contexts()
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise Failure(
            f"{path} is no list of contexts ({reason}): mend it, or move it away.", Exit.USAGE
        ) from error


def _current(told: dict[str, Any]) -> str | None:
    current = told.get("current")
    if current is not None and current not in told["contexts"]:
        raise TypeError(f"current: there is no context {current!r}")
    return None if current is None else str(current)


def _context(told: dict[str, Any]) -> Context:
    context = Context(**told)
    if not all(isinstance(value, str | None) for value in told.values()):
        raise TypeError("url, token_file and token are texts")
    return context

"""``AUTH_FILE``: its shape, and how it is read; docs/security.rst describes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from lambda_builder import strict_yaml
from lambda_builder.access.rules import ANONYMOUS, Action
from lambda_builder.errors import BootError

WEBHOOK_TOLERANCE_SECONDS = 300
"""As far as a time may be off at most: that is fixed in the library ``standardwebhooks``."""
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
]
"""Those of a public key: with ``none`` or a shared secret anybody could sign."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MOST_BYTES = 1_048_576


def https(url: str) -> str:
    """Return the URL; raises ``ValueError`` where others could change what comes from it."""
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not is_safe or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be an https:// URL without user, query and fragment")
    return url


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) and value else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
_Text = Annotated[str, Field(min_length=1, max_length=1024)]
_File = Annotated[Path, BeforeValidator(_path)]
_Digest = Annotated[str, BeforeValidator(_lower), Field(pattern=r"^[0-9a-f]{64}$")]
_Action = Annotated[Action, Field(strict=False)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class Hmac(_Model):
    """Who signs the bodies of what it sends with a shared secret."""

    scheme: Literal["github", "standard-webhooks"]
    secret_file: _File
    """One secret a line, so that it can be rotated."""
    tolerance_seconds: int = Field(WEBHOOK_TOLERANCE_SECONDS, ge=1, le=WEBHOOK_TOLERANCE_SECONDS)
    """How far the time of sending may be off; ``github`` tells none."""


class Source(NamedTuple):
    """Where the keys of an issuer come from."""

    issuer: str
    ca_file: Path | None = None
    token_file: Path | None = None


class Oidc(_Model):
    """Who has a token of an OpenID Connect issuer."""

    issuer: Annotated[_Text, AfterValidator(https)]
    audience: _Text
    subject: _Text
    """A pattern, in which ``*`` stands for any text."""
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = ["RS256", "ES256"]
    ca_file: _File | None = None
    """Certificates that the issuer's must come from, instead of the system's."""
    token_file: _File | None = None
    """A token of one's own, for an issuer that tells its keys only to those it knows."""
    jwks_file: _File | None = None
    """The keys, where they are not to be fetched."""

    @property
    def source(self) -> Source:
        """Where its keys come from."""
        return Source(self.issuer, self.ca_file, self.token_file)


class Identity(_Model):
    """One that may be known, and by what."""

    name: _Name
    token_sha256: Annotated[list[_Digest], Field(min_length=1)] | None = None
    hmac: Hmac | None = None
    oidc: Oidc | None = None

    @model_validator(mode="after")
    def _has_one_proof(self) -> Identity:
        proofs = [p for p in (self.token_sha256, self.hmac, self.oidc) if p is not None]
        if self.name == ANONYMOUS and proofs:
            raise ValueError("anonymous is whoever shows nothing, so it can have no proof")
        if self.name != ANONYMOUS and len(proofs) != 1:
            raise ValueError("must have one of token_sha256, hmac and oidc")
        return self


class Policy(_Model):
    """What some identities may do, for which tenants."""

    identities: Annotated[list[_Name], Field(min_length=1)]
    actions: Annotated[list[_Action], Field(min_length=1)]
    tenants: list[_Text] = []
    """Patterns, in which ``*`` stands for any text."""

    @model_validator(mode="after")
    def _says_for_whom(self) -> Policy:
        if not self.tenants and {*self.actions} - {Action.METRICS}:
            raise ValueError('must have tenants, such as ["*"]')
        return self


class AuthFile(_Model):
    """The whole file."""

    identities: list[Identity] = []
    policies: list[Policy] = []

    @model_validator(mode="after")
    def _agree(self) -> AuthFile:
        names = [identity.name for identity in self.identities]
        problems = [f"two identities are named {name}" for name in _twice(names)]
        unknown = {name for policy in self.policies for name in policy.identities} - {*names}
        problems += [f"policies name {name}, which is no identity" for name in sorted(unknown)]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def read(path: Path) -> AuthFile:
    """Read the file; raises ``BootError`` with every problem, one a line, and no secret."""
    try:
        content = strict_yaml.load(read_small(path), str(path))
        return AuthFile.model_validate({} if content is None else content)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        problems = [_without_excerpt(error)]
    raise broken(path, problems)


def broken(path: Path, problems: Sequence[str]) -> BootError:
    """Return the error that tells what is wrong with the file at ``path``."""
    return BootError("\n".join([f"invalid AUTH_FILE {path}:", *(f"  {each}" for each in problems)]))


def read_small(path: Path) -> str:
    """Return a file's text; raises ``OSError``, and ``ValueError`` for what is no small text."""
    with open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{path} is over {_MOST_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8") from error


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _without_excerpt(error: Exception) -> str:
    """Say what is wrong with YAML and where, but not what stands there: it may be a secret."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"

"""What provenance is signed by. Apart from ``dsse``, whose cryptography takes 7 MiB of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_builder.errors import BootError
from lambda_builder.settings import PREFIX, Settings

if TYPE_CHECKING:
    from lambda_builder.lifecycle.dsse import Signer

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


def signer_of(settings: Settings) -> Signer | None:
    """Return what signs, where a key is set; raises ``BootError`` for one that cannot."""
    path = settings.provenance_key_file
    if path is None:
        return None
    # Only here: it takes time and memory to import.
    from lambda_builder.lifecycle.dsse import DsseError, Signer  # noqa: PLC0415

    try:
        return Signer.from_file(path)
    except (OSError, DsseError) as error:
        raise BootError(f"{PREFIX}PROVENANCE_KEY_FILE={path}: {error}") from error

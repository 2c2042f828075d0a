"""The URL of a PostgreSQL database, as a setting."""

from __future__ import annotations

from pathlib import Path

from lambda_builder.errors import BootError
from lambda_builder.settings.constants import PREFIX

SCHEME = "postgresql://"
EXTRA = "lambda-builder[postgres]"


def check_journal_url(url: str) -> None:
    """Raise ``ValueError``, which shows nothing of ``url``, where libpq could not connect with it.

    libpq's rules: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
    """
    if not url.startswith(SCHEME) or any(character.isspace() for character in url):
        raise ValueError(f"must be a {SCHEME} URL")
    try:
        # Only here: it takes time and memory to import, and is an extra.
        import psycopg  # noqa: PLC0415
        from psycopg import conninfo  # noqa: PLC0415
    except ImportError:
        raise ValueError(f"needs a driver that is not installed: pip install {EXTRA}") from None
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        # Not with its text, which may show a part of the password.
        raise ValueError(
            f"must be a {SCHEME} URL as libpq reads it; a password is percent-encoded"
        ) from None
    # What of a password is not encoded is read as one of these, and they are shown.
    if any("@" in str(given.get(part, "")) for part in ("host", "port", "dbname")):
        raise ValueError("must have @ and / in its password written as %40 and %2F")


def check_password_file(path: Path | None, named: str = f"{PREFIX}JOURNAL_PASSWORD_FILE") -> None:
    """Raise ``BootError``, with what ``named`` the file, where it gives no password."""
    try:
        if path is not None and not path.read_text(encoding="utf-8").strip():
            raise BootError(f"{named}: {path} is empty")
    except (OSError, UnicodeDecodeError) as error:
        raise BootError(f"{named} cannot be read: {error}") from error

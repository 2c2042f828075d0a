"""Rows as arrays: one statement, and one text of it, however many rows there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lambda_builder.journal.rows import Row


def unnested(types: Mapping[str, str], name: str = "new") -> str:
    """Return a table expression of as many rows as the arrays have, numbered by ``place``."""
    arrays = ", ".join(f"%b::{kind}[]" for kind in types.values())
    return f"unnest({arrays}) WITH ORDINALITY AS {name} ({', '.join(types)}, place)"


def columns_of(rows: Iterable[Row]) -> list[Sequence[Any]]:
    """Return the arrays for ``unnested``; of one row at least."""
    return [list(column) for column in zip(*rows, strict=True)]

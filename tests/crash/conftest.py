"""Where the disks of these tests are made."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_builder.journal.sqlite import schema
from tests.crash.schema import NEXT_MIGRATION

_MEMORY = Path("/dev/shm")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory, where there is one: thousands of files are written and synced."""
    place = Path(tempfile.mkdtemp(dir=_MEMORY if _MEMORY.is_dir() else None))
    yield place
    shutil.rmtree(place)


@pytest.fixture(autouse=True)
def next_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images are opened by a version that is one migration ahead of their first writer."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT_MIGRATION))

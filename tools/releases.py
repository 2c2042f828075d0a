"""Name what the service runs on that has had no release for long: ``python tools/releases.py``.

Asks the package index, one request for each pin of requirements.lock. It needs the standard
library alone. Ends with 1 when anything is named, with 2 when the index cannot be asked.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
INDEX = "https://pypi.org/pypi/{name}/json"
LONGEST = timedelta(days=548)
"""Eighteen months."""
_SECONDS = 20


def main() -> None:
    """Ask, and say what was found."""
    pins = pinned(LOCK.read_text())
    try:
        answers = {name: ask(name) for name in pins}
    except (URLError, TimeoutError, ValueError) as error:
        sys.stderr.write(f"The package index cannot be asked, so nothing is known: {error}\n")
        sys.exit(2)
    old = list(without_release(answers, datetime.now(UTC)))
    for name, last in old:
        said = f"{last:%Y-%m-%d}" if last else "never"
        sys.stdout.write(f"{name}: last release {said}\n")
    sys.stdout.write(f"{len(old)} of {len(pins)} have had no release for eighteen months\n")
    sys.exit(1 if old else 0)


def pinned(lock: str) -> list[str]:
    """Return the names that a lock pins."""
    return re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)


def ask(name: str) -> dict[str, Any]:
    """Return what the index says of a project; raises ``URLError``, ``TimeoutError``."""
    with urlopen(INDEX.format(name=name), timeout=_SECONDS) as answer:  # noqa: S310 - https alone
        found: dict[str, Any] = json.load(answer)
    return found


def without_release(
    answers: Mapping[str, Mapping[str, Any]], now: datetime
) -> Iterable[tuple[str, datetime | None]]:
    """Yield each project whose last release is older than ``LONGEST``, and when that was.

    A release that was taken back, wholly or in part, counts by the files that are left.
    """
    for name, answer in answers.items():
        times = [
            datetime.fromisoformat(file["upload_time_iso_8601"].replace("Z", "+00:00"))
            for files in answer.get("releases", {}).values()
            for file in files
            if not file.get("yanked")
        ]
        last = max(times, default=None)
        if last is None or now - last > LONGEST:
            yield name, last


if __name__ == "__main__":
    main()

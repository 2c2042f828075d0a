"""Requests that nobody should send, as the bytes of one HTTP message, generated from a seed.

Each family draws one request after the other from its ``random.Random``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.hostile import bodies, headers, targets
from tests.hostile.messages import Hostile

FAMILIES: tuple[Callable[[random.Random], Hostile], ...] = (
    bodies.broken_json,
    bodies.deep_nesting,
    bodies.bad_utf8,
    bodies.odd_values,
    bodies.unicode_events,
    bodies.odd_batches,
    bodies.cancels,
    headers.content_types,
    headers.ce_headers,
    headers.broken_headers,
    headers.framing,
    headers.chunked,
    headers.cut_short,
    targets.request_lines,
    targets.job_paths,
)


def generate(rng: random.Random) -> Iterator[tuple[str, Hostile]]:
    """Yield each family's name and next request, for ever, in a new order each time round."""
    while True:
        for family in rng.sample(FAMILIES, len(FAMILIES)):
            yield family.__name__, family(rng)

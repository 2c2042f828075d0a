"""``ACK=created``: an event is answered only once its Job exists."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.pipeline.acceptance import Receipt

_LOOK_UP_SECONDS = 0.1
"""How soon a waiting request notices a shutdown, which no Future tells of."""


def wait_until_created(
    receipts: Sequence[Receipt], *, timeout: float, is_shutdown: Callable[[], bool]
) -> list[BuildState]:
    """Wait until each build has its Job, ``timeout`` seconds for all; return their states.

    Raises ``Refused``: ``build_failed`` for a build that is dead, ``ack_timeout``, or
    ``shutting_down``. The builds go on whatever is raised, so that the event, sent again, meets
    the same Job. Holds no lock.
    """
    deadline = time.monotonic() + timeout
    pending = {receipt.future for receipt in receipts}
    while True:
        for future in [future for future in pending if future.done()]:
            _refuse_dead(future)
            pending.discard(future)
        if not pending:
            return [receipt.future.result().state for receipt in receipts]
        if is_shutdown():
            raise _shutting_down()
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise Refused(
                RefusalCode.ACK_TIMEOUT,
                f"the Job was not created within {timeout:g} s; the build goes on, please retry",
            )
        wait(pending, timeout=min(remaining, _LOOK_UP_SECONDS), return_when=FIRST_COMPLETED)


def _refuse_dead(future: Future[BuildResult]) -> None:
    if future.cancelled():
        raise _shutting_down()
    if future.exception() is not None:
        raise Refused(RefusalCode.BUILD_FAILED, "the build failed, see the log")
    result = future.result()
    if result.state is BuildState.DEAD:
        why = "no reason known" if result.error is None else result.error.code
        raise Refused(RefusalCode.BUILD_FAILED, f"the Job could not be created: {why}")


def _shutting_down() -> Refused:
    return Refused(
        RefusalCode.SHUTTING_DOWN, "shutting down before the Job was created, please retry"
    )

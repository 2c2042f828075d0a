"""Works on a journal until it is killed, and says what was acknowledged, one JSON line each.

``python load.py PATH FIRST THREADS``: thread ``n`` records the builds FIRST + n, + THREADS, ...
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[3]))

from lambda_builder.builds import BuildState
from lambda_builder.journal import SqliteJournal
from tests.journals import make_message, make_request, make_result


def say(*words: object) -> None:
    """Write one line at once; the pipe takes short ones whole."""
    os.write(1, (json.dumps(words) + "\n").encode())


def work(journal: SqliteJournal, number: int, step: int) -> None:
    """Take builds through their lives."""
    while True:
        request = make_request(number)
        journal.record([request])
        say("recorded", number)
        if number % 3:
            journal.attempt(request.event_hash, 1)
            say("attempted", number, 1)
        if number % 5 == 1:
            message = make_message(number, key=request.event_hash)
            journal.finish(make_result(number), [message])
        if number % 5 == 2:
            journal.finish(make_result(number, BuildState.DEAD, attempts=4))
            if number % 10 == 2:
                journal.reopen(request)
                say("reopened", number)
        number += step


def main(path: str, first: str, threads: str) -> None:
    """Open the journal and load it."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    journal = SqliteJournal(Path(path), keep_seconds=3600, keep_max=1_000_000)
    journal.open()
    journal._housekeeping.start_round()
    for number in range(int(threads)):
        threading.Thread(target=work, args=(journal, int(first) + number, int(threads))).start()


if __name__ == "__main__":
    main(*sys.argv[1:])

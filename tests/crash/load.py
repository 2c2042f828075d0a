"""Works on a journal as the service does, and says what it asks for and what it is told.

``python load.py PATH SEED LIVES``: each life is a process that opens the journal anew. Lines, as
JSON: ``[operation, argument, ...]`` before a call, and ``["done"|"refused", thread]`` after it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from lambda_builder.builds import BuildState
from lambda_builder.errors import BootError, Refused
from lambda_builder.journal import OutboxMessage, SqliteJournal
from lambda_builder.journal.sqlite import schema
from lambda_builder.journal.sqlite.database import Database
from tests.crash.schema import NEXT_MIGRATION
from tests.journals import make_message, make_request, make_result, raw

THREADS = 3
_WEIGHTS = {
    "record": 30,
    "record_again": 6,
    "attempt": 15,
    "finish": 25,
    "forget": 4,
    "reopen": 6,
    "put": 5,
    "deliver": 12,
    "fail": 4,
    "look": 5,
}
"""How often a client takes which step."""
_ENDS = (BuildState.CREATED, BuildState.DEAD, BuildState.CANCELLED)


def say(*words: object) -> None:
    """Write one line at once; the pipe takes short ones whole."""
    os.write(1, (json.dumps(words) + "\n").encode())


class Client(threading.Thread):
    """Takes builds through their lives, each its own."""

    def __init__(self, journal: SqliteJournal, first: int, steps: int, seed: int) -> None:
        super().__init__()
        self._journal = journal
        self._next = first
        self._steps = steps
        self._choices = random.Random(seed)
        self._mine: list[int] = []
        self._messages: dict[str, int] = {}
        self._waiting: int | None = None

    def run(self) -> None:
        try:
            for _ in range(self._steps):
                (step,) = self._choices.choices([*_WEIGHTS], [*_WEIGHTS.values()])
                getattr(self, step if self._mine else "record")()
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)  # a load that has stopped would prove nothing

    def _ask(self, call: Callable[[], object], *words: object) -> bool:
        thread = threading.get_ident()
        say(*words, thread)
        try:
            call()
        except Refused:
            say("refused", thread)
            return False
        say("done", thread)
        return True

    def record(self) -> None:
        """Take in one build, or a batch."""
        count = self._choices.choice((1, 1, 1, 2, 5))
        numbers = list(range(self._next, self._next + count))
        self._next += count
        self._mine += numbers
        # Some need pages of their own beside the row's.
        requests = [
            make_request(n, event=b"x" * self._choices.choice((0, 0, 300, 5000))) for n in numbers
        ]
        recorded = self._ask(lambda: self._journal.record(requests), "record", numbers)
        self._waiting = numbers[0] if recorded else None

    def record_again(self) -> None:
        """A duplicate of one that waits, or a new life of one that ended."""
        number = self._any()
        self._ask(lambda: self._journal.record([make_request(number)]), "record", [number])

    def attempt(self) -> None:
        number, attempts = self._any(), self._choices.randint(1, 4)
        event_hash = make_request(number).event_hash
        self._ask(lambda: self._journal.attempt(event_hash, attempts), "attempt", number, attempts)

    def finish(self) -> None:
        """An outcome or a cancel, with what is told of it."""
        number, state = self._any(), self._choices.choice(_ENDS)
        self._waiting = None  # once it has an outcome it may be trimmed
        messages = self._new_messages(number, self._choices.choice((0, 1, 2)))
        result = make_result(number, state, attempts=2)
        ids = [message.id for message in messages]
        say("finish", number, state.value, 2, ids, threading.get_ident())
        self._journal.finish(result, messages)

    def forget(self) -> None:
        number, self._waiting = self._any(), None
        say("forget", number, threading.get_ident())
        self._journal.forget(make_request(number).event_hash)

    def reopen(self) -> None:
        number = self._any()
        self._ask(lambda: self._journal.reopen(make_request(number)), "reopen", number)

    def put(self) -> None:
        number = self._any()
        messages = self._new_messages(number, 2)
        ids = [message.id for message in messages]
        put = self._journal.outbox.put
        self._ask(lambda: put(messages, durable=True), "put", number, ids)

    def deliver(self) -> None:
        if self._messages:
            message_id = self._choices.choice(list(self._messages))
            number = self._messages.pop(message_id)
            say("delivered", number, message_id, threading.get_ident())
            self._journal.outbox.delivered(message_id)

    def fail(self) -> None:
        if self._messages:
            self._journal.outbox.failed(self._choices.choice(list(self._messages)), 1e9)

    def look(self) -> None:
        """A build that was recorded is found, unless the disk cannot be read."""
        if self._waiting is not None:
            with contextlib.suppress(Refused):
                found = self._journal.find(make_request(self._waiting).event_hash)
                assert found is not None, self._waiting

    def _any(self) -> int:
        return self._choices.choice(self._mine[-8:])

    def _new_messages(self, number: int, count: int) -> list[OutboxMessage]:
        messages = []
        for _ in range(count):
            name = f"{number}-{self._choices.getrandbits(40):x}"
            messages.append(
                make_message(
                    name,
                    key=make_request(number).event_hash,
                    destination=self._choices.choice(("sink", "dead_letter")),
                    body=b"y" * self._choices.choice((10, 2000)),
                )
            )
            self._messages[messages[-1].id] = number
        return messages


def opened(path: Path) -> SqliteJournal:
    """Open the journal; one that is refused is tried once more, as a pod is started again."""
    for last in (False, True):
        journal = SqliteJournal(path, keep_seconds=3600, keep_max=15)
        try:
            journal.open()
        except (BootError, Refused) as error:
            say("boot_refused", str(error))
            if last:
                os._exit(0)
        else:
            break
    return journal


def live(path: Path, seed: int, life: int, steps: int) -> None:
    """Open the journal, load it, keep house; even lives end by a kill."""
    journal = opened(path)
    house = journal._housekeeping
    house._log_bytes = 1 << 18
    house.short = life % 2 == 1  # free pages go at once
    clients = [
        Client(journal, (life * THREADS + n) * 10_000, steps, seed * 1000 + life * THREADS + n)
        for n in range(THREADS)
    ]
    for client in clients:
        client.start()
    say("trimming")
    house.start_round()
    for client in clients:
        client.join()
    if life % 2:
        journal.close(1.0)


def main(path: str, seed: str, lives: str, steps: str, *flags: str) -> None:
    """Work through the lives.

    With ``lazy`` no commit is synced, so that there is a loss to find; with ``damaged`` the file
    lacks a table when the second life begins, and all its builds can be read.
    """
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    if "lazy" in flags:
        writer = Database.writer

        def lazy(database: Database, *, durable: bool) -> sqlite3.Connection:
            return writer(database, durable=False)

        Database.writer = lazy  # type: ignore[assignment,method-assign]
    for life in range(int(lives)):
        child = os.fork()
        if not child:
            if life == int(lives) - 1:
                schema.MIGRATIONS += (NEXT_MIGRATION,)
            if "damaged" in flags and life == 1:
                with raw(Path(path)) as connection:
                    connection.execute("DROP TABLE probe")
            live(Path(path), int(seed), life, int(steps))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])

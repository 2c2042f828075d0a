"""A database that takes seconds for each answer."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from lambda_builder.errors import Refused
from tests.journals import make_message, make_request, make_result, shared_journal
from tests.slow_proxy import slow_proxy
from tests.waiting import wait_until

BACK_SECONDS = 5.0
SENDERS = 3


def event_hash(number):
    return make_request(number).event_hash


@pytest.fixture
def proxy(postgres_server):
    with slow_proxy(postgres_server.port) as each:
        yield each


@pytest.fixture
def open_one(proxy, journal_database, postgres_url):
    """Opens a journal for another replica, which goes through the proxy."""
    journals = []

    def open_journal(lease_seconds):
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{journal_database}"
        name = f"replica-{len(journals) + 1}"
        journal = shared_journal(url, name, lease_seconds=lease_seconds)
        journal.open()
        journals.append(journal)
        return journal

    yield open_journal
    proxy.delay = 0.0
    for journal in journals:
        journal.close(10.0)


def build(journal, numbers, until, accepted):
    """Record events and tell of their outcomes until ``until``; what was accepted is added."""
    for number in numbers:
        if time.monotonic() > until:
            return
        with contextlib.suppress(Refused):
            assert journal.record([make_request(number)]) == {}
            accepted.append(number)
            journal.finish(make_result(number, job_uid=f"uid-{number}"), [make_message(number)])


# The first is the second, five times as fast.
@pytest.mark.parametrize(
    ("delay", "lease_seconds"),
    [
        pytest.param(0.4, 1.0, id="a fifth of the shortest lease"),
        pytest.param(2.0, 5.0, id="the shortest lease", marks=pytest.mark.soak),
        pytest.param(2.0, 15.0, id="the default", marks=pytest.mark.soak),
    ],
)
def test_no_lease_is_lost_while_each_answer_of_the_database_takes_seconds(
    proxy, open_one, replica, database, delay, lease_seconds
):
    # One that is not slow notices at once when another's lease has lapsed.
    quick = replica(lease_seconds=lease_seconds)
    journals = [open_one(lease_seconds), open_one(lease_seconds)]
    accepted: list[int] = []
    for number, journal in enumerate(journals):
        build(journal, [number + 1], time.monotonic() + 10.0, accepted)
        assert journal.flush(10.0)
    proxy.delay = delay
    until = time.monotonic() + 3 * lease_seconds
    with ThreadPoolExecutor(2 * SENDERS) as pool:
        work = [
            pool.submit(
                build, journals[n % 2], range(1000 * n + 10, 1000 * (n + 1)), until, accepted
            )
            for n in range(2 * SENDERS)
        ]
        for each in work:
            each.result()
    proxy.delay = 0.0
    for journal in journals:
        wait_until(partial(all_is_well, journal), "all to be well", BACK_SECONDS)

    assert [each.stats()["leases_lost"] for each in (quick, *journals)] == [0, 0, 0]
    assert len(accepted) > 2 * SENDERS
    stored = dict(database("SELECT event_hash, state FROM builds"))
    assert all(stored.pop(event_hash(number)) == "created" for number in accepted)
    # What was refused, and is there all the same, is made too.
    left = [build.request.event_hash for each in journals for build in each.take_over(1000)]
    assert sorted(left) == sorted(stored)
    assert database("SELECT count(*) FROM outbox") == [(len(accepted),)]


def all_is_well(journal):
    with contextlib.suppress(Refused):
        return journal.available and journal.flush(1.0) and journal.left_open() >= 0
    return False


def test_a_count_of_what_waits_that_fails_costs_no_lease(
    replica, postgres_server, journal_database
):
    one, two = replica(lease_seconds=1.0), replica(lease_seconds=1.0)
    with postgres_server.connect(journal_database) as other, other.transaction():
        other.execute("LOCK TABLE builds")
        started = time.monotonic()
        while time.monotonic() - started < 3.0:
            assert one._health.failure_of("lease") is None
            assert two._health.failure_of("lease") is None
            threading.Event().wait(0.02)
    wait_until(lambda: all_is_well(one) and all_is_well(two), "all to be well", BACK_SECONDS)
    assert [each.stats()["leases_lost"] for each in (one, two)] == [0, 0]

"""The list of all builds: filters, order and pages, over Jobs and what only this replica knows."""

from __future__ import annotations

import base64
import random
import time
from dataclasses import replace
from typing import Any

import pytest

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    FailureCategory,
    digest_bytes,
    job_name,
    netstring_digest,
)
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import NoJournal
from lambda_builder.kube.index import JobIndex
from lambda_builder.kube.record import FINISHED, JobRecord, record_of
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.selection import OF_RESULTS, BuildFilter, Place, place_of, select
from lambda_builder.settings import Settings
from lambda_builder.steering.elsewhere import Elsewhere
from lambda_builder.steering.listing import BuildList

TEMPLATE = JobTemplate.from_settings(Settings())
NOON = 1_790_000_000.0
FAR_TOO_LATE = base64.urlsafe_b64encode(b'[1%s,"x",""]' % (b"0" * 400)).decode()
QUEUED, RUNNING, FAILED = BuildState.QUEUED, BuildState.RUNNING, BuildState.FAILED
WITH_JOB = (BuildState.CREATED, RUNNING, BuildState.SUCCEEDED, FAILED, BuildState.CANCELLED)


def build(number: int, **fields: Any) -> BuildRequest:
    values: dict[str, Any] = {
        "event_id": f"id-{number}",
        "event_source": "network.notifi.acme",
        "event_type": "network.notifi.lambda.build.start",
        "parser_id": f"Parser-{number}",
        "third_party_id": f"tenant-{number % 3}",
        "correlation_id": f"order-{number}",
        "accepted_at": NOON + number,
        **fields,
    }
    digest = netstring_digest(values["event_source"], values["event_id"])
    name = job_name(values["third_party_id"], values["parser_id"], digest)
    return BuildRequest(**{"event_hash": digest, "job_name": name, **values})


def job(request: BuildRequest, state: BuildState = RUNNING, **changes: Any) -> JobRecord:
    manifest = TEMPLATE.render(request)
    manifest["metadata"] |= {
        "uid": f"uid-{request.event_id}",
        "creationTimestamp": "2027-01-15T08:00:00Z",
    }
    return replace(record_of(manifest), state=state, **changes)


class Recorded(NoJournal):
    """Knows builds of other replicas."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[BuildResult] = []
        self.asked: list[int] = []
        self.is_away = False

    def elsewhere(
        self, wanted: BuildFilter, *, before: Place | None, limit: int
    ) -> list[BuildResult]:
        if self.is_away:
            raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "away")
        self.asked.append(limit)
        rows = sorted(select(self.rows, wanted, OF_RESULTS), key=place_of, reverse=True)
        return [row for row in rows if before is None or place_of(row) < before][:limit]


class World:
    """Jobs, and what this replica knows."""

    def __init__(self) -> None:
        self.jobs = JobIndex()
        self.own = ResultStore(ttl_seconds=60, maximum=1000)
        self.reasons: dict[str, BuildError] = {}
        self.places: dict[str, int] = {}
        self.journal = Recorded()
        self.elsewhere = Elsewhere(
            self.journal, self.job_of, lambda record: record, self.where_its_job_is
        )
        self.list = BuildList(
            self.own, self.jobs.search, lambda: self.reasons, lambda: self.places, self.elsewhere
        )

    def job_of(self, event_hash: str) -> JobRecord | None:
        return self.jobs.of_event(digest_bytes(event_hash))

    def where_its_job_is(self, row: BuildResult) -> BuildResult | None:
        return row if row.state.final or row.state.waits else None

    def ids(self, **wanted: Any) -> list[str]:
        """Return the event ids of what is listed."""
        page = self.list.page(BuildFilter(**wanted), limit=500)
        return [result.request.event_id for result in page.items]


@pytest.fixture
def world() -> World:
    return World()


def add_jobs(world: World, *records: JobRecord) -> None:
    for record in records:
        world.jobs.replace(None, record)


def test_jobs_of_every_replica_and_what_waits_here_are_listed_newest_first(world):
    add_jobs(world, job(build(3)), job(build(1)))
    world.own.put(BuildResult(request=build(2), state=QUEUED))
    assert world.ids() == ["id-3", "id-2", "id-1"]


@pytest.mark.parametrize("state", BuildState)
def test_a_build_is_listed_once_and_as_this_replica_knows_it(world, state):
    request = build(1)
    add_jobs(world, job(request, state if state in WITH_JOB else RUNNING))
    known = BuildResult(request=request, state=state, attempts=3, job_uid="uid-id-1")
    world.own.put(known)
    assert world.list.page(BuildFilter(), limit=5).items == [known]
    assert world.ids(states=frozenset({state})) == ["id-1"]
    assert world.ids(states=frozenset(BuildState) - {state}) == []


def test_a_job_of_another_event_with_the_same_name_is_another_build(world):
    request = build(1)
    add_jobs(world, job(request))
    other = replace(request, event_hash=netstring_digest("x", "y"), event_id="other")
    world.own.put(BuildResult(request=other, state=BuildState.DEAD))
    assert sorted(world.ids()) == ["id-1", "other"]


def test_a_job_that_says_nothing_of_its_event_is_listed_with_what_there_is(world):
    manifest = TEMPLATE.render(build(1))
    manifest["metadata"] |= {"uid": "1", "annotations": None}
    add_jobs(world, record_of(manifest))
    [found] = world.list.page(BuildFilter(), limit=5).items
    shown = found.to_dict()
    assert (shown["job_name"], shown["accepted_at"]) == (build(1).job_name, None)
    assert shown["third_party_id"] == "tenant-1"


def test_a_job_with_our_labels_that_has_no_event_is_not_listed(world):
    manifest = TEMPLATE.render(build(1))
    manifest["metadata"] |= {"uid": "1", "annotations": None, "labels": {}}
    add_jobs(world, record_of(manifest), job(build(2)))
    assert world.ids() == ["id-2"]


def test_a_job_without_a_time_of_acceptance_stands_where_it_was_created(world):
    late = job(build(1), accepted_at=0.0, created_at=NOON + 2.5)
    add_jobs(world, job(build(2)), late, job(build(3)))
    assert world.ids() == ["id-3", "id-1", "id-2"]
    assert world.ids(since=NOON + 2.5, until=NOON + 3) == ["id-1"]


def test_no_listed_time_is_before_that_of_an_earlier_step(world):
    add_jobs(world, job(build(1), created_at=NOON - 1, started_at=NOON - 1, finished_at=NOON))
    [shown] = [found.to_dict() for found in world.list.page(BuildFilter(), limit=1).items]
    times = [shown[name] for name in ("accepted_at", "created_at", "started_at", "finished_at")]
    assert times == [times[0]] * 4


@pytest.mark.parametrize(
    "wanted",
    [
        {"states": frozenset({RUNNING, QUEUED})},
        {"third_party_id": "tenant-1"},
        {"parser_id": "Parser-4"},
        {"correlation_id": "order-4"},
        {"since": NOON + 4, "until": NOON + 5},
        {"states": frozenset({QUEUED}), "q": "order-4", "parser_id": "Parser-4"},
    ],
)
def test_filters_mean_the_same_of_jobs_and_of_what_waits(world, wanted):
    add_jobs(world, job(build(4)), job(build(5), BuildState.SUCCEEDED))
    as_job = world.ids(**{**wanted, "states": frozenset()})
    other = World()
    for number in (4, 5):
        other.own.put(BuildResult(request=build(number), state=QUEUED))
    assert as_job == other.ids(**{**wanted, "states": frozenset()})
    assert "id-4" in as_job
    assert world.ids(parser_id="arser-4") == other.ids(parser_id="arser-4") == []
    assert world.ids(third_party_id="TENANT-1") == other.ids(third_party_id="TENANT-1") == []


@pytest.mark.parametrize(
    "q",
    [
        "id-4",
        "ORDER-4",
        "parser-4",
        "cme",
        "uid-ID-4",
        "-4-",
        "registry.example/ü",
        "Backoff limit",
    ],
)
def test_a_part_of_any_id_image_or_error_is_found_in_upper_or_lower_case(q):
    error = BuildError("backoff_limit_exceeded", "the backoff LIMIT was reached")
    request, image = build(4), "registry.example/Ü:4"
    shown, own = World(), World()
    add_jobs(shown, job(replace(request, image=image), FAILED, error=error), job(build(5)))
    result = BuildResult(request=request, state=FAILED, error=error, image=image)
    own.own.put(result.but(job_uid="uid-id-4"))
    own.own.put(BuildResult(request=build(5), state=QUEUED))
    for world in (shown, own):
        assert "id-4" in world.ids(q=q)
        assert world.ids(q=f"{q}x") == []


def test_what_all_builds_share_by_their_nature_is_not_searched(world):
    add_jobs(world, job(build(1)))
    assert world.ids(q="build.start") == world.ids(q="normal") == world.ids(q="running") == []


def test_why_a_job_failed_is_shown_and_found_once_it_was_found_out(world):
    error = BuildError("job_failed", "it failed")
    add_jobs(world, job(build(1), FAILED, error=error), job(build(2)))
    world.reasons = {"uid-id-1": BuildError("job_failed", "exit code 42"), "uid-id-2": error}
    assert world.ids(q="exit code 42") == ["id-1"]
    [running, failed] = world.list.page(BuildFilter(), limit=5).items
    assert (running.error, failed.error.message) == (None, "exit code 42")


def test_builds_are_found_by_the_category_of_their_failure_wherever_that_is_known(world):
    disk = BuildError("job_failed", "no space left", FailureCategory.DISK)
    said = BuildError("job_failed", "it failed")
    add_jobs(world, *(job(build(number), FAILED, error=said) for number in (1, 2)))
    add_jobs(world, job(build(3), FAILED, error=disk))
    world.own.put(BuildResult(request=build(4), state=FAILED, error=disk))
    world.reasons = {"uid-id-2": disk}
    assert world.ids(category="disk") == ["id-4", "id-3", "id-2"]
    assert world.ids(category="timeout") == []


def test_a_search_finds_what_a_build_has_got_since_the_last_search(world):
    request = build(1)
    world.own.put(BuildResult(request=request, state=QUEUED))
    assert world.ids(q="/tenant:new") == []
    world.own.put(BuildResult(request=request, state=QUEUED, image="registry/tenant:new"))
    assert world.ids(q="/tenant:new") == ["id-1"]
    assert world.ids(q="no such host") == []
    error = BuildError("dead", "no such host")
    world.own.change(request.event_hash, lambda old: old.but(state=BuildState.DEAD, error=error))
    assert world.ids(q="no such host") == ["id-1"]
    assert world.ids(q="/tenant:new") == ["id-1"]
    world.own.change(request.event_hash, lambda old: old.but(job_uid="6f1d"))
    assert world.ids(q="6f1d") == ["id-1"]


def test_pages_go_on_where_the_last_ended_while_builds_come_and_go(world):
    for number in range(100):
        if number % 3:
            add_jobs(world, job(build(number)))
        else:
            world.own.put(BuildResult(request=build(number), state=QUEUED))
    seen, cursor, later = [], None, 1000
    while True:
        page = world.list.page(BuildFilter(), limit=7, cursor=cursor)
        seen += [result.request.event_id for result in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        # A new one, the last that was shown gone, and one that waited now has its Job.
        later += 1
        add_jobs(world, job(build(later)))
        last = page.items[-1].request
        record = world.jobs.get(last.job_name)
        if record is None:
            world.own.discard(last.event_hash)
        else:
            world.jobs.replace(record, None)
        waiting = next((r for r in world.own.all() if r.request.event_id not in seen), None)
        if waiting is not None:
            world.own.put(waiting.but(state=RUNNING, job_uid=f"uid-{waiting.request.event_id}"))
            add_jobs(world, job(waiting.request))
    assert seen == [f"id-{number}" for number in reversed(range(100))]


def test_builds_of_one_instant_are_each_on_one_page(world):
    for number in range(20):
        add_jobs(world, job(build(number, accepted_at=NOON)))
        world.own.put(BuildResult(request=build(100 + number, accepted_at=NOON), state=QUEUED))
    seen, cursor = [], None
    while True:
        page = world.list.page(BuildFilter(), limit=3, cursor=cursor)
        seen += [result.request.event_id for result in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 40


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "bnVsbA==", "WzEsMl0=", "WzEsIngiLCJ6eiJd", "ü", "[" * 9, FAR_TOO_LATE],
)
def test_a_made_up_cursor_is_refused_by_name(world, cursor):
    with pytest.raises(Refused) as refused:
        world.list.page(BuildFilter(), limit=5, cursor=cursor)
    assert [problem.field for problem in refused.value.errors] == ["cursor"]


def test_only_where_something_waits_are_places_in_the_queue_looked_up(world):
    request = build(1)
    world.places = {request.event_hash: 7, "another": 1}
    world.own.put(BuildResult(request=request, state=BuildState.RETRYING))
    assert world.list.page(BuildFilter(), limit=5).positions == {request.event_hash: 7}
    world.list = BuildList(
        world.own,
        world.jobs.search,
        dict,
        lambda: pytest.fail("asked for nothing"),
        world.elsewhere,
    )
    world.own.put(BuildResult(request=request, state=RUNNING))
    assert world.list.page(BuildFilter(), limit=5).positions == {}


def test_any_filter_finds_of_the_jobs_what_it_finds_of_the_builds_they_make(world):
    rng = random.Random(11)
    records = [
        job(build(number, accepted_at=NOON + rng.randrange(20)), rng.choice(WITH_JOB))
        for number in range(60)
    ]
    rng.shuffle(records)
    add_jobs(world, *records)
    for _ in range(200):
        wanted = BuildFilter(
            states=frozenset(rng.sample(WITH_JOB, rng.randrange(3))),
            third_party_id=rng.choice([None, "tenant-1"]),
            parser_id=rng.choice([None, None, "Parser-7"]),
            q=rng.choice([None, "R-1", "tenant-2", "uid-id-7"]),
            since=rng.choice([None, NOON + 5]),
            until=rng.choice([None, NOON + 15]),
        )
        expected = select([record.result() for record in records], wanted, OF_RESULTS)
        expected.sort(key=place_of, reverse=True)
        page = world.list.page(wanted, limit=10)
        assert page.items == expected[:10]
        assert (page.next_cursor is None) is (len(expected) <= 10)


def test_a_build_that_its_job_has_at_another_place_is_listed_once_as_it_is_known_here(world):
    for number in range(5):
        add_jobs(world, job(build(number), accepted_at=0.0, created_at=NOON + 100 - number))
        world.own.put(BuildResult(request=build(number), state=RUNNING, job_uid=f"uid-id-{number}"))
    seen, cursor = [], None
    while True:
        page = world.list.page(BuildFilter(), limit=2, cursor=cursor)
        seen += [result.request.event_id for result in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["id-4", "id-3", "id-2", "id-1", "id-0"]


def test_a_page_looks_at_no_more_builds_than_it_needs(world):
    sample = job(build(0))
    for number in range(3000):
        name, uid, accepted_at = f"build-{number}", str(number), NOON + number
        add_jobs(world, replace(sample, name=name, uid=uid, accepted_at=accepted_at))
    looked_at = []

    def search(reasons):
        jobs = world.jobs.search(reasons)
        read = jobs.read

        def counted(place, most, having):
            found, rest = read(place, most, having)
            looked_at.append(len(found))
            return found, rest

        jobs.read = counted
        return jobs

    world.list = BuildList(world.own, search, dict, dict, world.elsewhere)
    wanted = BuildFilter(third_party_id="tenant-0", since=NOON + 10)
    cursor = world.list.page(wanted, limit=10).next_cursor
    assert len(world.list.page(wanted, limit=10, cursor=cursor).items) == 10
    world.list.page(BuildFilter(q="nowhere", since=NOON + 2900), limit=10)
    assert sum(looked_at) < 300


def test_the_job_of_an_event_is_not_one_that_its_labels_were_copied_to(world):
    original = job(build(1))
    copy = replace(original, name="copied", uid="other")
    for first, second in ((original, copy), (copy, original)):
        add_jobs(world, first, second)
        assert world.jobs.of_event(original.event_hash) == original
        world.jobs.replace(original, None)
        assert world.jobs.of_event(original.event_hash) == copy
        world.jobs.replace(copy, None)
    assert world.jobs.of_event(original.event_hash) is None


def test_a_build_that_only_the_journal_knows_is_listed_at_its_place(world):
    add_jobs(world, job(build(4)), job(build(1)))
    world.own.put(BuildResult(request=build(3), state=QUEUED))
    world.journal.rows = [
        BuildResult(request=build(2), state=QUEUED),
        BuildResult(request=build(5), state=BuildState.DEAD),
    ]
    assert world.ids() == ["id-5", "id-4", "id-3", "id-2", "id-1"]
    assert world.ids(states=frozenset({QUEUED})) == ["id-3", "id-2"]
    assert world.list.matching(BuildFilter(states=frozenset({BuildState.DEAD})), 10)[1] == 1


@pytest.mark.parametrize("state", BuildState)
def test_what_is_known_here_and_then_its_job_goes_before_what_the_journal_has(world, state):
    world.own.put(BuildResult(request=build(1), state=RUNNING))
    add_jobs(world, job(build(2)))
    world.journal.rows = [
        BuildResult(request=build(n), state=state, job_uid=f"uid-id-{n}") for n in (1, 2)
    ]
    found = world.list.page(BuildFilter(), limit=5).items
    assert [(each.request.event_id, each.state) for each in found] == [
        ("id-2", RUNNING),
        ("id-1", RUNNING),
    ]
    if state not in (BuildState.CANCELLED, *FINISHED):  # there the watch is behind
        assert world.ids(states=frozenset(BuildState) - {RUNNING}) == []


def test_a_build_whose_job_stands_at_another_place_is_listed_there_only(world):
    add_jobs(world, job(build(1), FAILED))
    again = replace(build(1), accepted_at=NOON + 9)
    world.journal.rows = [BuildResult(request=again, state=QUEUED)]
    assert world.ids() == ["id-1"]


def test_a_recorded_build_whose_job_is_gone_is_not_listed_unless_it_may_not_be_seen_yet(world):
    gone = BuildResult(request=build(1), state=BuildState.CREATED, created_at=NOON)
    fresh = BuildResult(request=build(2), state=BuildState.CREATED, created_at=time.time())
    world.journal.rows = [gone, fresh]
    assert world.ids() == ["id-2"]


def test_pages_of_what_is_known_here_of_jobs_and_of_the_journal_meet_without_gap_or_double(world):
    rng = random.Random(5)
    for number in range(300):
        request = build(number, accepted_at=NOON + number // 3)
        kind = rng.randrange(8)
        if kind & 1:
            world.own.put(BuildResult(request=request, state=QUEUED))
        if kind & 2:
            add_jobs(world, job(request))
        if kind & 4 or not kind:
            world.journal.rows.append(BuildResult(request=request, state=QUEUED))
    found: list[str] = []
    cursor = None
    while True:
        page = world.list.page(BuildFilter(), limit=7, cursor=cursor)
        found += [each.request.event_id for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 300
    assert max(world.journal.asked) < 20


def test_while_the_journal_is_away_what_else_is_known_is_listed_but_nothing_is_counted(world):
    add_jobs(world, job(build(1)))
    world.journal.is_away = True
    assert world.ids() == ["id-1"]
    with pytest.raises(Refused):
        world.list.matching(BuildFilter(), 10)

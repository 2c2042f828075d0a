"""The web layer alone: real Flask, real event reading and metrics, a made-up service behind."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from lambda_builder.access.checks import Access
from lambda_builder.access.limits import Limits
from lambda_builder.builds import BuildRequest, BuildResult, BuildState, CommandRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.events.reader import EventReader
from lambda_builder.journal import NoJournal
from lambda_builder.pipeline.changes import ChangeFeed
from lambda_builder.pipeline.creator import Obstacles
from lambda_builder.pipeline.stats import Stats
from lambda_builder.selection import BuildFilter
from lambda_builder.settings import COMMAND_EVENT_TYPES, Settings
from lambda_builder.steering.audit import Audit
from lambda_builder.steering.bulk import BulkOutcome
from lambda_builder.steering.listing import BuildPage
from lambda_builder.steps import Steps
from lambda_builder.telemetry.metrics import Metrics
from lambda_builder.telemetry.minutes import MinuteCounts, Totals
from lambda_builder.tenants import Reach, Tenants
from lambda_builder.web.app import build_web
from lambda_builder.web.services import Services, ThreadBudget

START = "network.notifi.lambda.build.start"


@dataclasses.dataclass
class FakeReceipt:
    status: str
    request: BuildRequest
    queue_size: int
    state: BuildState
    future: Future[BuildResult]


class FakeCreator:
    """Accepts everything unless told otherwise; builds stay queued until ``finish``."""

    def __init__(self) -> None:
        self.is_ready = True
        self.is_shutdown = False
        self.refusal: Refused | None = None
        self.status = "queued"
        self.state = BuildState.QUEUED
        self.rejected: list[str] = []
        self.receipts: list[FakeReceipt] = []
        self.requests: list[BuildRequest] = []
        self.accepted = threading.Condition()

    def accepting(self, requests: list[BuildRequest], tenants: Tenants) -> Steps[list[FakeReceipt]]:
        yield None  # as for a journal
        return self.accept(requests, tenants)

    def accept(self, requests: list[BuildRequest], tenants: Tenants) -> list[FakeReceipt]:
        assert tenants.are_all
        if self.refusal is not None:
            raise self.refusal
        receipts = [
            FakeReceipt(
                self.status,
                request,
                len(self.receipts) + number,
                self.state,
                Future(),
            )
            for number, request in enumerate(requests, 1)
        ]
        with self.accepted:
            self.receipts += receipts
            self.requests += requests
            self.accepted.notify_all()
        return receipts

    def wait_for(self, count: int) -> None:
        with self.accepted:
            assert self.accepted.wait_for(lambda: len(self.receipts) >= count, 10)

    def finish(self, state: BuildState, number: int = 0) -> None:
        request = self.requests[number]
        self.receipts[number].future.set_result(BuildResult(request=request, state=state))

    def get_stats(self) -> Stats:
        return Stats(worker_count=5, oldest_queued_seconds=0.25)

    def get_obstacles(self) -> Obstacles:
        return Obstacles()


class FakeRejections:
    """Notes the codes of what was refused."""

    def __init__(self, codes: list[str]) -> None:
        self.codes = codes
        self.kept: list[dict[str, Any]] = []

    def count(self, code: str) -> None:
        self.codes.append(code)

    def add(self, code: str, detail: str, **more: Any) -> None:
        self.codes.append(code)
        self.kept.insert(0, {"code": code, "detail": detail, **more})

    def newest(self, tenants: Tenants) -> list[dict[str, Any]]:
        return []


class FakeDirectory:
    """Knows the builds it was given; remembers what was asked."""

    def __init__(self) -> None:
        self.builds: dict[str, BuildResult] = {}
        self.refusal: Exception | None = None
        self.statement: dict[str, Any] | None = None
        self.api_error: Exception | None = None
        self.asked: list[tuple[str, Any]] = []
        self.log: Callable[[], Iterator[bytes]] = lambda: iter([b"one\n", b"two\n"])
        self.next_cursor: str | None = None

    def _find(self, what: str, build_id: str) -> BuildResult:
        self.asked.append((what, build_id))
        if self.refusal is not None:
            raise self.refusal
        if build_id not in self.builds:
            raise Refused(RefusalCode.NOT_FOUND, f"no build {build_id[:64]!r}")
        return self.builds[build_id]

    def get(self, build_id: str, tenants: Tenants) -> BuildResult:
        assert tenants.are_all
        return self._find("get", build_id)

    def page(self, wanted: BuildFilter, *, limit: int, cursor: str | None = None) -> BuildPage:
        self.asked.append(("list", (wanted, limit, cursor)))
        if cursor == "bad":
            raise Refused(RefusalCode.INVALID_PARAMETER, "cursor is not one of ours")
        found = list(self.builds.values())[:limit]
        return BuildPage(found, self.positions_of(found), self.next_cursor)

    def positions_of(self, results: list[BuildResult]) -> dict[str, int]:
        hashes = [result.request.event_hash for result in results if result.state.waits]
        return {event_hash: place for place, event_hash in enumerate(hashes, 1)}

    def cancel(self, build_id: str, reach: Reach) -> BuildResult:
        assert reach.steer.are_all
        return self._find("cancel", build_id).but(state=BuildState.CANCELLED)

    def retry(self, build_id: str, reach: Reach) -> BuildResult:
        assert reach.steer.are_all
        return self._find("retry", build_id).but(state=BuildState.QUEUED)

    def event(self, result: BuildResult) -> dict[str, Any] | None:
        return {"id": result.request.event_id}

    def job(self, result: BuildResult) -> dict[str, Any] | None:
        return None

    def dead_letters_waiting(self) -> int:
        return 0

    def of(self, result: BuildResult) -> dict[str, Any] | None:
        if self.api_error is not None:
            raise self.api_error
        return self.statement

    def open(self, result: BuildResult, *, follow: bool) -> Iterator[bytes]:
        self.asked[-1] = ("follow" if follow else "log", self.asked[-1][1])
        return self.log()


class FakeBulk:
    """Steers the first of the builds that the directory knows, and refuses the others."""

    def __init__(self, directory: FakeDirectory) -> None:
        self._directory = directory

    def cancel(self, wanted: BuildFilter, *, dry_run: bool) -> BulkOutcome:
        return self._steer("cancel", wanted, dry_run)

    def retry(self, wanted: BuildFilter, *, dry_run: bool) -> BulkOutcome:
        return self._steer("retry", wanted, dry_run)

    def _steer(self, what: str, wanted: BuildFilter, dry_run: bool) -> BulkOutcome:
        self._directory.asked.append((what, (wanted, dry_run)))
        builds = [*self._directory.builds.values()]
        refusal = Refused(RefusalCode.ALREADY_FINISHED, "it has ended")
        return BulkOutcome(len(builds), builds[:1], [(build, refusal) for build in builds[1:]])


class FakeCommandEvents:
    """Notes what was taken, with all else that was asked of the directory."""

    def __init__(self, directory: FakeDirectory) -> None:
        self._directory = directory

    @contextmanager
    def keeping(self, requests: list[CommandRequest]) -> Iterator[None]:
        yield
        self._directory.asked += [(request.action.value, request) for request in requests]


@dataclasses.dataclass
class House:
    """One web layer with everything a test may want to touch."""

    app: Flask
    creator: FakeCreator
    directory: FakeDirectory
    metrics: Metrics

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def post(self, data: Any = None, headers: dict[str, str] | None = None, **more: Any) -> Any:
        """Send one binary-mode event that is fine unless the arguments say otherwise."""
        sent = {"Ce-Type": START, "Ce-Source": "network.notifi.customer-1", "Ce-Id": "id-1"}
        sent.update(headers or {})
        body = {"parser_id": "parser-1"} if data is None else data
        return self.client.post("/events", json=body, headers=sent, **more)


def make_settings(**settings: Any) -> Settings:
    return Settings(**settings)


@pytest.fixture
def build_house(monkeypatch: pytest.MonkeyPatch) -> Callable[..., House]:
    monkeypatch.delenv("K_SINK", raising=False)

    def build(*, traced: bool = False, **values: Any) -> House:
        settings = make_settings(**values)
        app = Flask(__name__, static_folder=None)
        types = (*settings.build_event_types, *COMMAND_EVENT_TYPES)
        creator, directory = FakeCreator(), FakeDirectory()
        fakes: dict[str, Any] = {
            "creator": creator,
            "acceptance": creator,
            "builds": directory,
            "listing": directory,
            "commands": directory,
            "bulk": FakeBulk(directory),
            "command_events": FakeCommandEvents(directory),
            "logs": directory,
            "provenance": directory,
            "rejections": FakeRejections(creator.rejected),
            "audit": Audit(NoJournal()),
            "changes": ChangeFeed(),
            "minutes": MinuteCounts(Totals),
            "inspection": directory,
        }
        metrics = Metrics(event_types=types)
        services = Services(
            settings=settings,
            reader=EventReader(
                strict=settings.strict_cloudevents, build_event_types=settings.build_event_types
            ),
            access=Access(None, read_only=settings.read_only, trusted_proxies=(), metrics=metrics),
            limits=Limits(tenant_rate=None, rate=None, metrics=metrics),
            metrics=metrics,
            **fakes,
            threads=ThreadBudget.of(settings.http_threads, settings.streams_max),
        )
        build_web(app, services, traced=traced)
        return House(app, creator, directory, metrics)

    return build


@pytest.fixture
def house(build_house: Callable[..., House]) -> House:
    return build_house()


@pytest.fixture
def make_result() -> Callable[..., BuildResult]:
    def make(**changes: Any) -> BuildResult:
        request = BuildRequest(
            event_id="id-1",
            event_source="network.notifi.customer-1",
            event_type=START,
            parser_id="parser-1",
            third_party_id="customer-1",
            correlation_id=changes.pop("correlation_id", "order-7"),
            event_hash="5377b83a48",
            job_name="build-customer-1-parser-1-5377b83a48",
            accepted_at=1_790_000_000.0,
        )
        return BuildResult(request=request, **{"state": BuildState.CREATED, **changes})

    return make

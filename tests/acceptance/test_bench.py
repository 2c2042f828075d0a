"""What measures the speed: the load, the command for an installed service, and ``make bench``."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import fairness, plot, scaling
from bench.__main__ import SECTIONS
from lambda_builder.cli.commands import main
from lambda_builder.cli.load import Load, Target
from tests.processes import ROOT, ClusterProcess, ServiceProcess
from tests.waiting import wait_until

STALL_SECONDS = 0.5


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lambda_builder.cli", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


# -- the load ------------------------------------------------------------------------------------


@contextmanager
def answering(*answers: bytes, stall: float = 0.0) -> Iterator[Target]:
    """Serve one connection at a time: each request gets the next answer, empty ends it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        left = list(answers)
        while left:
            connection, _ = listener.accept()
            with connection:
                while left and connection.recv(65_536):
                    if stall and len(left) == len(answers):
                        threading.Event().wait(stall)
                    connection.sendall(answer := left.pop(0))
                    if not answer:
                        break

    server = threading.Thread(target=serve)
    server.start()
    yield Target("127.0.0.1", listener.getsockname()[1])
    server.join(10)
    listener.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'15\r\n{"code":"queue_full"}\r\n0\r\n\r\n'
)


def test_a_stall_of_the_service_is_in_the_latency_of_every_event_that_was_due_meanwhile() -> None:
    with answering(*[OK] * 10, stall=STALL_SECONDS) as target:
        answers = Load(target, lambda _: b"x", count=10, rate=50.0, connections=1).run()
    assert answers.accepted == 10
    assert sum(seconds > STALL_SECONDS / 2 for seconds in answers.latencies) >= 9


def test_refusals_are_counted_by_status_and_code_with_the_time_they_ask_for() -> None:
    bare = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n"
    with answering(OK, FULL % 7, FULL % 3, bare) as target:
        answers = Load(target, lambda _: b"x", count=4, connections=1).run()
    assert (answers.accepted, answers.answered) == (1, 4)
    assert answers.refused == {"503 queue_full": 2, "413": 1}
    assert answers.retry_after == {"503 queue_full": (3, 7)}


def test_a_connection_that_ends_costs_its_own_event_only() -> None:
    with answering(OK, b"", OK, OK) as target:
        answers = Load(target, lambda _: b"x", count=4, connections=1).run()
    assert (answers.accepted, answers.unanswered) == (3, 1)


def test_nothing_is_sent_after_the_time_that_was_given() -> None:
    with answering(*[OK] * 3) as target:
        load = Load(target, lambda _: b"x", count=50, rate=10.0, connections=1, seconds=0.25)
        answers = load.run()
    assert answers.sent == answers.accepted == 3


# -- the command ---------------------------------------------------------------------------------


def test_the_command_tells_what_came_of_its_events_and_cancels_them_and_no_others(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    with ServiceProcess(
        cluster.kubeconfig, tmp_path, worker_count=1, worker_count_max=1, queue_size=30
    ) as service:
        shown = run(service.url, "--count", "20", "--rate", "100", "--tenant", "mine")
        assert shown.returncode == 0, shown.stderr
        lines = {line.strip().partition("  ")[0]: line for line in shown.stdout.splitlines()}
        assert "20 of 20" in lines["accepted"]
        assert " 20, " in lines["Jobs made meanwhile, by whomever"]
        assert {"latency, p50", "latency, p99.9"} <= set(lines)
        tenants = {
            job["metadata"]["annotations"]["build.notifi.network/third-party-id"]
            for job in cluster.jobs()
        }
        assert tenants == {"mine"}
        cluster.add_fault("latency", verb="create", resource="jobs", seconds=0.5)
        service.post("another")
        shown = run(*(service.url, "--count", "60", "--closed-loop", "--patience", "1", "--cancel"))
        assert shown.returncode == 0, shown.stderr
        assert "refused: 503 queue_full" in shown.stdout
        assert "Retry-After" in shown.stdout
        assert int(shown.stdout.rpartition("cancelled: ")[2]) >= 20

        def left() -> set[str]:
            states = {"state": ["queued", "creating", "retrying", "created"]}
            items = service.get("/async-jobs", params=states).json()["items"]
            return {item["correlation_id"] for item in items}

        wait_until(lambda: left() <= {"another"}, "what a worker held to be cancelled, too")
        assert service.get("/async-jobs/another").json()["state"] != "cancelled"


@pytest.mark.parametrize(
    "arguments",
    [["--count", "101"], ["--rate", "11"], ["--closed-loop"], ["--rate", "1", "--closed-loop"]],
)
def test_more_than_is_safe_is_not_sent_unless_both_bounds_are_given(arguments: list[str]) -> None:
    shown = CliRunner().invoke(main, ["bench", "http://127.0.0.1:1", *arguments])
    assert shown.exit_code == 2
    assert "--" in shown.output.splitlines()[-1]


def test_the_command_says_when_nobody_answers() -> None:
    shown = CliRunner().invoke(main, ["bench", "http://127.0.0.1:1"])
    assert shown.exit_code == 3
    assert "does not answer" in shown.output


# -- make bench ----------------------------------------------------------------------------------


def test_low_priority_leaves_within_five_minutes_of_endless_high() -> None:
    assert fairness.seconds_until_low() == 300


def bench(folder: Path, *sections: str) -> dict[str, list[dict[str, object]]]:
    command = [sys.executable, "-m", "bench", "--quick", "--out", str(folder), *sections]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    found: dict[str, list[dict[str, object]]] = json.loads((folder / "bench.json").read_text())
    assert all(str(row["name"]) in shown.stdout for row in found["rows"])
    return found


def test_a_quick_run_measures_and_writes_what_it_prints(tmp_path: Path) -> None:
    found = bench(tmp_path, "flat")
    held = [row for row in found["rows"] if row["target"]]
    assert len(held) > 10
    assert all(isinstance(row["met"], bool) for row in held)
    assert {row["name"] for row in found["rows"]} >= {"empty: events/s", "empty: put"}


def test_curves_are_drawn_as_one_picture(tmp_path: Path) -> None:
    picture = tmp_path / "bench.svg"
    plot.write({"A|x|y|one": [(1, 2), (3, 4)], "A|x|y|two": [(1, 1)], "B|u|v|": [(5, 6)]}, picture)
    text = picture.read_text()
    assert text.count("stroke=") == 3
    assert ">A<" in text
    assert ">one<" in text


def test_the_table_of_the_scaling_page_is_what_the_model_prints() -> None:
    page = (ROOT / "docs" / "scaling.rst").read_text()
    assert "\n".join(f"    {line}".rstrip() for line in scaling.table()) in page


def test_the_model_loses_no_event_and_creates_no_more_than_it_may() -> None:
    for setup in scaling.SETUPS:
        found = scaling.simulate(setup)
        assert found.in_queue <= setup.queue_size * setup.replicas
        assert not setup.active_jobs or found.in_etcd <= setup.active_jobs
        told = scaling.EVENTS_A_SECOND * scaling.SECONDS - found.given_up
        assert found.minutes * 60 * setup.started * setup.clusters >= told


@pytest.mark.soak
def test_every_part_of_the_benchmark_works(tmp_path: Path) -> None:
    found = bench(tmp_path)
    assert len({row["section"] for row in found["rows"]}) >= len(SECTIONS)
    assert (tmp_path / "bench.svg").exists()

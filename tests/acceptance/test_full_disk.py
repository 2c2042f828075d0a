"""A disk that is full refuses and never loses; with space again, all is well again by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.disks import mounted
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "2m") as place:
        yield place


def test_a_full_disk_refuses_events_keeps_what_it_has_and_recovers(
    cluster: ClusterProcess, small_disk: Path, tmp_path: Path
) -> None:
    with ServiceProcess(
        cluster.kubeconfig, tmp_path, journal_path=small_disk / "journal.sqlite3", queue_size=1000
    ) as service:
        cluster.add_fault("hang", verb="create", resource="jobs")
        assert service.post("before").status_code == 200
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        answers = [service.post(f"full-{number}", pad="x" * 2000) for number in range(60)]
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused
        assert {answer.json()["code"] for answer in refused} == {"journal_unavailable"}
        assert service.get("/health").status_code == 200
        assert "\njournal_available 0.0\n" in service.get("/metrics").text
        accepted = {a.json()["event_id"] for a in answers if a.status_code == 200} | {"before"}
        ballast.unlink()
        wait_until(lambda: service.post("after").status_code == 200, "the journal to recover")
        service.kill()
        cluster.clear_faults()
        service.start()
        wait_until(
            lambda: set(cluster.jobs_per_event()) >= accepted | {"after"}, "every accepted build"
        )
        stray = set(cluster.jobs_per_event()) - accepted - {"after"}
        assert not stray, "a refused event was built all the same"


def test_a_start_on_a_full_disk_serves_and_goes_on_once_there_is_room(
    cluster: ClusterProcess, small_disk: Path, tmp_path: Path
) -> None:
    with ServiceProcess(
        cluster.kubeconfig, tmp_path, journal_path=small_disk / "journal.sqlite3", drain_seconds=0.5
    ) as service:
        cluster.add_fault("hang", verb="create", resource="jobs")
        for number in range(5):
            assert service.post(f"before-{number}").status_code == 200
        service.terminate()
        cluster.clear_faults()
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 1024):
                pass
        service.start()
        assert service.get("/health").status_code == 200
        refused = service.post("full")
        assert (refused.status_code, refused.json()["code"]) == (503, "journal_unavailable")

        ballast.unlink()

        wait_until(lambda: service.post("after").status_code == 200, "the journal to open")
        wanted = {"after", *(f"before-{number}" for number in range(5))}
        wait_until(lambda: set(cluster.jobs_per_event()) == wanted, "every accepted build")


def test_a_journal_that_filled_its_volume_has_its_builds_made_and_goes_on(
    cluster: ClusterProcess, small_disk: Path, tmp_path: Path
) -> None:
    with ServiceProcess(
        cluster.kubeconfig,
        tmp_path,
        journal_path=small_disk / "journal.sqlite3",
        queue_size=5000,
        result_ttl_seconds=2,
    ) as service:
        cluster.add_fault("hang", verb="create", resource="jobs")
        accepted = []
        for number in range(2000):
            answer = service.post(f"event-{number}", pad="x" * 8000)
            if answer.status_code == 503:
                break
            accepted.append(f"event-{number}")
        assert answer.json()["code"] == "journal_unavailable"
        service.kill()
        service.start()

        cluster.clear_faults()

        wait_until(lambda: set(cluster.jobs_per_event()) == set(accepted), "every build", 60)
        wait_until(lambda: service.post("after").status_code == 200, "room for new events", 60)

"""The service's process keeps to one core, and leaves one that others take."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

from lambda_builder.server.affinity import OneCore, Used
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until


class Machine:
    """Cores on which others work as told, and a process that takes half of the one it is on."""

    def __init__(self, cores: int) -> None:
        self.given = set(range(cores))
        self.tells = True
        self.core: int | None = None
        self.moves = 0
        self._now = self._own = 0.0
        self._worked: dict[int, float] = defaultdict(float, dict.fromkeys(self.given, 0.0))

    def pass_by(self, **others: float) -> None:
        """Let ten seconds pass in which others use such shares: ``core_0=0.5``."""
        self._now += 10
        self._own += 5
        for name, share in others.items():
            self._worked[int(name.removeprefix("core_"))] += 10 * share
        if self.core is not None:
            self._worked[self.core] += 5

    def allowed(self) -> set[int]:
        return set(self.given)

    def used(self) -> Used:
        return Used(self._now, self._own, dict(self._worked) if self.tells else {})

    def keep_on(self, core: int) -> None:
        self.moves += core != self.core
        self.core = core


def looking(machine: Machine, seed: int = 0) -> OneCore:
    one = OneCore(machine, random.Random(seed))
    one.look()
    return one


def test_the_core_that_others_use_least_is_taken() -> None:
    machine = Machine(3)
    one = looking(machine)
    machine.pass_by(core_0=0.9, core_1=0.2, core_2=0.6)
    one.look()
    assert machine.core == 1


def test_what_the_process_uses_itself_does_not_drive_it_away() -> None:
    machine = Machine(2)
    one = looking(machine)
    for _ in range(50):
        machine.pass_by(core_0=0.1, core_1=0.1)
        one.look()
    assert machine.moves == 1


def test_a_core_that_others_take_is_left_and_a_busy_machine_is_no_reason_to_move() -> None:
    machine = Machine(2)
    one = looking(machine)
    machine.pass_by(core_1=0.5)
    one.look()
    assert machine.core == 0
    for _ in range(50):
        machine.pass_by(core_0=0.5, core_1=0.6)
        one.look()
    assert machine.core == 0
    for _ in range(50):
        machine.pass_by(core_0=0.5)
        one.look()
    assert machine.core == 1


def test_two_processes_that_meet_on_a_core_part() -> None:
    machines = Machine(2), Machine(2)
    both = looking(machines[0], 1), looking(machines[1], 2)
    for machine, one in zip(machines, both, strict=True):
        machine.pass_by(core_1=0.9)
        one.look()
    assert [machine.core for machine in machines] == [0, 0]
    for _ in range(100):
        where = [machine.core for machine in machines]
        for machine, one, other in zip(machines, both, reversed(where), strict=True):
            machine.pass_by(**{f"core_{other}": 0.5})
            one.look()
        if machines[0].core != machines[1].core:
            return
    pytest.fail("they are still on one core")


def test_a_core_that_is_taken_away_is_left() -> None:
    machine = Machine(3)
    one = looking(machine)
    machine.pass_by(core_0=0.9, core_1=0.9)
    one.look()
    machine.given = {0, 1}
    machine.pass_by(core_0=0.9)
    one.look()
    assert machine.core == 1


def test_nothing_is_done_with_one_core_or_where_the_system_does_not_tell() -> None:
    single, silent = Machine(1), Machine(2)
    silent.tells = False
    for machine in (single, silent):
        one = looking(machine)
        machine.pass_by()
        one.look()
        assert machine.core in machine.given or machine is silent
        assert silent.core is None


def test_where_cores_may_not_be_chosen_that_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_core: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    machine = Machine(2)
    monkeypatch.setattr(machine, "keep_on", forbidden)
    one = looking(machine)
    machine.pass_by()
    one.look()
    assert "cpu_affinity_off" in capsys.readouterr().out
    one.start()  # nothing any more
    assert "cpu-affinity" not in [thread.name for thread in threading.enumerate()]


def affinities(running: ServiceProcess, least: int = 2) -> set[tuple[int, ...]]:
    """Return the cores that ``least`` threads of gunicorn's worker have; one looks at them."""
    assert running.process is not None
    [worker] = psutil.Process(running.process.pid).children()
    found: dict[tuple[int, ...], int] = defaultdict(int)
    for thread in worker.threads():
        try:
            found[tuple(psutil.Process(thread.id).cpu_affinity() or ())] += 1
        except psutil.NoSuchProcess:
            continue
    return {cores for cores, threads in found.items() if threads >= least}


def test_all_threads_come_to_one_core_unless_they_are_told_not_to(
    tmp_path: Path,
) -> None:
    given = tuple(psutil.Process().cpu_affinity() or ())
    with (
        ClusterProcess(tmp_path) as cluster,
        ServiceProcess(cluster.kubeconfig, tmp_path, cpu_affinity="off") as free,
        ServiceProcess(cluster.kubeconfig, tmp_path, cpu_affinity="auto") as kept,
    ):
        kept.post("first")
        wait_until(
            lambda: len(affinities(kept)) == 1 and len(*affinities(kept)) == 1, "one core", 30
        )
        assert affinities(free) == {given}
        assert affinities(kept, least=1) >= {given}  # of the thread that looks
        kept.post("second")
        wait_until(lambda: kept.stats()["created_total"] == 2, "both Jobs", 30)

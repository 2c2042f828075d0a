"""Checks replicas.pml with spin, and that each broken rule in it is caught: ``make model``.

Needs ``spin`` and a C compiler (Debian: ``apt-get install spin gcc libc6-dev``).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("replicas.pml")
_SECONDS = 900
_DEPTH = 2_000_000


@dataclass(frozen=True)
class Check:
    """One run: what is claimed, under which flags, and whether the claim has to hold."""

    what: str
    claim: str
    flags: Sequence[str] = ()
    holds: bool = True


CHECKS = (
    Check("one Job, nothing lost, attempts bounded", "safe", ("-DKILLS=2", "-DATTEMPTS=2")),
    Check("the same with three attempts", "safe", ("-DKILLS=1", "-DATTEMPTS=3", "-DOUTAGES=1")),
    Check("every accepted build ends", "ends", ("-DKILLS=1", "-DOUTAGES=1")),
    Check("two leaders tell of an end alike", "safe", ("-DLEASE",)),
    Check("names not from the event", "safe", ("-DMUTATION_RANDOM_NAMES",), holds=False),
    Check("answered before it is recorded", "safe", ("-DMUTATION_ANSWER_FIRST",), holds=False),
    Check("given up without a last look", "safe", ("-DMUTATION_NO_LAST_LOOK",), holds=False),
    Check("attempts not recorded", "ends", ("-DMUTATION_ATTEMPTS_UNRECORDED",), holds=False),
    Check("no margin on the lease", "safe", ("-DLEASE", "-DMUTATION_NO_MARGIN"), holds=False),
    Check("ids by who tells", "safe", ("-DLEASE", "-DMUTATION_IDS_BY_REPLICA"), holds=False),
)


def run(check: Check) -> tuple[bool, str]:
    """Return whether the claim was kept in every reachable state, and what spin counted."""
    liveness = check.claim == "ends"
    with tempfile.TemporaryDirectory() as folder:
        _call(["spin", "-a", *check.flags, str(MODEL)], folder)
        kind = ["-DNFAIR=3"] if liveness else ["-DSAFETY"]
        _call(
            ["cc", "-O2", "-w", "-DCOLLAPSE", "-DVECTORSZ=2048", *kind, "-o", "pan", "pan.c"],
            folder,
        )
        fair = ["-a", "-f"] if liveness else []
        printed = _call(["./pan", f"-m{_DEPTH}", "-N", check.claim, *fair], folder)
    if "max search depth too small" in printed or "out of memory" in printed:
        raise SystemExit(f"{check.what}: the search did not end:\n{printed}")
    counted = next(line.strip() for line in printed.splitlines() if "states, stored" in line)
    return "errors: 0" in printed, counted


def _call(command: list[str], folder: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Run all checks; the exit code is 1 when one did not come out as it must."""
    for tool in ("spin", "cc"):
        if shutil.which(tool) is None:
            print(f"{tool} is missing: apt-get install spin gcc libc6-dev", file=sys.stderr)
            return 2
    wrong = 0
    for check in CHECKS:
        kept, counted = run(check)
        right = kept == check.holds
        wrong += not right
        result = "holds" if kept else "violated"
        print(f"{'ok  ' if right else 'FAIL'} {result:9} {check.what} ({counted})", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

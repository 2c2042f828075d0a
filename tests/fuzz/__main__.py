"""``python -m tests.fuzz [--seconds N] [TARGET …]``: let atheris look for bytes that break one.

What it finds worth keeping on its way goes to ``.fuzz/``; what breaks a target goes to
``tests/fuzz/corpus/``, where the suite tries it again from then on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
FOUND = ROOT / ".fuzz"
ONE_TARGET = "LAMBDA_BUILDER_FUZZED"
INSTRUMENTED = [
    *("lambda_builder", "gunicorn", "urllib", "json"),
    *("joserfc", "standardwebhooks", "werkzeug.http"),
]
LONGEST = 2048
"""Bytes of an input."""
SLOWEST = 10
"""Seconds that one input may take."""


def main() -> None:
    """Run each target in a process of its own, which ends at the first input that breaks it."""
    parser = argparse.ArgumentParser(description="Look for bytes that break a target.")
    parser.add_argument("--seconds", type=int, default=300, help="for each target")
    parser.add_argument("targets", nargs="*", help="by default all")
    arguments = parser.parse_args()
    known = sorted(folder.name for folder in CORPUS.iterdir())
    if unknown := set(arguments.targets) - set(known):
        parser.error(f"no such target: {', '.join(sorted(unknown))} (there are {', '.join(known)})")
    broken = []
    for name in arguments.targets or known:
        (FOUND / name).mkdir(parents=True, exist_ok=True)
        print(f"== {name}, {arguments.seconds} s", flush=True)  # noqa: T201
        options = [f"-max_total_time={arguments.seconds}", f"-max_len={LONGEST}"]
        options += [f"-timeout={SLOWEST}", f"-artifact_prefix={CORPUS / name}/", "-verbosity=0"]
        options += ["-print_final_stats=1", str(FOUND / name), str(CORPUS / name)]
        ended = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", *options],
            cwd=ROOT,
            env={**os.environ, ONE_TARGET: name},
            check=False,
        )
        if ended.returncode:
            broken.append(name)
    if broken:
        sys.exit(f"Broken: {', '.join(broken)}; the input is in {CORPUS}.")


def fuzz(name: str) -> None:
    """Hand the process over to atheris."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - instrumented as it is imported
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    if ONE_TARGET in os.environ:
        fuzz(os.environ[ONE_TARGET])
    else:
        main()

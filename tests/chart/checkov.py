"""What checkov finds wrong with the Jobs that builds run in and with the chart, but for exceptions.

    python -m tests.chart.checkov CHECKOV            CHECKOV is the program

An exception names a check and the objects that may fail it, and says why. One that no object needs
any more is told as well: then it goes. checkov pins libraries that the service wants newer, so
``make checkov`` gives it a virtual environment of its own. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings
from tests.chart.rendering import MATRIX, ChartEngine

EXCEPTIONS = Path(__file__).with_name("checkov_exceptions.yaml")
JOB_TEMPLATES = ("kaniko.yaml", "buildkit.yaml")
CASES = ("no values", "statefulset", "deployment")
_SECRETS: dict[str, Any] = {
    "registry_secret": "push",
    "pull_secret": "pull",
    "cache_secret": "cache",
}


class Excepted(BaseModel):
    """A check that some objects may fail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    check: str = Field(pattern=r"^CKV2?_K8S_[0-9]+$")
    objects: list[str] = Field(min_length=1)
    """Patterns of ``FILE/KIND/NAME``."""
    because: str = Field(min_length=20)

    def covers(self, failure: Failure) -> bool:
        """Return whether a failure is one of these."""
        same = self.check == failure.check
        return same and any(fnmatchcase(failure.found, each) for each in self.objects)


class Failure(NamedTuple):
    """An object that fails a check."""

    check: str
    found: str
    """``FILE/KIND/NAME``."""
    title: str


def exceptions() -> list[Excepted]:
    """Return the exceptions; raises pydantic's ``ValidationError``."""
    return TypeAdapter(list[Excepted]).validate_python(yaml.safe_load(EXCEPTIONS.read_text()))


def manifests() -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Yield what is checked: the names of files, and the objects in them."""
    for name in JOB_TEMPLATES:
        settings = Settings(job_template=Path(name), **_SECRETS)
        yield Path(name).stem, [JobTemplate.from_settings(settings).sample()]
    chart = ChartEngine()
    try:
        for case in CASES:
            # A namespace for each: what guards one must not seem to guard another.
            name = case.replace(" ", "-")
            yield name, chart.objects(MATRIX[case], namespace=name)
    finally:
        chart.close()


def failures(report: Any) -> list[Failure]:
    """Return what failed, by checkov's report in JSON."""
    reports = report if isinstance(report, list) else [report]
    return sorted(
        {
            Failure(each["check_id"], _object_of(each), each["check_name"])
            for one in reports
            for each in one["results"]["failed_checks"]
        }
    )


def _object_of(failed: Mapping[str, Any]) -> str:
    # KIND.NAMESPACE.NAME, and for pods of others the labels, which may have dots, after it.
    kind, _, *name = failed["resource"].split(".")
    return f"{Path(failed['file_path']).stem}/{kind}/{name[0] if name else ''}"


def problems(failed: Sequence[Failure], excepted: Sequence[Excepted]) -> list[str]:
    """Return what there is to say: failures without exception, exceptions without failure."""
    return [
        f"{each.check} {each.found}: {each.title}"
        for each in failed
        if not any(one.covers(each) for one in excepted)
    ] + [
        f"{one.check}: nothing fails it, the exception can go"
        for one in excepted
        if not any(one.covers(each) for each in failed)
    ]


def report_of(checkov: str, folder: Path) -> Any:
    """Run checkov over what is rendered into ``folder``; raises ``OSError`` and ``ValueError``."""
    for name, found in manifests():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(found))
    command = [checkov, "--directory", str(folder), "--framework", "kubernetes"]
    options = ("--skip-download", "--soft-fail", "--quiet", "--compact", "--output", "json")
    run = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout)


def main() -> None:
    """Check and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkov")
    with tempfile.TemporaryDirectory() as folder:
        failed = failures(report_of(parser.parse_args().checkov, Path(folder)))
    said = problems(failed, exceptions())
    sys.stdout.write("".join(f"{line}\n" for line in said))
    sys.exit(1 if said else 0)


if __name__ == "__main__":
    main()

"""The workflows of GitHub Actions: what they run is pinned, and what they may do is little."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

MORE_RIGHTS = {
    "image.yml": {"contents": "read", "packages": "write", "id-token": "write"},
}
"""The last is what cosign signs with: the identity of the run."""


def load(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_a_commit_and_says_which_release_that_is(path: Path) -> None:
    used = re.findall(r"uses: (.+)", path.read_text())
    assert used
    for each in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_the_code_and_nothing_else_but_push_a_releases_image(
    path: Path,
) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job.get("permissions") == MORE_RIGHTS.get(path.name)
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_suite_and_cluster_tests_are_both_run() -> None:
    commands = [
        step.get("run", "")
        for path in WORKFLOWS
        for job in load(path)["jobs"].values()
        for step in job["steps"]
    ]
    assert "make test" in commands
    assert any(command.startswith("make test-cluster KUBECONFIG=") for command in commands)


def test_the_image_is_signed_and_attested_by_its_digest_at_tags_alone() -> None:
    workflow = load(next(path for path in WORKFLOWS if path.name == "image.yml"))
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` so
    steps = workflow["jobs"]["image"]["steps"]
    commands = "\n".join(step.get("run", "") for step in steps)
    for wanted in ("sign --yes", "attest --yes --type cyclonedx --predicate sbom.cdx.json"):
        assert f'cosign {wanted} "$PUSHED"' in commands
    assert "@$digest" in commands
    assert "${{" not in commands, "what others write would be run as a script"

"""Take docs/page.png anew: the operations page of a service with a believable mix of builds.

Needs Debian's chromium and what the tests need: make page
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import ViewportSize, sync_playwright

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "page.png"
SIZE = ViewportSize(width=1180, height=820)
FAULTS = (
    (
        "fail",
        "build-acme-checkout",
        "error building image: failed to execute: exit status 1",
    ),
    ("fail", "build-hooli-mail", "error pushing image: UNAUTHORIZED: authentication required"),
    ("image_pull", "build-umbrella", None),
)
TARGETS = {
    ("stark", "jarvis"): 8,
    ("stark", "edith"): 6,
    ("acme", "catalog"): 6,
    ("globex", "ranker"): 6,
    ("wayne", "signal"): 5,
    ("acme", "checkout"): 2,
    ("hooli", "mail"): 1,
    ("umbrella", "vaccine"): 1,
}


def send(service: ServiceProcess) -> None:
    """Send some builds, of which some fail and some run on."""
    chosen = [target for target, share in TARGETS.items() for _ in range(2 * share)]
    random.Random(7).shuffle(chosen)  # noqa: S311 - a picture
    for number, (third_party, parser) in enumerate(chosen):
        service.post(f"release-{number}", third_party_id=third_party, parser_id=parser)
    wait_until(lambda: service.stats()["succeeded_total"] > 30, "builds to succeed", 60)
    for number, (third_party, parser) in enumerate(TARGETS):
        service.post(f"now-{number}", third_party_id=third_party, parser_id=parser)


def main() -> None:
    """Take the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ("--run-seconds", "6", "--pending-seconds", "0.4")
        with ClusterProcess(folder, *options) as cluster:
            for kind, prefix, message in FAULTS:
                cluster.add_fault(kind, name_prefix=prefix, message=message)
            with ServiceProcess(cluster.kubeconfig, folder) as service, sync_playwright() as tool:
                send(service)
                browser = tool.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
                page = browser.new_page(viewport=SIZE)
                page.goto(service.url)
                page.wait_for_timeout(2500)
                page.screenshot(path=PICTURE)
                browser.close()


if __name__ == "__main__":
    main()

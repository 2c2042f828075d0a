"""A cluster and a service, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ClusterProcess, ServiceProcess


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path) as running:
        yield running


@pytest.fixture
def service(cluster: ClusterProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(cluster.kubeconfig, tmp_path) as running:
        yield running

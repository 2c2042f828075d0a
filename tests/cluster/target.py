"""The cluster under test, as its administrator sees it: embedded, or any real one."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.kube.credentials import load_configuration

KUBECONFIG_VARIABLE = "CLUSTER_KUBECONFIG"
RESTART_VARIABLE = "CLUSTER_RESTART"
"""A command that restarts the API server and returns once that has begun."""
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_CLUSTER_SCOPED = {"Namespace", "ClusterRole", "ClusterRoleBinding"}

KubeObject = dict[str, Any]


class Target(ABC):
    """A cluster, by a kubeconfig whose user may do everything."""

    embedded = False
    patience = 120.0
    """Seconds that anything may take."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._url, self._session = _session(kubeconfig)
        self._plurals: dict[tuple[str, str], str] = {}

    def close(self) -> None:
        """Let go of the cluster."""
        self._session.close()

    # -- objects -------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, **query: str) -> requests.Response:
        """Send one request; ``body`` becomes JSON, a merge patch where it is a PATCH."""
        kind = _MERGE if method == "PATCH" else "application/json"
        return self._send(method, path, body, kind, query)

    def get(self, path: str) -> KubeObject:
        """Return an object or a list that must be there."""
        answer = self.call("GET", path)
        answer.raise_for_status()
        found: KubeObject = answer.json()
        return found

    def apply(self, found: KubeObject, *, dry_run: bool = False) -> requests.Response | None:
        """Apply an object as ``kubectl apply --server-side``; None where its kind is not served."""
        plural = self._plural(found["apiVersion"], found["kind"])
        if plural is None:
            return None
        meta = found["metadata"]
        path = f"{_base(found['apiVersion'])}/"
        if found["kind"] not in _CLUSTER_SCOPED:
            path += f"namespaces/{meta['namespace']}/"
        query = {"fieldManager": "lambda-builder-tests", "force": "true"}
        if dry_run:
            query["dryRun"] = "All"
        return self._send("PATCH", f"{path}{plural}/{meta['name']}", found, _APPLY, query)

    def _plural(self, api_version: str, kind: str) -> str | None:
        if (api_version, kind) not in self._plurals:
            answer = self.call("GET", _base(api_version))
            for each in answer.json().get("resources", ()) if answer.ok else ():
                if "/" not in each["name"]:
                    self._plurals[api_version, each["kind"]] = each["name"]
        return self._plurals.get((api_version, kind))

    def _send(
        self, method: str, path: str, body: Any, kind: str, query: Mapping[str, str]
    ) -> requests.Response:
        return self._session.request(
            method,
            f"{self._url}{path}",
            params=query,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            timeout=30,
        )

    def kubeconfig_with(self, token: str, path: Path) -> Path:
        """Write a kubeconfig that shows ``token`` and nothing else."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        names = {each["name"]: each["context"] for each in config["contexts"]}
        used = names[config["current-context"]]
        config["contexts"] = [
            {"name": "service", "context": {"cluster": used["cluster"], "user": "service"}}
        ]
        config["users"] = [{"name": "service", "user": {"token": token}}]
        config["current-context"] = "service"
        path.touch(0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    # -- what a test has happen ----------------------------------------------------------------

    @abstractmethod
    def require_pods(self) -> None:
        """Skip the test where nothing runs pods."""

    @abstractmethod
    def let_end(self, namespace: str, name: str) -> None:
        """Have a Job of a short ``runtime`` end."""

    @abstractmethod
    def unpullable(self, prefix: str) -> AbstractContextManager[None]:
        """Have no image be there for Jobs whose names begin so; real ones look for themselves."""

    @abstractmethod
    def restarting(self) -> AbstractContextManager[None]:
        """Have the API away at the block's begin, and back some time after its end."""


class Embedded(Target):
    """The embedded cluster, in this process."""

    embedded = True
    patience = 20.0

    def __init__(self, folder: Path) -> None:
        # Builds end when they are told to.
        self._cluster = DevCluster(run_seconds=600, pending_seconds=0.02, deletion_seconds=0.02)
        self._cluster.start()
        path = folder / "kubeconfig"
        self._cluster.write_kubeconfig(path)
        super().__init__(path)

    def close(self) -> None:
        super().close()
        self._cluster.stop()

    def require_pods(self) -> None:
        pass

    def let_end(self, namespace: str, name: str) -> None:
        self._cluster.finish_job(name, namespace=namespace)

    @contextmanager
    def unpullable(self, prefix: str) -> Iterator[None]:
        self._cluster.add_fault(Fault("image_pull", name_prefix=prefix))
        yield
        self._cluster.clear_faults()

    @contextmanager
    def restarting(self) -> Iterator[None]:
        self._cluster.outage()
        yield
        self._cluster.restore()


class Real(Target):
    """The cluster that ``make test-cluster`` was given."""

    def require_pods(self) -> None:
        nodes = self.get("/api/v1/nodes")["items"]
        conditions = [each for node in nodes for each in node["status"].get("conditions", ())]
        if not any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
            pytest.skip("no node of this cluster is ready: pods do not run")

    def let_end(self, namespace: str, name: str) -> None:
        pass

    @contextmanager
    def unpullable(self, prefix: str) -> Iterator[None]:
        yield

    @contextmanager
    def restarting(self) -> Iterator[None]:
        command = os.environ.get(RESTART_VARIABLE, "")
        if not command:
            pytest.skip(f"{RESTART_VARIABLE} names no command that restarts the API server")
        subprocess.run(shlex.split(command), check=True, timeout=60)
        yield
        deadline = time.monotonic() + self.patience
        while not self._answers():
            assert time.monotonic() < deadline, "the API server did not come back"

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/readyz").ok
        except requests.RequestException:
            return False


def target_of(environ: Mapping[str, str], folder: Path) -> Target:
    """Return the cluster that the environment names, else the embedded one."""
    path = environ.get(KUBECONFIG_VARIABLE, "")
    return Real(Path(path)) if path else Embedded(folder)


def _base(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _session(kubeconfig: Path) -> tuple[str, requests.Session]:
    found = load_configuration(pool_size=4, environ={"KUBECONFIG": str(kubeconfig)})
    session = requests.Session()
    session.trust_env = False
    session.verify = (found.ssl_ca_cert or True) if found.verify_ssl else False
    if found.cert_file:
        session.cert = (found.cert_file, found.key_file)
    if token := found.auth_settings().get("BearerToken"):
        session.headers["Authorization"] = token["value"]
    return str(found.host), session

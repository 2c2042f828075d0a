"""The kubeconfig that leads clients to a development cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_kubeconfig(path: str | Path, url: str, namespace: str, token: str | None) -> None:
    """Write a kubeconfig for ``url``, readable by its owner only, replacing what is there.

    It is JSON, which is YAML too, so that nothing is needed to write it.
    """
    name = "devcluster"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": {"token": token} if token else {}}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}
        ],
        "current-context": name,
    }
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_text(json.dumps(config, indent=2) + "\n")
    draft.chmod(0o600)
    draft.replace(target)

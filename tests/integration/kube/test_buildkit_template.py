"""The rootless BuildKit template: what its script really starts, with stand-ins for its tools."""

from __future__ import annotations

import os
import subprocess
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings


@pytest.fixture
def run(tmp_path: Path, build):
    """Run the fetch and the build container of a build; returns the build's arguments."""
    tools, workspace = tmp_path / "tools", tmp_path / "workspace"
    tools.mkdir()
    workspace.mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with tarfile.open(tmp_path / "context.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "Dockerfile", "Dockerfile")
    stand_in(tools / "buildctl-daemonless.sh", f'printf "%s\\n" "$@" > {tmp_path}/arguments\n')
    stand_in(
        tools / "aws",
        '[ "$1 $2 $3 $4" = "s3 cp --no-progress s3://b/k.tgz" ]\n'
        f'cp {tmp_path}/context.tar.gz "$5"\n',
    )
    template = JobTemplate.from_settings(Settings(job_template="buildkit.yaml"))

    def containers(**fields: object) -> list[str]:
        pod = template.render(build(**fields))["spec"]["template"]["spec"]
        for container in (*pod["initContainers"], *pod["containers"]):
            # The kubelet makes one of two dollar signs; the volume is a folder of the test.
            words = [
                word.replace("$$", "$").replace("/workspace", str(workspace))
                for word in (*container["command"], *container["args"])
            ]
            variables = {item["name"]: item["value"] for item in container["env"]}
            environment = {**variables, "PATH": f"{tools}:{os.environ['PATH']}"}
            subprocess.run(words, env=environment, check=True, capture_output=True, timeout=20)
        return (tmp_path / "arguments").read_text().splitlines()

    return containers


def stand_in(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh -e\n{script}")
    path.chmod(0o755)


def options(arguments: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(arguments) if option == name]


def test_a_context_in_s3_is_fetched_unpacked_and_built(run, tmp_path):
    arguments = run(context_url="s3://b/k.tgz", image="registry.example.com/team/app:1")
    assert arguments[0] == "build"
    context = f"{tmp_path}/workspace/context"
    assert options(arguments, "--local") == [f"context={context}", f"dockerfile={context}"]
    assert Path(context, "Dockerfile").read_text() == "FROM scratch\n"
    assert options(arguments, "--frontend") == ["dockerfile.v0"]
    assert options(arguments, "--output") == [
        "type=image,name=registry.example.com/team/app:1,push=true"
    ]


def test_every_other_context_is_left_to_buildkit(run):
    arguments = run(context_url="https://host/a b.git#main:sub", image="r/i:1")
    assert options(arguments, "--opt") == ["context=https://host/a b.git#main:sub"]
    assert options(arguments, "--local") == []


def test_a_registry_of_the_clusters_own_network_may_speak_plain_http(run):
    arguments = run(context_url="https://host/c.tar")
    output = options(arguments, "--output")[0]
    assert output.endswith(",push=true,registry.insecure=true")


def test_build_args_arrive_as_they_are(run):
    hostile = "$(id) \"; $IMAGE `id` $$ 'x"
    arguments = run(context_url="https://h/c", build_args={"A": "1", "B": hostile})
    assert "--opt=build-arg:A=1" in arguments
    assert f"--opt=build-arg:B={hostile}" in arguments


@pytest.mark.parametrize("image", ["r/i:1,push=false", "r/i:1 x", 'r/"i', "r/$(id)"])
def test_an_image_that_is_none_is_refused_before_it_is_read_as_options(run, image):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(context_url="https://h/c", image=image)
    assert caught.value.returncode == 2
    assert b"no image name" in caught.value.stderr

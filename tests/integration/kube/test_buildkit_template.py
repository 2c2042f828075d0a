"""The rootless BuildKit template: what its script really starts, with stand-ins for its tools."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings


@pytest.fixture
def run(tmp_path: Path, build):
    """Run the containers of a build; returns the arguments of what builds and what pushes."""
    tools = tmp_path / "tools"
    for name in ("tools", "context", "image", "credentials"):
        (tmp_path / name).mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with tarfile.open(tmp_path / "context.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "Dockerfile", "Dockerfile")
    stand_in(
        tools / "buildctl-daemonless.sh",
        f'printf "%s\\n" "$@" > {tmp_path}/built\ntouch {tmp_path}/image/image.tar\n',
    )
    stand_in(tools / "skopeo", f'printf "%s\\n" "$@" > {tmp_path}/pushed\n')
    stand_in(
        tools / "aws",
        '[ "$1 $2 $3 $4" = "s3 cp --no-progress s3://b/k.tgz" ]\n'
        f'cp {tmp_path}/context.tar.gz "$5"\n',
    )

    def containers(settings=None, **fields: object) -> tuple[list[str], list[str]]:
        template = JobTemplate.from_settings(
            Settings(job_template="buildkit.yaml", **settings or {})
        )
        pod = template.render(build(**fields))["spec"]["template"]["spec"]
        for container in (*pod["initContainers"], *pod["containers"]):
            # The kubelet makes one of two dollar signs; the volumes are folders of the test.
            words = [
                FOLDERS.sub(f"{tmp_path}\\1", word.replace("$$", "$"))
                for word in (*container["command"], *container["args"])
            ]
            variables = {
                item["name"]: FOLDERS.sub(f"{tmp_path}\\1", item["value"].replace("$$", "$"))
                for item in container["env"]
            }
            environment = {**variables, "PATH": f"{tools}:{os.environ['PATH']}"}
            subprocess.run(words, env=environment, check=True, capture_output=True, timeout=20)
        built, pushed = tmp_path / "built", tmp_path / "pushed"
        return built.read_text().splitlines(), pushed.read_text().splitlines()

    return containers


FOLDERS = re.compile(r"(?<![\w./:])(/(?:context|image|credentials|home/user)\b)")


def stand_in(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh -e\n{script}")
    path.chmod(0o755)


def options(arguments: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(arguments) if option == name]


def test_a_context_in_s3_is_fetched_unpacked_and_built(run, tmp_path):
    arguments, _ = run(context_url="s3://b/k.tgz", image="registry.example.com/team/app:1")
    assert arguments[0] == "build"
    context = f"{tmp_path}/image/context"
    assert options(arguments, "--local") == [f"context={context}", f"dockerfile={context}"]
    assert Path(context, "Dockerfile").read_text() == "FROM scratch\n"
    assert options(arguments, "--frontend") == ["dockerfile.v0"]
    assert options(arguments, "--output") == [f"type=oci,dest={tmp_path}/image/image.tar"]


def test_every_other_context_is_left_to_buildkit(run):
    arguments, _ = run(context_url="https://host/a b.git#main:sub", image="r/i:1")
    assert options(arguments, "--opt") == ["context=https://host/a b.git#main:sub"]
    assert options(arguments, "--local") == []


def test_an_sbom_and_provenance_are_attested_and_pushed_with_the_image(run, tmp_path):
    built, pushed = run(context_url="https://host/c", image="registry.example.com/team/app:1")
    assert {"--opt=attest:sbom=", "--opt=attest:provenance=mode=max"} <= set(built)
    assert "--all" in pushed
    assert pushed[-2:] == [
        f"oci-archive:{tmp_path}/image/image.tar",
        "docker://registry.example.com/team/app:1",
    ]
    assert options(pushed, "--digestfile") == ["/dev/termination-log"]
    assert "--dest-tls-verify=false" not in pushed


def test_a_registry_of_the_clusters_own_network_may_speak_plain_http(run):
    built, pushed = run({"cache_secret": "c"}, context_url="https://host/c.tar")
    assert "--dest-tls-verify=false" in pushed
    (cache,) = options(built, "--import-cache")
    assert cache.endswith("/knative-lambdas/customer-1/cache:buildkit,registry.insecure=true")
    assert options(built, "--export-cache") == [f"{cache},mode=max"]


def test_a_cache_that_would_be_read_as_options_is_refused(run):
    settings = {"cache_secret": "c", "cache_repo": "r/${third_party_id}"}
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(settings, context_url="https://h/c", third_party_id="a,mode=max")
    assert b"no repository" in caught.value.stderr


def test_the_push_has_its_credentials(run, tmp_path):
    (tmp_path / "credentials/config.json").write_text("{}")
    _, pushed = run(context_url="https://h/c")
    assert options(pushed, "--authfile") == [f"{tmp_path}/credentials/config.json"]


def test_the_build_has_the_credentials_of_pull_and_cache(run, tmp_path):
    for name in ("pull", "cache"):
        (tmp_path / "credentials" / name).mkdir()
        config = json.dumps({"auths": {name: {"auth": "YTpi"}}})
        (tmp_path / "credentials" / name / "config.json").write_text(config)
    run(context_url="https://h/c")
    made = json.loads((tmp_path / "home/user/.docker/config.json").read_text())
    assert list(made["auths"]) == ["pull", "cache"]


def test_build_args_arrive_as_they_are(run):
    hostile = "$(id) \"; $CONTEXT_URL `id` $$ 'x"
    arguments, _ = run(context_url="https://h/c", build_args={"A": "1", "B": hostile})
    assert "--opt=build-arg:A=1" in arguments
    assert f"--opt=build-arg:B={hostile}" in arguments


@pytest.mark.parametrize("image", ["--dest-tls-verify=false", "r/i:1 x", "r/$(id)"])
def test_an_image_that_is_none_is_one_argument_of_its_own(run, image):
    _, pushed = run(context_url="https://h/c", image=image)
    assert pushed[-1] == f"docker://{image}"

"""The Kaniko template: what its scripts really start, with stand-ins for their tools."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

from .test_buildkit_template import stand_in

PULL = {"auths": {"docker.io": {"username": "u", "password": "}}{", "auth": "dTpw"}}}
CACHE = {"auths": {"registry.example.com": {"auth": "Yzpw"}, "docker.io": {"auth": "Yzpw"}}}


@pytest.fixture
def run(tmp_path: Path, build):
    """Run one container of a build; returns what Kaniko was started with."""
    kaniko, tools = tmp_path / "kaniko", tmp_path / "tools"
    for folder in (kaniko / "image", kaniko / ".docker", kaniko / "context", tools):
        folder.mkdir(parents=True)
    stand_in(kaniko / "executor", f'printf "%s\\n" "$@" > {tmp_path}/arguments\n')
    stand_in(
        tools / "aws",
        '[ "$1 $2 $3" = "s3 cp --no-progress" ]\n'
        f'printf "%s\\n" "$4" "$5" "${{AWS_ENDPOINT_URL:-}}" > {tmp_path}/arguments\n',
    )

    def container(name: str, environment=None, settings=None, **fields: object) -> list[str]:
        template = JobTemplate.from_settings(Settings(**settings or {}))
        pod = template.render(build(**fields))["spec"]["template"]["spec"]
        both = (*pod["initContainers"], *pod["containers"])
        (wanted,) = (each for each in both if each["name"] == name)
        # The kubelet makes one of two dollar signs; the root is a folder of the test.
        words = [
            word.replace("$$", "$").replace("/kaniko", str(kaniko)).replace("/busybox/sh", "sh")
            for word in (*wanted["command"], *wanted["args"])
        ]
        variables = {item["name"]: item["value"].replace("$$", "$") for item in wanted["env"]}
        path = f"{tools}:{os.environ['PATH']}"
        known = {**variables, "PATH": path, **(environment or {})}
        subprocess.run(words, env=known, check=True, capture_output=True, timeout=20)
        arguments = tmp_path / "arguments"
        return arguments.read_text().splitlines() if arguments.exists() else []

    return container


def refused(call) -> tuple[int, str]:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        call()
    return caught.value.returncode, caught.value.stderr.decode()


def test_a_context_in_s3_is_fetched_where_its_credentials_are(run):
    url = "s3://b/a b;$(id).tgz"
    assert run("fetch", context_url=url) == [url, "/context/context.tar.gz", ""]
    minio = {"S3_ENDPOINT": "http://minio:9000"}
    assert run("fetch", minio, context_url=url)[2] == "http://minio:9000"


def test_every_other_context_is_left_to_the_build(run):
    assert run("fetch", context_url="https://host/c.tgz") == []
    for url in ("https://host/c.tgz", "git://host/r.git#refs/heads/main"):
        assert run("build", context_url=url)[0] == f"--context={url}"


def test_a_context_in_s3_is_built_from_what_was_fetched(run, tmp_path):
    arguments = run("build", context_url="s3://b/k.tgz")
    assert arguments[0] == f"--context=tar://{tmp_path}/kaniko/context/context.tar.gz"
    assert "--no-push" in arguments
    assert f"--tar-path={tmp_path}/kaniko/image/image.tar" in arguments


@pytest.mark.parametrize("url", ["dir:///", "tar:///proc/1/environ", "/etc", "--help", "gs://b/o"])
def test_a_context_of_another_kind_is_refused_in_words_that_are_understood(run, url):
    code, words = refused(lambda: run("build", context_url=url))
    assert code == 2
    assert words.startswith("error resolving source context")


def test_build_args_arrive_as_they_are(run):
    hostile = "$(id) \"; $CONTEXT_URL `id` $$ 'x"
    arguments = run("build", build_args={"A": hostile, "--cache-repo": "evil"})
    assert f"--build-arg=A={hostile}" in arguments
    assert "--build-arg=--cache-repo=evil" in arguments
    assert not [each for each in arguments if each.startswith("--cache")]


def test_layers_are_cached_where_there_is_a_secret_for_it(run):
    arguments = run("build", settings={"cache_secret": "c"}, third_party_id="Customer 1")
    (repository,) = (each for each in arguments if each.startswith("--cache-repo="))
    assert repository.startswith("--cache-repo=registry.knative-lambda.svc.cluster.local:5000/")
    assert repository.endswith("/cache")
    assert "/customer-1-" in repository
    assert "--cache=true" in arguments


@pytest.mark.parametrize("given", [("pull",), ("cache",), ("pull", "cache")])
def test_the_build_has_the_credentials_of_pull_and_cache(run, tmp_path, given):
    for name, config in (("pull", PULL), ("cache", CACHE)):
        if name in given:
            (tmp_path / f"kaniko/{name}-credentials").mkdir()
            text = json.dumps(config, indent=1 if name == "cache" else None)
            (tmp_path / f"kaniko/{name}-credentials/config.json").write_text(text)
    run("build")
    made = json.loads((tmp_path / "kaniko/.docker/config.json").read_text())
    expected = {"pull": PULL, "cache": CACHE, "both": {"auths": PULL["auths"] | CACHE["auths"]}}
    assert made == expected[given[0] if len(given) == 1 else "both"]


def test_two_secrets_that_cannot_be_one_are_refused(run, tmp_path):
    for name, config in (("pull", {**PULL, "credHelpers": {"a": "b"}}), ("cache", CACHE)):
        (tmp_path / f"kaniko/{name}-credentials").mkdir()
        (tmp_path / f"kaniko/{name}-credentials/config.json").write_text(json.dumps(config))
    assert refused(lambda: run("build"))[0] == 2


def test_the_image_is_pushed_under_its_name(run, tmp_path):
    image = tmp_path / "kaniko/image/image.tar"
    image.write_text("")
    arguments = run("push", image="--skip-tls-verify")
    assert arguments[:3] == ["push", str(image), "--destination=--skip-tls-verify"]


@pytest.mark.parametrize("left", ["nothing", "folder", "link"])
def test_what_is_no_file_is_not_pushed(run, tmp_path, left):
    # An OCI layout may have links in it, to the credentials of the push for example.
    image, secret = tmp_path / "kaniko/image/image.tar", tmp_path / "secret"
    secret.write_text("")
    if left == "folder":
        image.mkdir()
    elif left == "link":
        image.symlink_to(secret)
    assert refused(lambda: run("push"))[1].startswith("Error: loading image")

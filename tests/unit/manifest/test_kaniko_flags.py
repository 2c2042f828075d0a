"""Every option that the Kaniko template gives is one that its Kaniko has.

The lists are those of github.com/osscontainertools/kaniko at v1.28.3, the version that the template
names: cmd/executor/cmd/root.go (``AddKanikoOptionsFlags``, ``AddRegistryOptionsFlags``) and
cmd/executor/cmd/push.go. The README says that ``push`` has the flags for digest files too; the
source does not.
"""

from __future__ import annotations

import re

from lambda_builder.builds import BuildRequest, job_name, netstring_digest
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

VERSION = "v1.28.3"
REGISTRY = """
    credential-helpers image-download-retry insecure insecure-pull insecure-registry
    push-ignore-immutable-tag-errors push-retry registry-certificate registry-client-cert
    registry-map registry-mirror skip-default-registry-fallback skip-tls-verify
    skip-tls-verify-pull skip-tls-verify-registry
""".split()  # noqa: SIM905 - forty names are read more easily so
BUILD = """
    annotation bucket build-arg cache cache-copy-layers cache-dir cache-repo cache-run-layers
    cache-ttl cleanup compressed-caching compression compression-level context context-sub-path
    custom-platform destination digest-file dockerfile dryrun force git ignore-path ignore-var-run
    image-format image-fs-extract-retry image-name-tag-with-digest-file
    image-name-with-digest-file kaniko-dir label log-format log-timestamp materialize no-push
    no-push-cache oci-layout-path pre-cleanup preserve-context reproducible secret single-snapshot
    skip-push-permission-check snapshot-mode tar-path target use-new-run verbosity
""".split()  # noqa: SIM905
PUSH = ["destination", "skip-push-permission-check"]
OF = {"build": {*BUILD, *REGISTRY}, "push": {*PUSH, *REGISTRY}}

BUILD_REQUEST = BuildRequest(
    event_id="id-1",
    event_source="source-1",
    event_type="type-1",
    parser_id="parser-1",
    third_party_id="customer-1",
    correlation_id="corr-1",
    event_hash=netstring_digest("source-1", "id-1"),
    job_name=job_name("customer-1", "parser-1", netstring_digest("source-1", "id-1")),
    build_args={"A": "1"},
)


def containers():
    settings = Settings(registry_secret="a", pull_secret="b", cache_secret="c")
    pod = JobTemplate.from_settings(settings).render(BUILD_REQUEST)["spec"]["template"]["spec"]
    return {each["name"]: each for each in (*pod["initContainers"], *pod["containers"])}


def test_every_option_is_one_of_the_version_that_the_template_names():
    for name, known in OF.items():
        container = containers()[name]
        assert container["image"].split("@")[0].endswith(f"kaniko:{VERSION}-debug")
        used = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", "\n".join(container["args"])))
        assert used
        assert used <= known
    assert {"no-push", "tar-path", "cache-repo", "build-arg"} <= set(
        re.findall(r"--([a-z-]+)", "\n".join(containers()["build"]["args"]))
    )


def test_the_image_is_a_tarball_so_no_media_type_of_its_own_is_asked_for():
    # cmd/executor/cmd/root.go refuses --tar-path with --image-format=oci or --compression=zstd.
    text = "\n".join(containers()["build"]["args"])
    assert "--image-format" not in text
    assert "--compression=" not in text


def test_the_digest_is_where_push_writes_it():
    # pkg/executor/push.go: writeImageOutputs writes $BUILDER_OUTPUT/images.
    push = containers()["push"]
    (output,) = (each["value"] for each in push["env"] if each["name"] == "BUILDER_OUTPUT")
    assert push["terminationMessagePath"] == f"{output}/images"

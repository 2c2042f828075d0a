"""Job manifests: what a template may say, what a build puts into it, and what it cannot."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import re
import tempfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import lambda_builder.manifest
from lambda_builder.builds import BuildRequest, job_name, netstring_digest
from lambda_builder.errors import BootError, FailureReason, Permanent
from lambda_builder.kube.labels import safe
from lambda_builder.manifest.placeholders import FIELDS, Text, plain
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
MINIMAL = """
apiVersion: batch/v1
kind: Job
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: build
          image: builder:1
"""
SETTINGS_OF_EVERY_KIND: tuple[dict[str, Any], ...] = (
    {},
    {"registry_secret": "push", "service_account": "builder", "kueue_queue": "builds"},
    {
        "registry_secret": "push-${third_party_id_name}",
        "pull_secret": "pull",
        "cache_secret": "cache-${third_party_id_name}",
        "runtime_class": "gvisor",
    },
)
SECRETS = SETTINGS_OF_EVERY_KIND[-1]


def build(**fields) -> BuildRequest:
    source, event_id = fields.get("event_source", "source-1"), fields.get("event_id", "id-1")
    third_party_id = fields.get("third_party_id", "customer-1")
    parser_id = fields.get("parser_id", "parser-1")
    digest = netstring_digest(source, event_id)
    known = {
        "event_id": event_id,
        "event_source": source,
        "event_type": "network.notifi.lambda.build.start",
        "parser_id": parser_id,
        "third_party_id": third_party_id,
        "correlation_id": "corr-1",
        "event_hash": digest,
        "job_name": job_name(third_party_id, parser_id, digest),
        "accepted_at": 1767323044.5,
    }
    return BuildRequest(**{**known, **fields})


@pytest.fixture
def template(tmp_path: Path):
    """Make a template out of YAML text, or change the minimal one."""

    def make(text: str = MINIMAL, **settings) -> JobTemplate:
        path = tmp_path / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return JobTemplate.from_settings(Settings(job_template=path, **settings))

    return make


def changed(**changes) -> str:
    """The minimal template with other fields of its spec, pod or container."""
    manifest = yaml.safe_load(MINIMAL)
    pod = manifest["spec"]["template"]["spec"]
    places = {
        "top": manifest,
        "spec": manifest["spec"],
        "pod": pod,
        "container": pod["containers"][0],
    }
    for place, fields in changes.items():
        places[place].update(fields)
    return yaml.safe_dump(manifest)


def container(manifest: dict) -> dict:
    return manifest["spec"]["template"]["spec"]["containers"][0]


def containers(manifest: dict) -> dict[str, dict]:
    pod = manifest["spec"]["template"]["spec"]
    return {each["name"]: each for each in (*pod["initContainers"], *pod["containers"])}


# -- the templates of the package ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kaniko.yaml", "buildkit.yaml"])
@pytest.mark.parametrize("settings", SETTINGS_OF_EVERY_KIND)
@pytest.mark.parametrize("version", ["1.31", "1.34", "1.37"])
def test_every_manifest_of_the_package_is_valid_by_the_real_schema(name, settings, version):
    template = JobTemplate.from_settings(Settings(job_template=name, **settings))
    for request in (build(), build(build_args={"A": "1"}, traceparent="00-aa-bb-01")):
        kubernetes_validate.validate(template.render(request), version, strict=True)


def test_the_built_in_job_builds_the_documented_event():
    manifest = JobTemplate.from_settings(Settings()).render(build())
    digest = netstring_digest("source-1", "id-1")[:10]
    known = containers(manifest)
    assert list(known) == ["fetch", "build", "push"]
    for name in ("fetch", "build"):
        (url,) = (each["value"] for each in known[name]["env"] if each["name"] == "CONTEXT_URL")
        assert url == "s3://knative-lambda-builds/build-context/parser-1/context.tar.gz"
    assert (
        "--destination=registry.knative-lambda.svc.cluster.local:5000/"
        f"knative-lambdas/customer-1:parser-1-{digest}" in known["push"]["args"]
    )
    assert not [arg for arg in known["build"]["args"] if "build-arg" in arg]
    spec = manifest["spec"]
    assert spec["activeDeadlineSeconds"] == 1800
    assert spec["ttlSecondsAfterFinished"] == 86400
    assert spec["backoffLimit"] == 0
    rule = spec["podFailurePolicy"]["rules"][0]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    for each in known.values():
        assert set(each["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("name", ["kaniko.yaml", "buildkit.yaml"])
def test_each_secret_is_where_it_is_needed_and_nowhere_else(name):
    manifest = JobTemplate.from_settings(Settings(job_template=name, **SECRETS)).render(build())
    volumes = {
        each["name"]: each["secret"]["secretName"]
        for each in manifest["spec"]["template"]["spec"]["volumes"]
        if "secret" in each
    }
    assert volumes == {
        "registry-credentials": "push-customer-1",
        "pull-credentials": "pull",
        "cache-credentials": "cache-customer-1",
    }
    mounted = {
        container_name: {m["name"] for m in each["volumeMounts"]} & set(volumes)
        for container_name, each in containers(manifest).items()
    }
    assert mounted == {
        "fetch": set(),
        "build": {"pull-credentials", "cache-credentials"},
        "push": {"registry-credentials"},
    }
    from_context = [n for n, each in containers(manifest).items() if "envFrom" in each]
    assert from_context == ["fetch"]


def test_nothing_that_the_tenants_steps_write_is_written_by_the_push():
    push = containers(JobTemplate.from_settings(Settings()).render(build()))["push"]
    assert all(mount["readOnly"] for mount in push["volumeMounts"])
    assert push["securityContext"]["readOnlyRootFilesystem"]


def test_there_is_no_cache_unless_a_secret_for_it_is_named():
    def cache(**settings):
        template = JobTemplate.from_settings(Settings(**settings))
        env = containers(template.render(build(third_party_id="A b")))["build"]["env"]
        return {each["name"]: each["value"] for each in env}["CACHE_REPO"]

    assert cache() == ""
    assert cache(cache_secret="c", cache_repo="r/${third_party_id_safe}") == "r/A-b"


@pytest.mark.parametrize("name", ["registry_secret", "pull_secret", "cache_secret"])
@pytest.mark.parametrize("form", ["third_party_id", "third_party_id_safe", "nonsense"])
def test_a_secrets_name_that_no_secret_can_have_for_some_tenant_refuses_to_boot(name, form):
    settings: dict[str, Any] = {name: f"s-${{{form}}}"}
    with pytest.raises(BootError, match=r"secretName|unknown placeholder"):
        JobTemplate.from_settings(Settings(**settings))


def test_the_pods_have_the_runtime_and_the_user_namespace_that_are_asked_for():
    settings = Settings(runtime_class="gvisor", user_namespaces=True)
    pod = JobTemplate.from_settings(settings).render(build())["spec"]["template"]["spec"]
    assert (pod["runtimeClassName"], pod["hostUsers"]) == ("gvisor", False)
    plain_pod = JobTemplate.from_settings(Settings()).render(build())["spec"]["template"]["spec"]
    assert not {"runtimeClassName", "hostUsers"} & set(plain_pod)


def test_rootless_buildkit_does_not_boot_in_a_user_namespace():
    with pytest.raises(BootError, match="USER_NAMESPACES"):
        JobTemplate.from_settings(Settings(job_template="buildkit.yaml", user_namespaces=True))


def test_the_built_in_job_asks_for_nothing_beyond_the_baseline_pod_security_level():
    manifest = JobTemplate.from_settings(Settings()).render(build())
    pod = manifest["spec"]["template"]["spec"]
    baseline = {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
        "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }  # fmt: skip
    for name, each in containers(manifest).items():
        security = each["securityContext"]
        assert set(security["capabilities"].get("add", [])) <= baseline
        assert not security.get("privileged")
        assert not security["allowPrivilegeEscalation"]
        assert security.get("runAsNonRoot", False) == (name != "build")
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all("hostPath" not in volume for volume in pod.get("volumes", []))


# -- names, labels, annotations --------------------------------------------------------------------


def test_name_labels_and_annotations_identify_the_build(template):
    request = build(
        third_party_id="Kunde Ä/1", correlation_id="c" * 1000, traceparent="00-aa-bb-01"
    )
    manifest = template(namespace="builds").render(request)
    metadata = manifest["metadata"]
    assert (metadata["name"], metadata["namespace"]) == (request.job_name, "builds")
    labels = {
        "app.kubernetes.io/name": "lambda-builder",
        "app.kubernetes.io/managed-by": "lambda-builder",
        "build.notifi.network/third-party-id": "Kunde-1",
        "build.notifi.network/parser-id": "parser-1",
        "build.notifi.network/event-hash": request.event_hash[:32],
        "build.notifi.network/correlation-hash": netstring_digest("c" * 1000)[:32],
    }
    assert metadata["labels"] == labels
    assert manifest["spec"]["template"]["metadata"]["labels"] == labels
    asked = metadata["annotations"].pop("build.notifi.network/request")
    assert BuildRequest.from_json(asked) == dataclasses.replace(request, event=b"")
    assert metadata["annotations"] == {
        "build.notifi.network/third-party-id": "Kunde Ä/1",
        "build.notifi.network/parser-id": "parser-1",
        "build.notifi.network/event-id": "id-1",
        "build.notifi.network/event-source": "source-1",
        "build.notifi.network/event-type": "network.notifi.lambda.build.start",
        "build.notifi.network/correlation-id": "c" * 1000,
        "build.notifi.network/traceparent": "00-aa-bb-01",
        "build.notifi.network/image": template().image(request),
        "build.notifi.network/accepted-at": "2026-01-02T03:04:04.500Z",
        "build.notifi.network/priority": "normal",
    }


def test_an_event_is_not_repeated_on_its_job(template):
    annotations = template().render(build(event=b"private"))["metadata"]["annotations"]
    assert "private" not in str(annotations)


def test_what_a_build_does_not_have_leaves_no_annotation(template):
    annotations = template().render(build(accepted_at=0.0))["metadata"]["annotations"]
    assert "build.notifi.network/traceparent" not in annotations
    assert "build.notifi.network/accepted-at" not in annotations


def test_the_templates_own_metadata_stays_beside_ours(template):
    text = (
        MINIMAL + "metadata:\n  generateName: x-\n  labels: {team: a}\n  annotations: {note: b}\n"
    )
    metadata = template(text).render(build())["metadata"]
    assert metadata["labels"]["team"] == "a"
    assert metadata["labels"]["app.kubernetes.io/name"] == "lambda-builder"
    assert metadata["annotations"]["note"] == "b"
    assert "generateName" not in metadata


def test_aliases_in_the_template_do_not_mix_labels_with_annotations(template):
    text = MINIMAL + "metadata:\n  labels: &both {team: a}\n  annotations: *both\n"
    metadata = template(text).render(build())["metadata"]
    assert "build.notifi.network/event-id" not in metadata["labels"]
    assert "app.kubernetes.io/name" not in metadata["annotations"]


@pytest.mark.parametrize(
    ("value", "text"), [("", "x"), ("☃", "x"), ("-._", "x"), ("Kunde Ä/1", "Kunde-1")]
)
def test_a_safe_form_is_never_empty(value, text):
    assert safe(value) == text


@given(st.text(max_size=300))
def test_the_safe_form_is_a_label_a_tag_and_a_path_segment(value):
    text = safe(value)
    assert 1 <= len(text) <= 50
    assert LABEL_VALUE.fullmatch(text)
    assert text not in (".", "..")
    assert safe(text) == text


# -- placeholders ----------------------------------------------------------------------------------


FIELD_NAMES = (
    "third_party_id parser_id correlation_id event_id event_source event_type priority runtime "
    "context_url image content_hash hash event_hash job_name namespace third_party_id_safe "
    "parser_id_safe correlation_id_safe event_id_safe traceparent accepted_at "
    "third_party_id_repository third_party_id_name cache_repo"
)


def test_every_field_of_the_build_can_be_put_in(template):
    names = FIELD_NAMES.split()
    env = [{"name": name.upper(), "value": f"<${{{name}}}>"} for name in names]
    request = build(runtime="python", content_hash="abc", third_party_id="a b")
    rendered = container(template(changed(container={"env": env})).render(request))["env"]
    values = {item["name"].lower(): item["value"].strip("<>") for item in rendered}
    assert values["third_party_id"] == "a b"
    assert values["third_party_id_safe"] == "a-b"
    assert values["hash"] == request.event_hash[:10]
    assert values["event_hash"] == request.event_hash
    assert values["job_name"] == request.job_name
    assert values["namespace"] == "knative-lambda"
    assert values["image"].startswith("registry.knative-lambda")
    assert values["runtime"] == "python"
    assert values["traceparent"] == ""
    assert not [value for value in values.values() if "${" in value]


def test_the_documentation_lists_every_placeholder():
    page = Path(lambda_builder.__file__).parent.parent / "docs" / "job-templates.rst"
    documented = set(re.findall(r"``\$\{(\w+)\}``", page.read_text(encoding="utf-8")))
    assert documented == {*FIELDS, "context_url", "image", "namespace", "cache_repo", "build_args"}


def test_the_events_own_context_and_image_win(template):
    request = build(context_url="https://host/c.tar", image="host/i:2")
    made = template(changed(container={"args": ["${context_url}", "${image}"]}))
    assert container(made.render(request))["args"] == ["https://host/c.tar", "host/i:2"]
    assert made.image(request) == "host/i:2"


def test_context_and_image_are_templates_of_their_own(template):
    made = template(
        changed(container={"args": ["${context_url}"]}),
        context_url="s3://b/${namespace}/${content_hash}.tgz",
        image="r/${parser_id_safe}:$${x}",
    )
    request = build(content_hash="f00")
    assert container(made.render(request))["args"] == ["s3://b/knative-lambda/f00.tgz"]
    assert made.image(request) == "r/parser-1:${x}"


def test_a_placeholder_inside_a_value_is_never_filled_in(template):
    made = template(changed(spec={"template": yaml.safe_load(MINIMAL)["spec"]["template"]}))
    request = build(parser_id="${event_id}", context_url="${image}", image="${third_party_id}")
    annotations = made.render(request)["metadata"]["annotations"]
    assert annotations["build.notifi.network/parser-id"] == "${event_id}"
    assert annotations["build.notifi.network/image"] == "${third_party_id}"


HOSTILE = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "\n  hostNetwork: true",
            '"}]',
            "{{x}}",
            "${image}",
            "$$",
            "$(AWS_SECRET_ACCESS_KEY)",
            "- a",
            "--destination=registry.example/evil",
            "--insecure",
            "-v",
            "a=b --cache",
            "a,type=registry",
            'a","type=registry',
            "A=--push",
        ]
    ),
)


def shape(value):
    """The manifest without its texts."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "text" if isinstance(value, str) else value


KANIKO = JobTemplate.from_settings(Settings())
BUILT_IN = [
    JobTemplate.from_settings(Settings(job_template=name, **SECRETS))
    for name in ("kaniko.yaml", "buildkit.yaml")
]
SENT = [
    *("parser_id", "third_party_id", "correlation_id", "event_id", "event_source", "event_type"),
    *("runtime", "context_url", "image", "content_hash", "traceparent"),
]
"""All that an event says, but for build arguments."""


def options_of(manifest: dict) -> list[str]:
    """What of the arguments of each container is no value, in their order."""
    words = [
        word
        for each in containers(manifest).values()
        for word in (*each.get("command", ()), *each.get("args", ()))
    ]
    return [word.partition("=")[0] for word in words]


@pytest.mark.parametrize("made", BUILT_IN)
@settings(max_examples=25, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(SENT, HOSTILE)), st.lists(HOSTILE, max_size=6))
def test_nothing_of_an_event_changes_more_than_texts_of_its_manifest(made, sent, arguments):
    sent = {name: value or "x" for name, value in sent.items()}
    args = dict(zip(arguments[::2], arguments[1::2], strict=False))
    harmless = build(
        **dict.fromkeys(SENT, "x"), build_args={f"A{n}": "x" for n in range(len(args))}
    )
    plain, ours = made.render(harmless), made.render(build(**sent, build_args=args))
    assert yaml.safe_load(yaml.safe_dump(ours, allow_unicode=False)) == ours
    assert shape(ours) == shape(plain)
    assert options_of(ours) == options_of(plain)
    pod = ours["spec"]["template"]
    for labels in (ours["metadata"]["labels"], pod["metadata"]["labels"]):
        assert all(LABEL_VALUE.fullmatch(value) for value in labels.values())
    for each, same in zip(*(containers(m).values() for m in (ours, plain)), strict=True):
        assert (each["image"], each["name"]) == (same["image"], same["name"])


def kubernetes_expands(text: str, environment: dict[str, str]) -> str:
    """What the kubelet makes of a container's argument."""
    return re.sub(
        r"\$\$|\$\(([^)]*)\)",
        lambda match: "$" if match[0] == "$$" else environment.get(match[1], match[0]),
        text,
    )


@given(HOSTILE)
def test_no_value_reads_the_containers_environment(value):
    request = build(context_url=value or None, build_args={"A": value})
    known = containers(KANIKO.render(request))["build"]
    texts = [*known["args"], *(each["value"] for each in known["env"])]
    seen = [kubernetes_expands(text, {"AWS_SECRET_ACCESS_KEY": "secret"}) for text in texts]
    assert KANIKO.context_url(request) in seen
    assert f"--build-arg=A={value}" in seen


@pytest.mark.parametrize("place", ["args", "command"])
@pytest.mark.parametrize("value", ["--flag", "-f"])
def test_a_value_that_would_be_an_option_gets_no_job(template, place, value):
    made = template(changed(container={place: ["build", "${parser_id}", "--parser=${parser_id}"]}))
    assert container(made.render(build(parser_id="parser-1")))[place][1] == "parser-1"
    with pytest.raises(Permanent, match="option") as caught:
        made.render(build(parser_id=value))
    assert caught.value.reason is FailureReason.INVALID_MANIFEST


def test_a_build_argument_that_would_be_an_option_gets_no_job(template):
    made = template(changed(container={"args": ["--build-arg", "${build_args}"]}))
    with pytest.raises(Permanent, match="option"):
        made.render(build(build_args={"A": "1", "--context": "/"}))


def test_a_dollar_sign_stays_as_it_is_where_kubernetes_does_not_expand(template):
    made = template(
        changed(container={"image": "${image}", "env": [{"name": "A", "value": "$(B)"}]})
    )
    rendered = container(made.render(build(image="a$$b$(c)")))
    assert rendered["image"] == "a$$b$(c)"
    assert rendered["env"][0]["value"] == "$(B)"


def test_two_dollar_signs_are_one(template):
    args = ["$${parser_id}", "$$$$", "$HOME", "cost: 5$", "$$${parser_id}"]
    rendered = container(template(changed(container={"args": args})).render(build()))["args"]
    assert rendered == ["${parser_id}", "$$", "$HOME", "cost: 5$", "$parser-1"]


def test_an_item_with_build_args_is_there_once_for_each(template):
    args = ["a", "--build-arg=${build_args}", "--opt=build-arg:${build_args}#${parser_id}", "z"]
    made = template(changed(container={"args": args}))
    request = build(build_args={"A": "1", "B": "x=y z"})
    assert container(made.render(request))["args"] == [
        "a",
        "--build-arg=A=1",
        "--build-arg=B=x=y z",
        "--opt=build-arg:A=1#parser-1",
        "--opt=build-arg:B=x=y z#parser-1",
        "z",
    ]
    assert container(made.render(build()))["args"] == ["a", "z"]


def test_rendered_manifests_share_nothing_that_can_change(template):
    made = template(changed(container={"env": [{"name": "A", "value": "b"}]}))
    first = made.render(build())
    before = copy.deepcopy(made.render(build()))

    def spoil(value):
        for item in list(value.values()) if isinstance(value, dict) else list(value):
            if isinstance(item, dict | list):
                spoil(item)
        value.clear()

    spoil(first)
    assert made.render(build()) == before


def test_a_template_leaves_the_manifest_it_was_made_of_alone():
    manifest = yaml.safe_load(MINIMAL)
    JobTemplate(manifest, Settings(service_account="builder"))
    assert manifest == yaml.safe_load(MINIMAL)


# -- what the settings add -------------------------------------------------------------------------


def test_the_registry_secret_is_mounted_where_the_template_says(template):
    text = changed(
        pod={"volumes": [{"name": "registry-credentials"}, {"name": "w", "emptyDir": {}}]},
        container={
            "volumeMounts": [
                {"name": "registry-credentials", "mountPath": "/auth"},
                {"name": "w", "mountPath": "/w"},
            ]
        },
    )
    with_secret = template(text, registry_secret="push").render(build())["spec"]["template"]["spec"]
    assert with_secret["volumes"][0] == {
        "name": "registry-credentials",
        "secret": {"secretName": "push"},
    }
    without = template(text).render(build())["spec"]["template"]["spec"]
    assert [volume["name"] for volume in without["volumes"]] == ["w"]
    assert [m["name"] for m in without["containers"][0]["volumeMounts"]] == ["w"]


def test_what_else_a_template_says_of_its_secret_stays_and_no_mount_is_left_without_one(template):
    mounts = [{"name": "registry-credentials", "mountPath": "/auth"}]
    text = changed(
        pod={
            "volumes": [{"name": "registry-credentials", "secret": {"defaultMode": 288}}],
            "initContainers": [{"name": "fetch", "image": "i", "volumeMounts": mounts}],
        }
    )
    with_secret = template(text, registry_secret="push").render(build())["spec"]["template"]["spec"]
    assert with_secret["volumes"][0]["secret"] == {"defaultMode": 288, "secretName": "push"}
    without = template(text).render(build())["spec"]["template"]["spec"]
    assert without["initContainers"][0]["volumeMounts"] == []


def test_a_registry_secret_without_a_place_refuses_to_boot(template):
    with pytest.raises(BootError, match="REGISTRY_SECRET is set, but the template has no volume"):
        template(registry_secret="push")


@given(st.text(alphabet="$${}ab"))
def test_a_plain_text_is_filled_in_as_it_is(text):
    assert Text(plain(text), frozenset()).fill({}) == text


def test_service_account_and_kueue_queue_are_set(template):
    manifest = template(service_account="builder", kueue_queue="team-a").render(build())
    assert manifest["spec"]["template"]["spec"]["serviceAccountName"] == "builder"
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert manifest["spec"]["suspend"] is True


# -- templates that cannot be --------------------------------------------------------------------


def test_a_missing_file_is_told_with_the_templates_there_are():
    with pytest.raises(BootError) as caught:
        JobTemplate.from_settings(Settings(job_template="/nowhere/job.yaml"))
    assert "LAMBDA_BUILDER_JOB_TEMPLATE=/nowhere/job.yaml" in str(caught.value)
    assert "buildkit.yaml, kaniko.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must be a mapping, not null"),
        ("a: [", "expected the node content"),
        ("- a", "must be a mapping, not a list"),
        ("just text", "must be a mapping, not text"),
        (MINIMAL + "---\n" + MINIMAL, "expected a single document"),
        (MINIMAL + "kind: Job\n", "'kind' is there twice"),
        (MINIMAL.replace("batch/v1", "batch/v1beta1"), "apiVersion: batch/v1 and kind: Job"),
        (MINIMAL.replace("kind: Job", "kind: CronJob"), "apiVersion: batch/v1 and kind: Job"),
        ("apiVersion: batch/v1\nkind: Job\n", "spec.template.spec.containers must have"),
        (MINIMAL.replace("Never", "Always"), "restartPolicy must be Never or OnFailure"),
        (changed(container={"args": "--x"}), r"containers[0].args must be a list, not text"),
        (changed(container={"args": [1]}), r"args[0] must be text, not a whole number (quote it)"),
        (
            changed(container={"env": [{"name": "A", "value": True}]}),
            "env[0].value must be text, not true or false (quote it)",
        ),
        (changed(container={"name": "Build It"}), "must be a lower-case DNS label"),
        (changed(container={"image": ""}), "containers[0].image is missing"),
        (changed(spec={"backoffLimit": "0"}), "spec.backoffLimit must be a whole number, not text"),
        (changed(spec={"backoffLimit": True}), "spec.backoffLimit must be a whole number"),
        (changed(spec={"selector": {}}), "spec.selector must be left out"),
        (
            changed(container={"volumeMounts": [{"name": "w", "mountPath": "/w"}]}),
            "there is no volume 'w'",
        ),
        (
            changed(spec={"podFailurePolicy": {"rules": []}}, pod={"restartPolicy": "OnFailure"}),
            "restartPolicy must be Never where spec.podFailurePolicy is set",
        ),
        (changed(top={"metadata": {"labels": {"a": 1}}}), "metadata.labels.a must be text"),
        (changed(top={"metadata": {"labels": {"a": "b c"}}}), "'b c' is no label value"),
        (
            changed(top={"metadata": {"labels": {"a": "${parser_id}"}}}),
            "metadata.labels.a",
        ),
        (
            changed(
                top={"metadata": {"labels": {"a": "${parser_id_safe}-${third_party_id_safe}"}}}
            ),
            "metadata.labels.a",
        ),
        ("a: &x [*x]", "nested too deep"),
        ("a: 2026-01-01", "must be text; quote it"),
        ("a: .nan", "must be text; quote it"),
        ("1: a", "the key 1 must be text"),
        (changed(top={"${image}": "a"}), "has a placeholder"),
    ],
)
def test_a_template_that_is_no_job_refuses_to_boot_and_says_why(template, text, told):
    with pytest.raises(BootError) as caught:
        template(text)
    assert told in str(caught.value)
    assert "LAMBDA_BUILDER_JOB_TEMPLATE=" in str(caught.value)


def places(value, path=()):
    """Every path in a manifest."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


BUILT_IN = yaml.safe_load(
    (Path(lambda_builder.__file__).parent / "manifest" / "templates" / "kaniko.yaml").read_text(
        "utf-8"
    )
)


@given(
    st.sampled_from(list(places(BUILT_IN))),
    st.sampled_from(
        [None, [], {}, "", "a", "${", 0, -1, 1.5, True, [None], [[]], [{}], {"a": None}]
    ),
    st.sampled_from(SETTINGS_OF_EVERY_KIND),
)
def test_a_template_is_taken_or_refused_whatever_stands_in_it(path, value, settings):
    manifest = copy.deepcopy(BUILT_IN)
    if path:
        owner = manifest
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = value
    else:
        manifest = value
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(BootError):
        file = Path(folder, "job.yaml")
        file.write_text(yaml.safe_dump(manifest), encoding="utf-8")
        JobTemplate.from_settings(Settings(job_template=file, **settings)).render(build())


@pytest.mark.parametrize(
    "value", ["${parserid}", "${}", "${parser_id", "${ parser_id }", "${parser_id:-x}", "${X}"]
)
def test_an_unknown_placeholder_refuses_to_boot_and_names_the_known(template, value):
    with pytest.raises(BootError) as caught:
        template(changed(container={"args": ["ok", value]}))
    assert "spec.template.spec.containers[0].args[1]" in str(caught.value)
    if value.endswith("}"):
        assert value in str(caught.value)
        assert "parser_id, parser_id_name" in str(caught.value)
    else:
        assert "a placeholder has no end" in str(caught.value)


def test_all_unknown_placeholders_are_told_at_once(template):
    with pytest.raises(BootError) as caught:
        template(changed(container={"args": ["${one}"], "image": "${two}"}))
    assert "${one}" in str(caught.value)
    assert "${two}" in str(caught.value)


def test_build_args_belong_into_a_list(template):
    with pytest.raises(BootError, match=r"unknown placeholder \$\{build_args\}"):
        template(changed(container={"image": "${build_args}"}))


@pytest.mark.parametrize("name", ["context_url", "image"])
@pytest.mark.parametrize("value", ["x/${oops}", "x/${image}", "x/${context_url}"])
def test_a_bad_setting_refuses_to_boot_by_its_own_name(template, name, value):
    with pytest.raises(BootError, match=f"^LAMBDA_BUILDER_{name.upper()}: unknown placeholder"):
        template(**{name: value})


def test_a_file_that_is_no_text_refuses_to_boot(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BootError, match="is no Job template"):
        JobTemplate.from_settings(Settings(job_template=path))
    with pytest.raises(BootError, match="is no Job template"):
        JobTemplate.from_settings(Settings(job_template=tmp_path))

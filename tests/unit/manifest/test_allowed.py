"""Contexts and images that an event may name, and the tricks that look like them."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_builder.errors import BootError, RefusalCode, Refused
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

from .test_template import build

CONTEXTS = "s3://bucket/builds/${third_party_id}/, https://git.example.com:8443/team"
REGISTRIES = (
    "registry.example.com/x/${third_party_id_repository}/,docker.io/team,r.example.com:5000"
)


def refusal(*, contexts="", registries="", **fields) -> RefusalCode | None:
    template = JobTemplate.from_settings(
        Settings(allowed_context_prefixes=contexts, allowed_registries=registries)
    )
    try:
        template.judge(build(**fields))
    except Refused as refused:
        return refused.code
    return None


def test_a_refusal_names_the_field_and_not_the_value():
    template = JobTemplate.from_settings(Settings(allowed_registries="r.example.com"))
    with pytest.raises(Refused) as caught:
        template.judge(build(image="evil.example/secret"))
    assert [problem.field for problem in caught.value.errors] == ["image"]
    assert "secret" not in f"{caught.value.detail}{caught.value.errors}"


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/builds/customer-1/p/context.tar.gz",
        "s3://bucket/builds/customer-1",
        "https://git.example.com:8443/team/app.tgz?X-Amz-Signature=a%2Fb",
        "https://GIT.example.com:8443/team",
    ],
)
def test_a_context_below_an_allowed_one_is_built(url):
    assert refusal(contexts=CONTEXTS, context_url=url) is None


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/builds/customer-2/p",
        "s3://bucket/builds/customer-1-evil/p",
        "s3://bucket/builds/customer-1/../customer-2/p",
        "s3://bucket/builds/./customer-1/p",
        "s3://bucket/builds//customer-1/p",
        "s3://bucket/builds/customer-1/%2e%2e/customer-2/p",
        "s3://bucket/builds/customer-1\\..\\customer-2",
        "s3://bucket.evil/builds/customer-1/p",
        "S3://bucket/builds/customer-1/p",
        "gs://bucket/builds/customer-1/p",
        "https://git.example.com/team/app",
        "https://git.example.com:8443@evil.example/team/app",
        "https://user:pw@git.example.com:8443/team/app",
        "https://git.example.com:8443.evil.example/team/app",
        "https://git.example.com.evil.example:8443/team/app",
        "https://git.example.com:8443/teams/app",
        "https://git.example.com:8443\\@evil.example/team",
        "https://evil.example#@git.example.com:8443/team/app",
        "https://evil.example?@git.example.com:8443/team",
        "https:/git.example.com:8443/team",
        "//git.example.com:8443/team",
        "https://git.example.com:8443",
        "https://gıt.example.com:8443/team",
        "--context=s3://bucket/builds/customer-1",
        "/etc",
        "https://git.example.com:8443/team/a\nb",
    ],
)
def test_a_context_that_only_looks_allowed_is_refused(url):
    assert refusal(contexts=CONTEXTS, context_url=url) is RefusalCode.CONTEXT_NOT_ALLOWED


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.com/x/customer-1:1",
        "registry.example.com/x/customer-1/app@sha256:" + 64 * "a",
        "Registry.Example.com/x/customer-1/app/y:v1.2_3",
        "team/app",
        "docker.io/team/app:1",
        "registry-1.docker.io/team/app",
        "r.example.com:5000/anything/at/all:1",
    ],
)
def test_an_image_below_an_allowed_path_is_pushed(image):
    assert refusal(registries=REGISTRIES, image=image) is None


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.com/x/customer-2:1",
        "registry.example.com/x/customer-1-evil:1",
        "registry.example.com/x/customer-1/../customer-2:1",
        "registry.example.com/x//customer-1:1",
        "registry.example.com/x/%63ustomer-1:1",
        "registry.example.com/x:1",
        "registry.example.com.evil/x/customer-1:1",
        "registry.example.com:443/x/customer-1:1",
        "registry.example.com@evil.example/x/customer-1:1",
        "evil.example/registry.example.com/x/customer-1",
        "user:pw@registry.example.com/x/customer-1",
        "https://registry.example.com/x/customer-1",
        "registry.example.com./x/customer-1",
        "r.example.com/anything",
        "r.example.com:50000/anything",
        "teams/app",
        "ubuntu",
        "localhost/team/app",
        "team/app:tag:tag",
        "team/App",
        "--destination=team/app",
        "team/app --insecure",
        "",
    ],
)
def test_an_image_that_only_looks_allowed_is_refused(image):
    made = dataclasses.replace(build(), image=image or " ")
    assert refusal(registries=REGISTRIES, image=made.image) is RefusalCode.IMAGE_NOT_ALLOWED


def test_what_the_settings_made_is_allowed_as_long_as_no_id_leads_elsewhere():
    assert refusal(contexts=CONTEXTS, registries=REGISTRIES) is None
    for parser_id in ("../other", "a/../../b", "a/%2e%2e/b"):
        code = refusal(contexts=CONTEXTS, registries=REGISTRIES, parser_id=parser_id)
        assert code is RefusalCode.CONTEXT_NOT_ALLOWED


def test_empty_lists_allow_anything():
    assert refusal(context_url="dir:///", image="?!") is None


@pytest.mark.parametrize("third_party_id", ["a/b", "..", "a/../customer-2", "%2e", "", "a?b"])
def test_an_id_is_one_segment_of_what_is_allowed_or_none(third_party_id):
    url = f"s3://bucket/builds/{third_party_id}/p"
    code = refusal(contexts=CONTEXTS, third_party_id=third_party_id, context_url=url)
    assert code is RefusalCode.CONTEXT_NOT_ALLOWED


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("contexts", "bucket/x"),
        ("contexts", "s3://b/../x"),
        ("contexts", "s3://b/%20"),
        ("contexts", "s3://b/${nonsense}"),
        ("registries", "team/app"),
        ("registries", "registry.example.com/x:1"),
        ("registries", "https://registry.example.com"),
        ("registries", "registry.example.com/${nonsense}"),
    ],
)
def test_an_entry_that_can_mean_nothing_refuses_to_boot(name, entry):
    with pytest.raises(BootError, match="ALLOWED_"):
        refusal(**{name: entry})


@given(st.text(alphabet="customer-1/.%@:2\\?#", max_size=40))
def test_no_text_after_the_prefix_leads_out_of_it(text):
    url = f"s3://bucket/builds/{text}"
    if refusal(contexts=CONTEXTS, context_url=url) is None:
        path = text.partition("?")[0].partition("#")[0]
        assert path.split("/")[0] == "customer-1"
        assert ".." not in path.split("/")

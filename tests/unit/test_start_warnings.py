"""What a start warns of, and ``check-config`` with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambda_builder.server.start_warnings import is_open_to_others, warnings_of
from lambda_builder.settings import Settings

AUTH_FILE = Path("auth.yaml")
CONTEXT_URL = "s3://builds/${third_party_id}/${parser_id}.tar.gz"
APART = {
    "auth_file": AUTH_FILE,
    "allowed_context_prefixes": ("s3://builds/${third_party_id}/",),
    "allowed_registries": ("registry.example.com/${third_party_id_repository}/",),
    "context_url": CONTEXT_URL,
}


def warned(**settings):
    return [tuple(each) for each in warnings_of(Settings(**settings), {})]


@pytest.mark.parametrize(
    ("host", "is_open"), [("0.0.0.0", True), ("127.0.0.1", False), ("::1", False)]
)
def test_a_service_that_asks_nobody_is_open_beyond_loopback(host, is_open):
    assert is_open_to_others(Settings(host=host)) is is_open
    assert not is_open_to_others(Settings(host=host, auth_file=AUTH_FILE))
    assert [event for event, _ in warned(host=host)] == ["open_to_everybody"] * is_open


def test_tenants_are_apart_with_all_three_settings_and_without_any_each_is_named():
    assert warned(**APART) == []
    reasons = [reason.split()[0] for _, reason in warned(auth_file=AUTH_FILE)]
    assert reasons == ["ALLOWED_CONTEXT_PREFIXES", "ALLOWED_REGISTRIES", "CONTEXT_URL"]


@pytest.mark.parametrize("missing", ["allowed_context_prefixes", "allowed_registries"])
def test_an_empty_list_lets_a_tenant_name_what_is_anothers(missing):
    [(event, reason)] = warned(**{**APART, missing: ()})
    assert event == "tenants_not_apart"
    assert reason.startswith(f"{missing.upper()} is empty")


@pytest.mark.parametrize(
    ("name", "is_apart"),
    [
        ("${third_party_id}", True),
        ("${third_party_id_repository}", True),
        ("${third_party_id_name}", True),
        ("${third_party_id_safe}", False),  # which another tenant may share
        ("${parser_id}", False),
        ("$${third_party_id}", False),
    ],
)
def test_a_context_url_that_names_no_tenant_is_warned_of(name, is_apart):
    found = warned(**{**APART, "context_url": f"s3://builds/{name}/context.tar.gz"})
    assert [event for event, _ in found] == ["tenants_not_apart"] * (not is_apart)


def test_where_nobody_is_asked_for_tenants_are_not_spoken_of():
    assert warned(host="127.0.0.1") == []


def test_a_variable_that_is_no_setting_is_named_with_the_nearest():
    settings = Settings(host="127.0.0.1")
    [(event, reason)] = warnings_of(settings, {"LAMBDA_BUILDER_QEUE_SIZE": "1"})
    assert event == "unknown_setting"
    assert reason.startswith("LAMBDA_BUILDER_QEUE_SIZE is no setting; did you mean ")

"""``AUTH_FILE``: who is known by it, what is wrong with it, and its changes."""

from __future__ import annotations

import os

import pytest
import structlog
import yaml

from lambda_builder.access.rules import METRICS, OPEN, READ, READ_ALL, SEND, STEER
from lambda_builder.builds import CommandRequest
from lambda_builder.errors import BootError, Refused
from tests.integration.access.conftest import hash_of
from tests.waiting import wait_until

CONTENT = {
    "identities": [
        {"name": "ci", "token_sha256": [hash_of("old"), hash_of("new")]},
        {"name": "viewer", "token_sha256": [hash_of("viewer-token").upper()]},
        {"name": "anonymous"},
    ],
    "policies": [
        {"identities": ["ci"], "actions": ["send", "read", "steer"], "tenants": ["customer-*"]},
        {"identities": ["viewer"], "actions": ["read"], "tenants": ["*"]},
        {"identities": ["anonymous"], "actions": ["metrics"]},
    ],
}
OIDC = {"issuer": "https://issuer.example", "audience": "x", "subject": "*"}
CI = {"authorization": "Bearer new"}
VIEWER = {"authorization": "bearer  viewer-token"}


@pytest.fixture
def door(open_door):
    return open_door(CONTENT)


def test_a_token_is_known_by_any_of_its_hashes(door):
    for token in ("old", "new"):
        assert door.code(READ, authorization=f"Bearer {token}") == "ci"


@pytest.mark.parametrize(
    "authorization",
    ["Bearer newer", "Bearer", "Bearer ", "Basic bmV3", "new", "Bearer " + hash_of("new"), "é"],
)
def test_other_credentials_are_refused_even_for_what_anonymous_may(door, authorization):
    assert door.code(METRICS, authorization=authorization) == "unauthenticated"


def test_nothing_is_allowed_that_no_policy_allows(door):
    for rule, anonymous, ci, viewer in (
        (OPEN, "nobody", "nobody", "nobody"),
        (METRICS, "anonymous", "forbidden", "forbidden"),
        (READ, "unauthenticated", "ci", "viewer"),
        (READ_ALL, "unauthenticated", "forbidden", "viewer"),
        (STEER, "unauthenticated", "ci", "forbidden"),
        (SEND, "unauthenticated", "ci", "forbidden"),
    ):
        assert door.code(rule) == anonymous
        assert door.code(rule, **CI) == ci
        assert door.code(rule, **VIEWER) == viewer


def test_an_empty_file_allows_nothing(open_door):
    assert open_door("").code(READ) == "unauthenticated"


def test_failed_tries_of_an_address_are_slowed_down_and_valid_credentials_are_not(door):
    for _ in range(10):
        assert door.code(READ, authorization="Bearer guess") == "unauthenticated"
    with pytest.raises(Refused) as refused:
        door.ask(READ, authorization="Bearer guess")
    assert refused.value.code == "too_many_failures"
    assert 1 <= refused.value.retry_after <= 60
    assert door.code(READ, **CI) == "ci"
    assert door.code(READ) == "unauthenticated"
    assert door.code(READ, authorization="Bearer guess", peer="192.0.2.2") == "unauthenticated"
    assert (door.denied("unknown"), door.denied("failures")) == (12, 1)


def test_failed_tries_count_for_whom_a_trusted_proxy_sends(open_door):
    door = open_door(CONTENT, trusted_proxies=("10.0.0.0/8",))
    guess = {"authorization": "Bearer guess", "peer": "10.0.0.1"}
    for number in range(12):
        sent = {"x_forwarded_for": f"203.0.113.{number}, 198.51.100.7", **guess}
        code = door.code(READ, **sent)
    assert code == "too_many_failures"
    assert door.code(READ, x_forwarded_for="198.51.100.8", **guess) == "unauthenticated"


def test_what_was_tried_is_in_no_log(door):
    with structlog.testing.capture_logs() as lines:
        door.code(READ, authorization="Bearer guessed-secret")
    assert [line["reason"] for line in lines] == ["unknown"]
    assert "guessed-secret" not in str(lines)


@pytest.mark.parametrize(
    ("shown", "may"),
    [
        ({}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"origin": "https://builder.example"}, True),
        ({"origin": "https://builder.example.evil"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "https://builder.example:8443"}, False),
    ],
)
def test_steering_from_a_page_needs_the_same_origin(door, shown, may):
    assert door.code(STEER, **CI, **shown) == ("ci" if may else "forbidden")
    assert door.code(READ, **CI, **shown) == "ci"


def test_nobody_steers_where_all_is_read_only(open_door):
    door = open_door(CONTENT, read_only=True)
    assert door.code(STEER, **CI) == "read_only"
    assert door.code(STEER) == "unauthenticated"
    assert door.code(READ, **CI) == "ci"
    command = CommandRequest(
        event_id="1", event_source="s", event_type="t", correlation_id="1", job_name="j"
    )
    with pytest.raises(Refused) as refused:
        door.access.permit(door.ask(SEND, **CI), "structured", (command,))
    assert refused.value.code == "read_only"


def test_a_command_can_only_mean_builds_of_whom_its_sender_may_send_for(door):
    command = CommandRequest(
        event_id="1", event_source="s", event_type="t", correlation_id="1", job_name="j"
    )
    [permitted] = door.access.permit(door.ask(SEND, **CI), "structured", (command,))
    assert permitted.tenants == ("customer-*",)
    assert CommandRequest.from_json(permitted.to_json()).tenants == ["customer-*"]


# -- what is wrong with it -------------------------------------------------------------------------


def problems(open_door, content):
    with pytest.raises(BootError) as error:
        open_door(content)
    return str(error.value).splitlines()[1:]


def test_every_problem_is_told(open_door):
    found = problems(
        open_door,
        {
            "identities": [
                {"name": "a", "token_sha256": ["secret-token"], "tokens": 1},
                {"name": "b"},
                {"name": "anonymous", "token_sha256": [hash_of("x")]},
                {"name": "c", "oidc": {**OIDC, "issuer": "http://issuer.example"}},
                {"name": "d", "oidc": {**OIDC, "algorithms": ["none"]}},
            ],
            "policies": [{"identities": ["a"], "actions": ["read"]}, {"actions": ["fly"]}],
        },
    )  # fmt: skip
    for place in (
        "identities.0.token_sha256.0",
        "identities.0.tokens",
        "identities.1",
        "identities.2",
        "identities.3.oidc.issuer",
        "identities.4.oidc.algorithms.0",
        "policies.0",
        "policies.1.identities",
        "policies.1.actions.0",
    ):
        assert any(line.startswith(f"  {place}: ") for line in found), (place, found)
    assert "secret-token" not in "".join(found)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: 1\na: 2\n", "line 2, column 1: the key 'a' is there twice"),
        ("identities: [", "line 1"),
        ("[]", "the file: "),
        ("identities: [{name: a, token_sha256: [!!python/name:os.system '']}]", "line 1"),
        ({"policies": [{"identities": ["x"], "actions": ["metrics"]}]}, "x, which is"),
        ({"identities": [{"name": "x", "token_sha256": ["0" * 64]}] * 2}, "two identities"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_by_its_place(open_door, content, told):
    assert told in "\n".join(problems(open_door, content))


def test_files_that_are_not_there_are_all_told(open_door):
    found = problems(
        open_door,
        {
            "identities": [
                {"name": "a", "hmac": {"scheme": "github", "secret_file": "/nowhere/a"}},
                {"name": "b", "oidc": {**OIDC, "jwks_file": "/nowhere/b"}},
                {"name": "c", "oidc": {**OIDC, "ca_file": "/nowhere/c"}},
            ]
        },
    )  # fmt: skip
    assert [line.split(":")[0] for line in found] == [
        "  identities.0 (a)",
        "  identities.1 (b)",
        "  identities.2 (c)",
    ]


# -- changes ---------------------------------------------------------------------------------------


def of_tokens(*tokens):
    return {
        "identities": [{"name": t, "token_sha256": [hash_of(t)]} for t in tokens],
        "policies": [{"identities": list(tokens), "actions": ["read"], "tenants": ["*"]}],
    }


def test_a_change_counts_by_itself(open_door):
    door = open_door(of_tokens("one"))
    door.directory.start()
    door.write(of_tokens("two"))
    wait_until(lambda: door.code(READ, authorization="Bearer two", peer="192.0.2.9") == "two")
    assert door.code(READ, authorization="Bearer one") == "unauthenticated"
    assert door.directory.stop(5) == []


def test_a_secret_that_kubernetes_swaps_by_its_link_is_read_again(open_door, tmp_path):
    def publish(version, *tokens):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "auth.yaml").write_text(yaml.safe_dump(of_tokens(*tokens)))
        (tmp_path / "..new").symlink_to(folder)
        os.rename(tmp_path / "..new", tmp_path / "..data")

    publish("..1", "one")
    (tmp_path / "auth.yaml").symlink_to("..data/auth.yaml")
    door = open_door((tmp_path / "auth.yaml").read_text())
    publish("..2", "two")
    door.directory.look()
    assert door.code(READ, authorization="Bearer two") == "two"


def test_a_broken_version_is_told_once_and_the_last_good_one_stays(open_door, tmp_path):
    door = open_door(of_tokens("one"))
    with structlog.testing.capture_logs() as lines:
        for content in ("identities: [", None):
            door.write(content) if content else door.path.unlink()
            for _ in range(3):
                door.directory.look()
            assert door.code(READ, authorization="Bearer one") == "one"
    assert [line["event"] for line in lines] == ["auth_file_broken"] * 2
    door.write(of_tokens("two"))
    door.directory.look()
    assert door.code(READ, authorization="Bearer two") == "two"


def test_a_secret_that_comes_later_or_changes_is_read(open_door, tmp_path):
    secret = tmp_path / "hub"
    secret.write_text("first")
    hub = {"name": "hub", "hmac": {"scheme": "github", "secret_file": str(secret)}}
    door = open_door(of_tokens("one"))
    content = {**of_tokens("two"), "identities": [*of_tokens("two")["identities"], hub]}
    secret.unlink()
    door.write(content)
    door.directory.look()
    assert door.code(READ, authorization="Bearer one") == "one"
    secret.write_text("second")
    door.directory.look()
    assert door.code(READ, authorization="Bearer two") == "two"

"""Signed bodies: GitHub's way and Standard Webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from lambda_builder.access.rules import READ, SEND, STEER
from lambda_builder.builds import BuildRequest
from lambda_builder.errors import BootError, Refused

BODY = b'{"id": "1"}'
SECRET = base64.b64encode(b"s" * 24).decode()


@pytest.fixture
def door(open_door, tmp_path):
    (tmp_path / "github").write_text("old-secret\nnew-secret\n")
    (tmp_path / "partner").write_text(f"whsec_{SECRET}\n")
    return open_door(
        {
            "identities": [
                {
                    "name": "github",
                    "hmac": {"scheme": "github", "secret_file": str(tmp_path / "github")},
                },
                {
                    "name": "partner",
                    "hmac": {
                        "scheme": "standard-webhooks",
                        "secret_file": str(tmp_path / "partner"),
                        "tolerance_seconds": 120,
                    },
                },
                {"name": "ci", "token_sha256": [hashlib.sha256(b"ci-token").hexdigest()]},
            ],
            "policies": [
                {"identities": ["github"], "actions": ["send", "read"], "tenants": ["a"]},
                {"identities": ["partner"], "actions": ["send", "read"], "tenants": ["a"]},
                {"identities": ["ci"], "actions": ["send"], "tenants": ["b"]},
            ],
        }
    )


def hub(body, secret=b"new-secret"):
    return {"x_hub_signature_256": "sha256=" + hmac.new(secret, body, "sha256").hexdigest()}


def webhook(body, at=None, secret=SECRET, message="msg_1"):
    at = time.time() if at is None else at
    signature = Webhook(secret).sign(message, datetime.fromtimestamp(at, UTC), body.decode())
    return {
        "webhook_id": message,
        "webhook_timestamp": str(int(at)),
        "webhook_signature": signature,
    }


@pytest.mark.parametrize("secret", [b"old-secret", b"new-secret"])
def test_a_body_that_github_signed_is_known_by_any_of_its_secrets(door, secret):
    assert door.code(SEND, body=BODY, **hub(BODY, secret)) == "github"


@pytest.mark.parametrize("change", [b"other", b""])
def test_a_body_that_was_changed_is_refused(door, change):
    assert door.code(SEND, body=change, **hub(BODY)) == "unauthenticated"
    assert door.code(SEND, body=change, **webhook(BODY)) == "unauthenticated"
    assert door.denied("signature") == 2


@pytest.mark.parametrize("sent", ["", "sha256=", "sha1=abc", "sha256=é", "x" * 9000, "sha256=zz"])
def test_what_is_no_signature_is_refused(door, sent):
    assert door.code(SEND, body=BODY, x_hub_signature_256=sent) == "unauthenticated"
    headers = {**webhook(BODY), "webhook_signature": sent or "v1"}
    assert door.code(SEND, body=BODY, **headers) == "unauthenticated"


def test_bodies_that_are_no_text_are_refused_and_never_crash(door):
    assert door.code(SEND, body=b"\xff\xfe", **webhook(BODY)) == "unauthenticated"
    assert door.code(SEND, body=b"\xff\xfe", **hub(b"\xff\xfe")) == "github"


def test_a_signature_of_a_webhook_is_known_with_others_beside_it(door):
    headers = webhook(BODY)
    headers["webhook_signature"] = f"v1a,AAAA v1,AAAA {headers['webhook_signature']}"
    assert door.code(SEND, body=BODY, **headers) == "partner"


@pytest.mark.parametrize(
    ("seconds", "known"), [(-100, True), (100, True), (-130, False), (140, False)]
)
def test_a_webhook_is_known_within_its_window_alone(door, seconds, known):
    code = door.code(SEND, body=BODY, **webhook(BODY, time.time() + seconds))
    assert code == ("partner" if known else "unauthenticated")
    assert door.denied("window") == (not known)


@pytest.mark.parametrize("at", ["", "nan", "inf", "-1", "now", "1e999"])
def test_a_time_that_is_none_is_refused(door, at):
    headers = {**webhook(BODY), "webhook_timestamp": at}
    assert door.code(SEND, body=BODY, **headers) == "unauthenticated"


def test_what_was_accepted_is_not_taken_again_but_sent_anew_it_is(door):
    headers = webhook(BODY)
    caller = door.ask(SEND, body=BODY, **headers)
    # Refused for another reason, so the same may come again.
    assert door.code(SEND, body=BODY, **headers) == "partner"
    door.access.accepted(caller)
    assert door.code(SEND, body=BODY, **headers) == "unauthenticated"
    assert door.denied("replayed") == 1
    fraction = {**headers, "webhook_timestamp": headers["webhook_timestamp"] + ".5"}
    assert door.code(SEND, body=BODY, **fraction) == "unauthenticated"
    later = webhook(BODY, time.time() + 2)
    assert door.code(SEND, body=BODY, **later) == "partner"


def test_what_was_used_is_remembered_over_a_change_of_the_file(door):
    headers = webhook(BODY)
    door.access.accepted(door.ask(SEND, body=BODY, **headers))
    door.path.write_text(door.path.read_text() + "\n# changed\n")
    door.directory.look()
    assert door.code(SEND, body=BODY, **headers) == "unauthenticated"


def test_a_signature_says_nothing_where_no_body_is_meant(door):
    assert door.code(READ, **hub(b"")) == "unauthenticated"
    assert door.denied("missing") == 1


def request(tenant):
    return BuildRequest(
        event_id="1",
        event_source="s",
        event_type="t",
        parser_id="p",
        third_party_id=tenant,
        correlation_id="1",
        event_hash="h",
        job_name="j",
    )


def test_attributes_in_headers_are_not_covered_by_a_signature(door):
    caller = door.ask(SEND, body=BODY, **hub(BODY))
    for mode in ("structured", "batch"):
        assert door.access.permit(caller, mode, (request("a"),)) == (request("a"),)
    with pytest.raises(Refused) as refused:
        door.access.permit(caller, "binary", (request("a"),))
    assert refused.value.code == "unsigned_attributes"


def test_of_several_identities_any_may_but_in_binary_mode_those_of_bodies_do_not_count(door):
    caller = door.ask(SEND, body=BODY, authorization="Bearer ci-token", **hub(BODY))
    assert caller.name == "github+ci"
    events = (request("a"), request("b"))
    assert door.access.permit(caller, "batch", events) == events
    assert door.access.permit(caller, "binary", events[1:]) == events[1:]
    with pytest.raises(Refused) as refused:
        door.access.permit(caller, "binary", events)
    assert refused.value.code == "forbidden"


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_secret_is_none(open_door, door, tmp_path, content):
    (tmp_path / "github").write_text(content)
    with pytest.raises(BootError, match="has no secret in it"):
        open_door(door.path.read_text())


@pytest.mark.parametrize("size", [24, 25, 26, 32, 64])
@pytest.mark.parametrize("padding", ["=", ""])
def test_a_secret_may_have_any_length_with_or_without_padding(door, tmp_path, size, padding):
    secret = base64.b64encode(b"s" * size).decode()
    written = secret if padding else secret.rstrip("=")
    (tmp_path / "partner").write_text(f"whsec_{written}\n")
    door.directory.look()
    assert door.code(SEND, body=BODY, **webhook(BODY, secret=secret)) == "partner"


def test_a_secret_that_is_no_base64_is_told_of_without_showing_it(open_door, door, tmp_path):
    (tmp_path / "partner").write_text("whsec_not base64!")
    with pytest.raises(BootError, match=r"identities.1 .partner.: must have secrets") as error:
        open_door(door.path.read_text())
    assert "not base64" not in str(error.value)


SHOWN = (
    *("authorization", "x_hub_signature_256", "webhook_id", "webhook_timestamp"),
    *("webhook_signature", "origin", "sec_fetch_site", "x_forwarded_for", "forwarded"),
)
HOSTILE = ("Bearer a.b.c", "v1,x", "v1,", "sha256=", "1e400", 'for="', "Bearer \x00")


@given(
    st.dictionaries(
        st.sampled_from(SHOWN),
        st.text(st.characters(max_codepoint=255), max_size=60) | st.sampled_from(HOSTILE),
    ),
    st.binary(max_size=20),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_headers_hold_is_refused_in_an_orderly_way(door, headers, body):
    for rule in (SEND, STEER):
        with suppress(Refused):
            door.ask(rule, body=body, **headers)

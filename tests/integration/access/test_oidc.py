"""Tokens of an OpenID Connect issuer, fetched from a real one over HTTP."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from lambda_builder.access.issuers import IssuerKeys
from tests.waiting import wait_until


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def test_a_token_of_the_issuer_is_known_and_its_keys_are_fetched_once(of_issuer, issuer):
    door = of_issuer()
    for _ in range(3):
        assert door.code(**bearer(issuer.token())) == "broker"
    assert [path for path, _ in issuer.asked] == ["/.well-known/openid-configuration", "/keys"]


def test_keys_are_there_before_the_first_token_comes(of_issuer, issuer):
    door = of_issuer()
    door.directory.start()
    wait_until(lambda: len(issuer.asked) == 2)
    wait_until(lambda: door.code(**bearer(issuer.token())) == "broker")
    assert len(issuer.asked) == 2
    assert door.directory.stop(5) == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_new_key_is_fetched_when_a_token_names_it(of_issuer, issuer, kept):
    door = of_issuer()
    old = issuer.token()
    assert door.code(**bearer(old)) == "broker"
    issuer.rotate(keep=kept, kind="EC")
    assert door.code(**bearer(issuer.token())) == "broker"
    assert door.code(**bearer(old)) == ("broker" if kept else "unauthenticated")


@pytest.mark.parametrize(
    ("reason", "claims"),
    [
        ("claims", {"aud": "another-service"}),
        ("claims", {"aud": None}),
        ("claims", {"aud": ["a", "b"]}),
        ("claims", {"aud": {"lambda-builder": 1}}),
        ("claims", {"sub": "system:serviceaccount:other:trigger"}),
        ("claims", {"sub": None}),
        ("claims", {"exp": None}),
        ("claims", {"sub": 7}),
        ("window", {"exp": 1_700_000_000}),
        ("window", {"exp": "tomorrow"}),
        ("window", {"nbf": 4_000_000_000}),
        ("unknown", {"iss": "https://elsewhere.example"}),
        ("unknown", {"iss": None}),
    ],
)
def test_a_token_that_says_something_else_is_refused(of_issuer, issuer, reason, claims):
    door = of_issuer()
    assert door.code(**bearer(issuer.token(**claims))) == "unauthenticated"
    assert door.denied(reason) == 1


def test_a_token_for_several_services_is_known(of_issuer, issuer):
    assert of_issuer().code(**bearer(issuer.token(aud=["x", "lambda-builder"]))) == "broker"


def unsigned(token, header):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part(header)}.{token.split('.')[1]}."


def test_a_token_without_a_signature_is_refused(of_issuer, issuer):
    door, token = of_issuer(), issuer.token()
    for algorithm in ("none", "None", "NONE", "", None, ["RS256"], {"a": 1}, 3):
        header = {"alg": algorithm, "kid": issuer.keys[-1].kid}
        assert door.code(**bearer(unsigned(token, header)), peer="2001:db8::1") != "broker"
    assert door.code(**bearer(token)) == "broker"


def test_a_public_key_is_no_secret_to_sign_with(of_issuer, issuer):
    door, key = of_issuer(), issuer.keys[-1]
    claims = {"iss": issuer.url, "aud": "lambda-builder", "sub": "system:serviceaccount:builds:x"}
    claims["exp"] = int(time.time()) + 600
    for secret in (key.as_pem(private=False), json.dumps(key.as_dict(private=False)).encode()):
        signed = unsigned(issuer.token(), {"alg": "HS256", "kid": key.kid}).rstrip(".")
        digest = hmac.digest(secret, signed.encode(), "sha256")
        forged = f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
        assert door.code(**bearer(forged)) == "unauthenticated"
    # Nor where the issuer itself, or who speaks for it, tells of a secret.
    shared = OctKey.import_key(b"x" * 32, {"kid": "shared"})
    issuer.told["/keys"] = {"keys": [shared.as_dict(private=True)]}
    forged = jwt.encode({"alg": "HS256", "kid": "shared"}, claims, shared, ["HS256"])
    assert of_issuer().code(**bearer(forged)) == "unauthenticated"


def test_another_key_under_the_same_id_is_refused(of_issuer, issuer):
    door = of_issuer()
    forged = RSAKey.generate_key(2048, {"kid": issuer.keys[-1].kid})
    assert door.code(**bearer(issuer.token(key=forged))) == "unauthenticated"
    assert door.denied("signature") == 1


def test_an_algorithm_that_is_not_pinned_is_refused(of_issuer, issuer):
    door = of_issuer(algorithms=["ES256"])
    assert door.code(**bearer(issuer.token())) == "unauthenticated"
    issuer.rotate(kind="EC")
    assert door.code(**bearer(issuer.token())) == "broker"


def test_no_key_that_the_token_itself_brings_or_points_to_is_used(of_issuer, issuer):
    door = of_issuer()
    forged = RSAKey.generate_key(2048, {"kid": "mine"})
    for header in (
        {"jwk": forged.as_dict(private=False)},
        {"jku": f"{issuer.url}/mine"},
        {"kid": None},
        {"kid": "../../keys"},
    ):
        assert door.code(**bearer(issuer.token(header, key=forged))) == "unauthenticated"
    assert "/mine" not in [path for path, _ in issuer.asked]


def test_a_token_that_names_no_key_is_tried_with_all(of_issuer, issuer):
    issuer.rotate(keep=True)
    assert of_issuer().code(**bearer(issuer.token({"kid": None}))) == "broker"


@pytest.mark.parametrize(
    "told",
    [
        {"/.well-known/openid-configuration": {"issuer": "https://elsewhere.example"}},
        {"/.well-known/openid-configuration": b"[" * 100_000},
        {"/.well-known/openid-configuration": b"no JSON"},
        {"/.well-known/openid-configuration": b" " * 300_000},
        {"/.well-known/openid-configuration": []},
        {"/keys": {"keys": 5}},
        {"/keys": None},
    ],
)
def test_an_issuer_that_tells_nonsense_costs_only_its_own(of_issuer, issuer, told):
    issuer.told.update(told)
    door = of_issuer()
    assert door.code(**bearer(issuer.token())) == "issuer_unavailable"
    assert door.code(**bearer("ci-token")) == "ci"
    assert door.denied("issuer") == 1


def test_keys_are_not_fetched_over_a_connection_that_others_can_change(of_issuer, issuer):
    issuer.told["/.well-known/openid-configuration"] = {
        "issuer": issuer.url,
        "jwks_uri": "http://keys.example/keys",
    }
    assert of_issuer().code(**bearer(issuer.token())) == "issuer_unavailable"


def test_keys_that_cannot_be_read_are_passed_over(of_issuer, issuer):
    good = [key.as_dict(private=False) for key in issuer.keys]
    bad = [None, {}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": "AQAB"}, {"kty": ["EC"]}]
    bad.append({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"})
    issuer.told["/keys"] = {"keys": [*bad, {**good[0], "use": "enc", "kid": "e"}, *good]}
    assert of_issuer().code(**bearer(issuer.token())) == "broker"


def test_an_issuer_that_is_away_holds_up_nobody_and_is_asked_again(of_issuer, issuer):
    issuer.status = 503
    door = of_issuer()
    assert door.code(**bearer(issuer.token())) == "issuer_unavailable"
    assert door.code(**bearer("ci-token")) == "ci"
    issuer.status = 200
    assert door.code(**bearer(issuer.token())) == "broker"


def test_known_keys_go_on_while_the_issuer_is_away(of_issuer, issuer):
    door, token = of_issuer(), issuer.token()
    assert door.code(**bearer(token)) == "broker"
    issuer.status = 500
    forged = issuer.token(key=RSAKey.generate_key(2048, {"kid": "other"}))
    assert door.code(**bearer(forged)) == "issuer_unavailable"
    assert door.code(**bearer(token)) == "broker"


def test_a_silent_issuer_holds_no_more_requests_than_may_wait(of_issuer, issuer):
    issuer.silent.set()
    door, token, codes = of_issuer(waiting=1), issuer.token(), []
    waiter = threading.Thread(target=lambda: codes.append(door.code(**bearer(token))))
    waiter.start()
    wait_until(lambda: issuer.asked)
    begun = time.monotonic()
    assert door.code(**bearer(token)) == "issuer_unavailable"
    assert door.code(**bearer("ci-token")) == "ci"
    assert time.monotonic() - begun < 4
    issuer.silent.clear()
    waiter.join()
    assert codes == ["broker"]


def test_made_up_key_ids_do_not_make_the_service_storm_the_issuer(of_issuer, issuer):
    door = of_issuer()
    forged = RSAKey.generate_key(2048)
    for number in range(30):
        token = issuer.token({"kid": f"made-up-{number}"}, key=forged)
        assert door.code(**bearer(token), peer=f"192.0.2.{number}") == "unauthenticated"
    assert len(issuer.asked) <= 2 * 6
    assert door.code(**bearer(issuer.token())) == "broker"


def test_an_own_token_is_shown_to_an_issuer_that_wants_one(of_issuer, issuer, tmp_path):
    own = tmp_path / "token"
    own.write_text("first\n")
    door = of_issuer(token_file=str(own))
    assert door.code(**bearer(issuer.token())) == "broker"
    own.write_text("second")
    issuer.rotate()
    assert door.code(**bearer(issuer.token())) == "broker"
    assert [shown for _, shown in issuer.asked] == ["Bearer first"] * 2 + ["Bearer second"] * 2


def test_keys_from_a_file_are_never_fetched(of_issuer, issuer, tmp_path):
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps(issuer.answer("/keys")))
    door = of_issuer(jwks_file=str(keys))
    assert door.code(**bearer(issuer.token())) == "broker"
    issuer.rotate()
    assert door.code(**bearer(issuer.token())) == "unauthenticated"
    keys.write_text(json.dumps(issuer.answer("/keys")))
    door.directory.look()
    assert door.code(**bearer(issuer.token())) == "broker"
    assert issuer.asked == []


def test_withdrawn_keys_are_forgotten_and_meanwhile_nobody_waits():
    now, told, answers = [0.0], [RSAKey.generate_key(2048, {"kid": "old"})], threading.Event()

    def fetch():
        assert answers.wait(10)
        return [*told]

    issuer = IssuerKeys("i", fetch, waiting=threading.Semaphore(1), clock=lambda: now[0])
    answers.set()
    assert [key.kid for key in issuer.find("old")] == ["old"]
    told.clear()
    answers.clear()
    now[0] = 601.0
    assert [key.kid for key in issuer.find("old")] == ["old"]
    answers.set()
    wait_until(lambda: not issuer.find("old"))


def test_garbage_for_tokens_is_refused_and_never_crashes(of_issuer, issuer):
    door, token = of_issuer(), issuer.token()
    head, claims, signature = token.split(".")
    nested = base64.urlsafe_b64encode(b"[" * 9000).decode()
    for number, garbage in enumerate(
        (
            "a.b.c",
            "..",
            f"{head}.{claims}.",
            f"{head}.{claims}.!!",
            f"{head}.{claims}.{signature}x",
            f"{head}.{nested}.{signature}",
            f"{nested}.{claims}.{signature}",
            f"é.{claims}.{signature}",
            "x" * 60_000,
            f"{head}.{claims}.{'x' * 17_000}",
            "\x00.\x00.\x00",
        )
    ):
        assert door.code(**bearer(garbage), peer=f"192.0.2.{number}") == "unauthenticated"

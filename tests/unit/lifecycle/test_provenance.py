"""Statements of where an image came from, their envelopes, and who can check them."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lambda_builder.builds import BuildRequest, BuildResult, BuildState, job_name, netstring_digest
from lambda_builder.errors import BootError, FailureReason, Unreachable
from lambda_builder.kube.labels import EVENT_HASH_LABEL, REQUEST
from lambda_builder.lifecycle.dsse import (
    DsseError,
    Signer,
    opened,
    pae,
    read_public_key,
    statement_of,
)
from lambda_builder.lifecycle.provenance import Provenance
from lambda_builder.lifecycle.signing import signer_of
from lambda_builder.settings import Settings

DIGEST = netstring_digest("source-1", "id-1")
SECRET = "hunter2"
REQUEST_1 = BuildRequest(
    event_id="id-1",
    event_source="source-1",
    event_type="network.notifi.lambda.build.start",
    parser_id="parser-1",
    third_party_id="customer-1",
    correlation_id="corr-1",
    event_hash=DIGEST,
    job_name=job_name("customer-1", "parser-1", DIGEST),
    context_url="https://user:pw@host/c.tgz?signature=abc",
    build_args={"TOKEN": SECRET},
)
DONE = BuildResult(
    request=REQUEST_1.without_event(),
    state=BuildState.SUCCEEDED,
    job_uid="uid-1",
    namespace="builds",
    image="registry.example.com/x:1",
    image_digest=f"sha256:{'a' * 64}",
    started_at=1767323044.0,
    finished_at=1767323054.0,
)
NOTE = REQUEST_1.to_json()
KEYS: dict[str, Any] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "p256": ec.generate_private_key(ec.SECP256R1()),
}


class Jobs:
    """The API, with the build's Job unless it is ``gone``."""

    def __init__(self, *, gone=False, uid="uid-1", note=NOTE, error=None):
        metadata = {
            "name": REQUEST_1.job_name,
            "uid": uid,
            "labels": {EVENT_HASH_LABEL: DIGEST[:32]},
            "annotations": {REQUEST: note},
        }
        self._job, self._error = None if gone else {"metadata": metadata}, error

    def get_job(self, name):
        if self._error:
            raise self._error
        return self._job


def provenance(jobs=None, signer=None, builder_id="https://ci.example.com/builder"):
    asked: Any = jobs or Jobs()
    return Provenance(
        asked,
        lambda request: request.context_url or "s3://b/c",
        builder_id=builder_id,
        signer=signer,
    )


def private_pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_a_job_that_was_seen_is_not_asked_for():
    away = Jobs(error=Unreachable(FailureReason.CONNECTION, "away"))
    assert provenance(away).of(DONE, Jobs().get_job("")) == provenance().of(DONE)
    assert provenance().of(DONE, Jobs(uid="uid-2").get_job("")) is None


def test_a_statement_says_what_was_built_from_which_event_by_whom():
    statement = provenance().of(DONE)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [
        {"name": "registry.example.com/x:1", "digest": {"sha256": "a" * 64}}
    ]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["buildType"] == "urn:lambda-builder:build:v1"
    assert definition["externalParameters"] == {
        "event": {
            "source": "source-1",
            "id": "id-1",
            "type": "network.notifi.lambda.build.start",
        },
        "thirdPartyId": "customer-1",
        "parserId": "parser-1",
        "context": {
            "uri": "https://host/c.tgz",
            "uriSha256": hashlib.sha256(REQUEST_1.context_url.encode()).hexdigest(),
        },
        "image": "registry.example.com/x:1",
        "buildArguments": {"TOKEN": {"sha256": hashlib.sha256(SECRET.encode()).hexdigest()}},
    }
    details = statement["predicate"]["runDetails"]
    assert details["builder"]["id"] == "https://ci.example.com/builder"
    assert set(details["builder"]["version"]) == {"lambda-builder"}
    assert details["metadata"] == {
        "invocationId": "uid-1",
        "startedOn": "2026-01-02T03:04:04.000Z",
        "finishedOn": "2026-01-02T03:04:14.000Z",
    }
    assert not any(secret in json.dumps(statement) for secret in (SECRET, "pw", "abc"))


def test_a_context_that_tells_no_secret_is_named_as_it_is():
    plain = REQUEST_1.to_json().replace(REQUEST_1.context_url, "git://host/r.git#refs/heads/main")
    statement = provenance(Jobs(note=plain)).of(DONE)
    parameters = statement["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["context"] == {"uri": "git://host/r.git#refs/heads/main"}


@pytest.mark.parametrize("changes", [{"state": BuildState.FAILED}, {"image_digest": None}])
def test_there_is_none_of_a_build_that_did_not_succeed_with_a_digest(changes):
    assert provenance().of(DONE.but(**changes)) is None


@pytest.mark.parametrize(
    "jobs",
    [Jobs(gone=True), Jobs(uid="uid-2"), Jobs(note=""), Jobs(note="{"), Jobs(note='{"a": 1}')],
)
def test_there_is_none_once_nobody_knows_what_was_asked_for(jobs):
    assert provenance(jobs).of(DONE) is None


def test_an_api_that_is_away_is_no_statement_that_there_is_none():
    away = Jobs(error=Unreachable(FailureReason.CONNECTION, "away"))
    with pytest.raises(Unreachable):
        provenance(away).of(DONE)
    assert provenance(away).or_none(DONE) is None


@pytest.mark.parametrize("kind", KEYS)
def test_what_is_signed_is_checked_with_the_public_key_alone(tmp_path, kind):
    path = tmp_path / "key.pem"
    path.write_bytes(private_pem(KEYS[kind]))
    signer = signer_of(Settings(provenance_key_file=path, provenance_builder_id="urn:x"))
    envelope = provenance(signer=signer).of(DONE)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    key = read_public_key(public_pem(KEYS[kind]))
    der = (
        KEYS[kind]
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert envelope["signatures"][0]["keyid"] == hashlib.sha256(der).hexdigest()
    assert statement_of(json.dumps(envelope).encode(), key) == provenance().of(DONE)
    for other in KEYS.values():
        if other is not KEYS[kind]:
            with pytest.raises(DsseError, match="nobody"):
                opened(envelope, read_public_key(public_pem(other)))


def test_the_signature_covers_type_and_payload():
    # The spec's own example: protocol.md, "Test Vectors", with a key of ours.
    key = KEYS["ed25519"]
    payload = b"hello world"
    kind = "http://example.com/HelloWorld"
    message = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae(kind, payload) == message
    envelope = Signer(key).envelope(payload)
    public = read_public_key(public_pem(key))
    assert opened(envelope, public) == payload
    for change in (
        {"payload": base64.b64encode(b"hello there").decode()},
        {"payloadType": kind},
        {"signatures": []},
        {"signatures": [{"sig": base64.b64encode(key.sign(payload)).decode()}]},
        {"signatures": [{"sig": "é"}]},
        {"signatures": None},
        {"payload": None},
    ):
        with pytest.raises(DsseError):
            opened({**envelope, **change}, public)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff"])
def test_what_is_no_envelope_is_told_in_words(text):
    with pytest.raises(DsseError):
        statement_of(text, read_public_key(public_pem(KEYS["p256"])))


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"no key",
        private_pem(ec.generate_private_key(ec.SECP384R1())),
        private_pem(rsa.generate_private_key(65537, 2048)),
        public_pem(KEYS["p256"]),
    ],
)
def test_a_key_of_another_kind_refuses_to_boot_and_is_not_shown(tmp_path, key):
    path = tmp_path / "key.pem"
    path.write_bytes(key)
    settings = Settings(provenance_key_file=path, provenance_builder_id="urn:x")
    with pytest.raises(BootError, match="PROVENANCE_KEY_FILE") as caught:
        signer_of(settings)
    assert "BEGIN" not in str(caught.value)
    with pytest.raises(BootError, match="No such file"):
        signer_of(settings.model_copy(update={"provenance_key_file": tmp_path / "none"}))


def test_public_keys_of_another_kind_are_refused():
    for key in (b"", public_pem(rsa.generate_private_key(65537, 2048))):
        with pytest.raises(DsseError):
            read_public_key(key)

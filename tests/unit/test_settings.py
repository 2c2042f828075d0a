"""Settings: defaults of the contract, and every problem reported at once."""

from __future__ import annotations

import os
import pprint
import sys
import traceback
from pathlib import Path

import pytest

from lambda_builder.errors import BootError
from lambda_builder.settings import Settings, load, unknown_variables
from lambda_builder.settings.database import check_password_file


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("LAMBDA_BUILDER_", "K_")) or name == "PORT":
            monkeypatch.delenv(name)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert (settings.worker_count, settings.worker_count_max, settings.http_threads) == (5, 20, 16)
    assert (settings.queue_size, settings.queue_discipline) == (100, "fifo")
    assert (settings.result_ttl_seconds, settings.result_max) == (3600, 100_000)
    assert (settings.max_retries, settings.retry_base_seconds) == (3, 0.5)
    assert (settings.retry_max_seconds, settings.drain_seconds) == (30, 20)
    assert (settings.namespace, settings.kube_api_timeout_seconds) == ("knative-lambda", 10)
    assert (settings.journal_url.get_secret_value(), settings.lease_seconds) == ("", 15)
    assert (settings.journal_path, settings.port, settings.max_body_bytes) == (None, 8080, 1 << 20)
    assert settings.build_event_types == (
        "network.notifi.lambda.build.start",
        "io.knative.lambda.command.build.start",
    )


def test_every_problem_is_reported_together_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAMBDA_BUILDER_WORKER_COUNT", "many")
    monkeypatch.setenv("LAMBDA_BUILDER_QUEUE_SIZE", "0")
    monkeypatch.setenv("LAMBDA_BUILDER_SINK_URL", "ftp://sink")
    monkeypatch.setenv("K_CE_OVERRIDES", "[1]")
    monkeypatch.setenv("PORT", "0")
    with pytest.raises(BootError) as problem:
        load()
    for name in ("WORKER_COUNT", "QUEUE_SIZE", "SINK_URL", "K_CE_OVERRIDES", "PORT"):
        assert name in str(problem.value)


def test_settings_that_contradict_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_BUILDER_WORKER_COUNT", "30")
    with pytest.raises(BootError, match="_WORKER_COUNT_MAX must be at least LAMBDA_BUILDER_W"):
        load()


def test_an_empty_variable_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_BUILDER_JOURNAL_PATH", "")
    monkeypatch.setenv("LAMBDA_BUILDER_QUEUE_SIZE", "")
    assert (load().journal_path, load().queue_size) == (None, 100)


def test_the_sink_is_knatives_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_SINK", "http://broker")
    assert load().effective_sink_url == "http://broker"
    monkeypatch.setenv("LAMBDA_BUILDER_SINK_URL", "http://other")
    assert load().effective_sink_url == "http://other"


def test_knatives_overrides_become_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_CE_OVERRIDES", '{"extensions": {"Team": "blue"}}')
    assert load().ce_override_extensions == {"team": "blue"}


def test_event_types_are_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_BUILDER_BUILD_EVENT_TYPES", "a.b, c.d ,")
    assert load().build_event_types == ("a.b", "c.d")


def test_the_service_variables_that_kubernetes_injects_do_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAMBDA_BUILDER_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("LAMBDA_BUILDER_SERVICE_HOST", "10.0.0.1")
    assert load().port == 8080


@pytest.mark.parametrize("drain", [0.0, 0.5, 20.0, 120.0])
def test_the_drain_always_fits_into_gunicorns_graceful_timeout(drain: float) -> None:
    assert Settings(drain_seconds=drain).graceful_timeout > 5 + drain
    assert Settings().graceful_timeout < 30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOURNAL_PATH", " "),
        ("JOURNAL_PATH", "/data/journal.db\n"),
        ("JOB_TEMPLATE", " kaniko.yaml"),
        ("IMAGE", " "),
        ("IMAGE", "registry/builds: ${hash}"),
        ("CONTEXT_URL", "s3://bucket/ ${parser_id}"),
        ("SERVICE_ACCOUNT", " x "),
        ("SERVICE_ACCOUNT", "Builder"),
        ("REGISTRY_SECRET", "push secret"),
        ("KUEUE_QUEUE", "-builds"),
        ("HOST", " "),
        ("SINK_URL", "http://"),
        ("SINK_URL", "http://broker:port"),
        ("HANDOFF_URL", "http://broker/a b"),
        ("JOURNAL_URL", "mysql://database/builds"),
        ("JOURNAL_URL", "host=database dbname=builds"),
        ("JOURNAL_URL", "postgresql://database/builds?no_such_parameter=1"),
        ("JOURNAL_PASSWORD_FILE", "/run/password"),
        ("LEASE_SECONDS", "4.9"),
        ("LEASE_SECONDS", "301"),
        ("BUILD_EVENT_TYPES", "build.start,network.notifi.lambda.build.cancel"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_boot(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LAMBDA_BUILDER_{name}", value)
    with pytest.raises(BootError, match=f"LAMBDA_BUILDER_{name}"):
        load()


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_that_is() -> None:
    environ = {
        "LAMBDA_BUILDER_QUEUESIZE": "7",
        "LAMBDA_BUILDER_PORT": "8081",
        "LAMBDA_BUILDER_XYZZY": "1",
        "LAMBDA_BUILDER_QUEUE_SIZE": "7",
        "LAMBDA_BUILDER_URL": "http://localhost:8080",
        "PATH": "/bin",
    }
    assert unknown_variables(environ) == [
        ("LAMBDA_BUILDER_PORT", "PORT"),
        ("LAMBDA_BUILDER_QUEUESIZE", "LAMBDA_BUILDER_QUEUE_SIZE"),
        ("LAMBDA_BUILDER_XYZZY", None),
    ]


def test_what_kubernetes_makes_for_services_of_our_name_is_no_unknown_setting() -> None:
    environ = {
        "LAMBDA_BUILDER_SERVICE_HOST": "10.0.0.1",
        "LAMBDA_BUILDER_SERVICE_PORT": "80",
        "LAMBDA_BUILDER_SERVICE_PORT_HTTP": "80",
        "LAMBDA_BUILDER_PORT": "tcp://10.0.0.1:80",
        "LAMBDA_BUILDER_PORT_80_TCP": "tcp://10.0.0.1:80",
        "LAMBDA_BUILDER_PORT_80_TCP_PROTO": "tcp",
        "LAMBDA_BUILDER_PORT_80_TCP_PORT": "80",
        "LAMBDA_BUILDER_PORT_80_TCP_ADDR": "10.0.0.1",
        "LAMBDA_BUILDER_METRICS_SERVICE_HOST": "10.0.0.2",
        "LAMBDA_BUILDER_METRICS_PORT": "tcp://10.0.0.2:80",
    }
    assert unknown_variables(environ) == []


def test_no_form_of_settings_or_of_their_errors_shows_a_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SINK_URL", "HANDOFF_URL", "DEAD_LETTER_URL"):
        url = "https://user:canary-password@broker/path?token=canary-query"
        monkeypatch.setenv(f"LAMBDA_BUILDER_{name}", url)
    monkeypatch.setenv("K_CE_OVERRIDES", '{"extensions": {"token": "canary-extension"}}')
    settings = load()
    assert settings.sink_url.endswith("canary-query")
    for text in (repr(settings), str(settings), f"{settings}", pprint.pformat(settings)):
        assert "canary" not in text
        assert "https://***@broker/path?***" in text
    monkeypatch.setenv("LAMBDA_BUILDER_SINK_URL", "gopher://user:canary-password@broker")
    monkeypatch.setenv("K_CE_OVERRIDES", "canary-broken")
    with pytest.raises(BootError) as caught:
        load()
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LAMBDA_BUILDER_WORKER_COUNT", "0", "must be at least 1, is '0'"),
        ("LAMBDA_BUILDER_QUEUE_SIZE", "many", "must be a whole number, is 'many'"),
        ("LAMBDA_BUILDER_DRAIN_SECONDS", "inf", "must be a number, is 'inf'"),
        ("LAMBDA_BUILDER_RETRY_MAX_SECONDS", "0", "must be over 0, is '0'"),
        ("LAMBDA_BUILDER_READ_ONLY", "perhaps", "must be true or false, is 'perhaps'"),
        ("LAMBDA_BUILDER_ACK", "maybe", "must be 'accepted' or 'created', is 'maybe'"),
        ("LAMBDA_BUILDER_NAMESPACE", "A", "must be a name as Kubernetes has them"),
        ("LAMBDA_BUILDER_SINK_URL", "ftp://x:secret@y", "must be an http:// or https:// URL"),
        ("K_CE_OVERRIDES", "{secret", "must be JSON like"),
        ("PORT", "70000", "must be at most 65535, is '70000'"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_what_it_must_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BootError) as problem:
        load()
    assert f"  {name}: {said}" in str(problem.value)
    assert "secret" not in str(problem.value)


DATABASE = "postgresql://builder:canary-password@database:5432/builds?sslmode=verify-full"


@pytest.mark.parametrize(
    "url",
    [
        DATABASE,
        DATABASE.replace(":5432", ""),
        DATABASE.replace("database:5432", "one:5432,two:5433"),
        DATABASE.replace("sslmode=verify-full", "password=canary-in-query"),
    ],
)
def test_the_url_of_a_shared_journal_shows_itself_to_nobody(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LAMBDA_BUILDER_JOURNAL_URL", url)
    settings = load()
    assert settings.journal_url.get_secret_value() == url
    assert settings.has_journal
    for text in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "canary" not in text


@pytest.mark.parametrize(
    "url",
    [
        "postgres://builder:canary@database/builds",
        "postgresql://builder:canary%zz@database/builds",
        "postgresql://builder:can@ary@database/builds",
        "postgresql://builder:can ary@database/builds",
        "postgresql://builder:can/ary@database/builds",
        "postgresql://builder:canary@database/builds?canary=1",
        "postgresql://builder:can\nary@database/builds",
    ],
)
def test_a_database_url_that_cannot_be_is_refused_without_a_part_of_it_shown(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LAMBDA_BUILDER_JOURNAL_URL", url)
    with pytest.raises(BootError, match="LAMBDA_BUILDER_JOURNAL_URL: must ") as caught:
        load()
    told = "".join(traceback.format_exception(caught.value))
    assert "canary" not in told
    assert "ary@" not in told


def test_a_file_and_a_database_are_not_both_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_BUILDER_JOURNAL_URL", DATABASE)
    monkeypatch.setenv("LAMBDA_BUILDER_JOURNAL_PATH", "/data/journal.db")
    with pytest.raises(BootError, match=r"_JOURNAL_PATH and .*_JOURNAL_URL exclude each other"):
        load()


def test_a_database_without_its_driver_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("LAMBDA_BUILDER_JOURNAL_URL", DATABASE)
    with pytest.raises(BootError, match=r"pip install lambda-builder\[postgres\]"):
        load()


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_a_password_file_that_holds_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BootError, match="LAMBDA_BUILDER_JOURNAL_PASSWORD_FILE"):
        check_password_file(path)


def test_a_password_file_that_holds_one_will_do(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    check_password_file(tmp_path / "password")
    check_password_file(None)

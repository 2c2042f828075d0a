"""Settings: defaults of the contract, and every problem reported at once."""

from __future__ import annotations

import os
import pprint
import traceback

import pytest

from lambda_builder.errors import BootError
from lambda_builder.settings import Settings, load, unknown_variables


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

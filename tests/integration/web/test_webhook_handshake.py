"""OPTIONS on the paths that take events."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("path", "allowed"), [("/events", "POST, OPTIONS"), ("/", "GET, HEAD, POST, OPTIONS")]
)
def test_options_tell_the_methods_without_a_body(house, path, allowed):
    answer = house.client.options(path)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Allow"] == allowed
    assert "WebHook-Allowed-Origin" not in answer.headers
    assert answer.headers["X-Correlation-ID"]


@pytest.mark.parametrize(
    ("asked", "granted"), [(None, "*"), ("*", "*"), ("120", "120"), ("0", "*"), ("many", "*")]
)
def test_a_sender_that_asks_may_send_at_the_rate_it_asks_for(house, asked, granted):
    headers = {
        "WebHook-Request-Origin": "eventemitter.example.com",
        "WebHook-Request-Callback": "https://example.com/confirm",
    }
    if asked is not None:
        headers["WebHook-Request-Rate"] = asked
    answer = house.client.options("/events", headers=headers)
    assert answer.headers["WebHook-Allowed-Origin"] == "eventemitter.example.com"
    assert answer.headers["WebHook-Allowed-Rate"] == granted
    assert answer.headers["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("origin", ["caf\u00e9.example", "a b", "x" * 254])
def test_an_origin_that_is_none_is_not_echoed(house, origin):
    answer = house.client.options("/events", headers={"WebHook-Request-Origin": origin})
    assert answer.status_code == 200
    assert "WebHook-Allowed-Origin" not in answer.headers

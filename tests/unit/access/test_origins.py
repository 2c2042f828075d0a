"""Where a request comes from, as far as its proxies are believed."""

from __future__ import annotations

import pytest

from lambda_builder.access.origins import Proxies, is_from_another_site

PROXIES = Proxies(("10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "x_forwarded_for", "forwarded", "address"),
    [
        ("192.0.2.1", "203.0.113.9", None, "192.0.2.1"),
        ("192.0.2.1", None, "for=203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", None, None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", None, "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", None, "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", None, "10.0.0.3"),
        ("10.0.0.1", "203.0.113.9:4711", None, "203.0.113.9"),
        ("10.0.0.1", "junk", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, junk", None, "10.0.0.1"),
        ("10.0.0.1", "", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "203.0.113.9", None, "203.0.113.9"),
        ("fd00::1", None, 'for="[2001:db8::17]:4711";proto=https', "2001:db8::17"),
        ("10.0.0.1", None, "for=6.6.6.6, FOR=203.0.113.9;by=10.0.0.1", "203.0.113.9"),
        ("10.0.0.1", None, "for=unknown", "10.0.0.1"),
        ("10.0.0.1", None, "for=_hidden", "10.0.0.1"),
        # A proxy that sets one of them lets the other pass, as a client made it up.
        ("10.0.0.1", "203.0.113.9", "for=6.6.6.6", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "for=203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9", "proto=https", "203.0.113.9"),
        ("", "203.0.113.9", None, ""),
    ],
)
def test_the_last_address_that_no_proxy_of_ours_has_is_the_clients(
    peer, x_forwarded_for, forwarded, address
):
    environ = {"REMOTE_ADDR": peer}
    if x_forwarded_for is not None:
        environ["HTTP_X_FORWARDED_FOR"] = x_forwarded_for
    if forwarded is not None:
        environ["HTTP_FORWARDED"] = forwarded
    assert PROXIES.address_of(environ) == address


def test_nobody_is_believed_where_no_proxy_is_trusted():
    environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}
    assert Proxies(()).address_of(environ) == "127.0.0.1"


@pytest.mark.parametrize(
    ("origin", "host", "is_other"),
    [
        ("http://builder.example", "builder.example", False),
        ("https://builder.example", "builder.example", False),
        ("https://Builder.Example:443", "builder.example", False),
        ("http://builder.example:8080", "builder.example:8080", False),
        ("http://[::1]:8080", "[::1]:8080", False),
        ("http://builder.example:8080", "builder.example", True),
        ("http://builder.example.evil", "builder.example", True),
        ("http://evil@builder.example.evil", "builder.example", True),
        ("http://builder.example:port", "builder.example", True),
        ("null", "null", True),
        ("", "", True),
        ("http://", "", True),
    ],
)
def test_a_page_is_of_the_same_site_where_host_and_port_are_the_same(origin, host, is_other):
    environ = {"HTTP_ORIGIN": origin, "HTTP_HOST": host, "REMOTE_ADDR": "192.0.2.1"}
    assert is_from_another_site(environ, PROXIES) is is_other


@pytest.mark.parametrize(("peer", "is_other"), [("10.0.0.1", False), ("192.0.2.1", True)])
def test_a_proxy_that_is_trusted_tells_which_host_the_page_is_of(peer, is_other):
    environ = {
        "HTTP_ORIGIN": "https://builder.example",
        "HTTP_HOST": "internal:8080",
        "HTTP_X_FORWARDED_HOST": "builder.example",
        "REMOTE_ADDR": peer,
    }
    assert is_from_another_site(environ, PROXIES) is is_other

"""Rates of tenants and of all: how many may come, when more may, and what is remembered."""

from __future__ import annotations

import pytest

from lambda_builder.access.failures import FailedTries
from lambda_builder.access.limits import Buckets, Limits
from lambda_builder.access.proofs import Denial
from lambda_builder.access.tables import IdleTable
from lambda_builder.builds import BuildRequest
from lambda_builder.errors import Refused
from lambda_builder.settings import Rate
from lambda_builder.telemetry.metrics import DENIALS, Metrics


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def requests(*tenants):
    return [
        BuildRequest(
            event_id=f"{number}", event_source="s", event_type="t", parser_id="p",
            third_party_id=tenant, correlation_id="c", event_hash="h", job_name="j",
        )
        for number, tenant in enumerate(tenants)
    ]  # fmt: skip


def limits(clock, tenant=None, service=None, **more):
    return Limits(tenant_rate=tenant, rate=service, metrics=Metrics(), clock=clock, **more)


def refusal(limit, *tenants):
    with pytest.raises(Refused) as refused:
        limit.admit(requests(*tenants))
    return refused.value.code.value, refused.value.retry_after


def test_a_burst_passes_and_then_so_many_a_second(clock):
    limit = limits(clock, Rate(10, 20))
    for _ in range(20):
        limit.admit(requests("a"))
    assert refusal(limit, "a") == ("tenant_limit", 1)
    limit.admit(requests("b"))
    clock.now += 0.1
    limit.admit(requests("a"))
    assert refusal(limit, "a")[0] == "tenant_limit"


@pytest.mark.parametrize(("rate", "seconds"), [(Rate(0.1, 1), 10), (Rate(0.25, 3), 4)])
def test_after_the_time_that_was_told_it_passes_and_a_second_sooner_it_does_not(
    clock, rate, seconds
):
    limit = limits(clock, rate)
    limit.admit(requests(*"a" * rate.burst))
    assert refusal(limit, "a") == ("tenant_limit", seconds)
    clock.now += seconds - 1
    assert refusal(limit, "a") == ("tenant_limit", 1)
    clock.now += 1
    limit.admit(requests("a"))


def test_what_is_refused_takes_nothing_from_anybody(clock):
    limit = limits(clock, Rate(1, 2), Rate(1, 5))
    limit.admit(requests("a", "a"))
    for _ in range(9):
        assert refusal(limit, "b", "a")[0] == "tenant_limit"
    limit.admit(requests("b", "b"))
    limit.admit(requests("c"))
    assert refusal(limit, "d") == ("rate_limit", 1)
    clock.now += 1
    limit.admit(requests("d"))


def test_more_than_a_burst_passes_once_all_of_it_may_and_costs_what_it_is(clock):
    limit = limits(clock, Rate(1, 2))
    limit.admit(requests(*"aaaaa"))
    assert refusal(limit, "a") == ("tenant_limit", 4)
    assert refusal(limit, *"aaa") == ("tenant_limit", 5)
    clock.now += 5
    limit.admit(requests(*"aaa"))


def test_the_headers_tell_what_is_left(clock):
    limit = limits(clock, Rate(10, 20))
    policy = ("RateLimit-Policy", '"tenant";q=20;w=2')
    assert limit.headers(["a"]) == [policy, ("RateLimit", '"tenant";r=20;t=0')]
    limit.admit(requests("a"))
    assert limit.headers(["a"]) == [policy, ("RateLimit", '"tenant";r=19;t=1')]
    limit.admit(requests(*"a" * 19))
    assert limit.headers(["b", "a"]) == [policy, ("RateLimit", '"tenant";r=0;t=2')]
    assert limit.headers([]) == [policy]
    clock.now += 0.1
    assert limit.headers(["a"])[1] == ("RateLimit", '"tenant";r=1;t=2')


def test_the_headers_tell_of_both_limits_and_of_none(clock):
    assert limits(clock).headers(["a"]) == []
    both = limits(clock, Rate(1, 2), Rate(3, 5))
    both.admit(requests("a"))
    assert both.headers(["a"]) == [
        ("RateLimit-Policy", '"tenant";q=2;w=2, "service";q=5;w=2'),
        ("RateLimit", '"tenant";r=1;t=1, "service";r=4;t=1'),
    ]


def test_no_number_of_other_names_frees_a_tenant_that_is_over_its_limit(clock):
    limit = limits(clock, Rate(0.01, 1), most_tenants=1000)
    limit.admit(requests("limited"))
    passed = 0
    for number in range(20_000):
        try:
            limit.admit(requests(f"other-{number}"))
            passed += 1
        except Refused:
            pass
    # Beyond the room there is for names, those that are new share one limit.
    assert passed == 1000
    assert refusal(limit, "limited") == ("tenant_limit", 100)
    assert len(limit._tenants._full_at) == 1000
    clock.now += 101
    limit.admit(requests("limited"))
    limit.admit(requests("new"))


def test_names_that_have_their_whole_burst_again_are_forgotten(clock):
    limit = limits(clock, Rate(10, 1), most_tenants=100_000)
    for number in range(5000):
        clock.now += 0.01
        limit.admit(requests(f"other-{number}"))
    assert len(limit._tenants._full_at) < 50


def test_a_name_takes_as_much_memory_however_long_it_is():
    table = IdleTable(10, lambda value, now: False)
    assert table.put("x" * 1_000_000, 1, 0.0)
    assert table.put("\ud800", 2, 0.0)
    assert max(map(len, table._values)) == 16
    assert (table.get("x" * 1_000_000), table.get("\ud800"), table.get("y")) == (1, 2, None)


def test_an_entry_that_is_not_idle_stays_and_one_without_room_is_not_kept():
    table = IdleTable(2, lambda until, now: until <= now)
    assert table.put("a", 5.0, 0.0)
    assert table.put("b", 1.0, 0.0)
    assert not table.put("c", 9.0, 0.5)
    assert table.put("b", 2.0, 0.5)
    assert table.put("c", 9.0, 3.0)
    assert (table.get("a"), table.get("b"), table.get("c")) == (5.0, None, 9.0)


def test_rounding_takes_no_event_away(clock):
    for per_second in (0.1, 0.3, 3, 7, 10, 999_999):
        buckets = Buckets(Rate(per_second, 3), 10)
        for left in (2, 1, 0):
            assert buckets.wait("a", 1, clock.now) == 0
            buckets.take("a", 1, clock.now)
            assert buckets.left("a", clock.now)[0] == left
        assert buckets.wait("a", 1, clock.now) > 0


def test_the_eleventh_failed_try_of_a_minute_has_to_wait(clock):
    tries = FailedTries(clock=clock)
    assert [tries.note("192.0.2.1") for _ in range(10)] == [0] * 10
    clock.now += 10
    assert tries.note("192.0.2.1") == 50
    assert tries.note("192.0.2.2") == 0
    clock.now += 50
    assert tries.note("192.0.2.1") == 0


def test_addresses_of_one_network_count_together_where_anybody_has_that_many(clock):
    tries = FailedTries(clock=clock)
    assert all(tries.note(f"2001:db8::{number:x}") == 0 for number in range(10))
    assert tries.note("2001:db8::ffff") > 0
    assert tries.note("2001:db8:0:1::1") == 0
    assert all(tries.note("::ffff:192.0.2.1") == 0 for _ in range(10))
    assert tries.note("192.0.2.1") > 0
    assert tries.note("not an address") == 0


def test_failed_tries_of_more_addresses_than_are_counted_are_counted_together(clock):
    tries = FailedTries(clock=clock, most_addresses=5)
    waits = [tries.note(f"192.0.2.{number}") for number in range(20)]
    assert [bool(wait) for wait in waits] == [False] * 15 + [True] * 5


def test_the_metrics_know_every_reason_of_a_denial():
    assert set(DENIALS) == set(Denial)

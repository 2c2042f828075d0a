"""Tenants by name and by pattern."""

from __future__ import annotations

import pytest

from lambda_builder.tenants import ALL_TENANTS, NO_TENANTS, Tenants


@pytest.mark.parametrize(
    ("patterns", "inside", "outside"),
    [
        (["a"], ["a"], ["", "A", "ab", "ba", "a\n"]),
        (["customer-*"], ["customer-", "customer-1", "customer-1\n2"], ["customer", "xcustomer-1"]),
        (["*-dev"], ["-dev", "a-dev"], ["a-dev2", "a-dev\n"]),
        (["a*b*c"], ["abc", "a1b2c", "abbc"], ["ab", "acb"]),
        (["a.c", "x[12]", "y?"], ["a.c", "x[12]", "y?"], ["abc", "x1", "y1"]),
        (["a", "b*"], ["a", "b", "bc"], ["c", "ab"]),
        (["*"], ["", "a", "\n"], []),
        (["**"], ["", "a"], []),
        ([], [], ["", "a", "*"]),
    ],
)
def test_a_star_stands_for_any_text_and_all_else_for_itself(patterns, inside, outside):
    tenants = Tenants(patterns)
    assert all(tenant in tenants for tenant in inside)
    assert not any(tenant in tenants for tenant in outside)


def test_all_are_all_and_none_are_none():
    assert ALL_TENANTS
    assert ALL_TENANTS.are_all
    assert not NO_TENANTS
    assert not Tenants(["a*"]).are_all

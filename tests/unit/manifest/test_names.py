"""Names of a tenant's own repository and Secrets: no two ids share one."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_builder.manifest.names import object_name, repository

COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
FORMS = {repository: COMPONENT, object_name: LABEL}

IDS = st.one_of(
    st.text(min_size=1, max_size=80),
    st.text(alphabet="aA0-._/ %", min_size=1, max_size=60),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(-[0-9a-f]{10})?", fullmatch=True),
)


def digits(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:10]


@pytest.mark.parametrize("form", FORMS)
@given(first=IDS, second=IDS)
@example(first="Customer", second="customer")
@example(first="a/b", second="a-b")
@example(first="a" * 51, second="a" * 52)
def test_two_ids_have_two_forms(form, first, second):
    # Somebody who knows the form of another's id may choose it for an id of his own.
    for other in (second, form(first), form(form(first)), first.lower(), first.strip()):
        assert (form(first) == form(other)) == (first == other)


@pytest.mark.parametrize("form", FORMS)
@given(value=IDS)
def test_a_form_is_a_valid_name_that_leaves_room_for_more(form, value):
    assert FORMS[form].fullmatch(form(value))
    assert len(form(value)) <= 61


@pytest.mark.parametrize("form", FORMS)
def test_an_id_that_fits_is_its_own_form(form):
    for value in ("customer-1", "a", "0", "a" * 50, "a-0123456789a", "a--b"):
        assert form(value) == value


def test_other_ids_are_lower_case_and_have_digits_of_their_own():
    assert repository("Customer 1") == f"customer-1-{digits('Customer 1')}"
    assert repository("a__b") == "a__b"
    assert repository("a..b") == f"a-b-{digits('a..b')}"
    assert repository("☃") == f"x-{digits('☃')}"
    assert repository("a" * 51) == f"{'a' * 50}-{digits('a' * 51)}"
    assert object_name("a.b_c") == f"a-b-c-{digits('a.b_c')}"
    forged = f"customer-{digits('Customer')}"
    assert repository(forged) == f"{forged}-{digits(forged)}" != repository("Customer")

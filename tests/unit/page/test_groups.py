"""Failures that are alike, together."""

from __future__ import annotations

from lambda_builder.builds import BuildError, BuildState, FailureCategory
from lambda_builder.page.groups import groups
from tests.journals import make_request, make_result


def failed(number, message, category=FailureCategory.DEPENDENCY, state=BuildState.FAILED):
    error = BuildError("job_failed", message, category)
    return make_result(number, state, error=error, finished_at=float(number))


def test_messages_that_differ_in_names_and_numbers_are_one_group():
    found = groups(
        [
            failed(4, "log:\nno route to 10.0.0.1 from build-acme-checkout-9a95768e1d"),
            failed(3, "something else"),
            failed(2, "log:\nno route to 10.0.0.2 from build-acme-invoice-0a95768e1d-x7xkp"),
            failed(1, "no route to 10.0.0.1 from x", FailureCategory.PLATFORM),
        ]
    )
    assert [(group.count, group.why) for group in found] == [
        (2, "dependency"),
        (1, "dependency"),
        (1, "platform"),
    ]
    assert found[0].pattern == "no route to … from …"
    assert found[0].search == "no route to"
    assert found[0].latest == 4.0
    assert found[0].job_name == make_request(4).job_name


def test_what_is_searched_for_is_in_every_message_as_it_stands():
    [group] = groups([failed(1, "no  way\tthrough 1"), failed(2, "no way through 22")])
    assert group.search is None
    assert group.count == 2


def test_of_builds_without_a_job_the_code_is_what_they_share():
    [group] = groups([failed(1, "", None, BuildState.DEAD)])
    assert (group.why, group.category, group.search) == ("job_failed", None, "job_failed")
    assert group.pattern == "no message"


def test_a_builds_without_an_error_are_in_no_group():
    assert groups([make_result(1, BuildState.FAILED)]) == []

"""How many statements a batch takes: that is what a commit costs under load."""

from __future__ import annotations

import pytest

from lambda_builder.journal.changes import Change
from lambda_builder.journal.rows import request_row
from lambda_builder.journal.sqlite.statements import Statements
from tests.journals import make_request


@pytest.mark.parametrize(("rows", "statements"), [(0, 0), (1, 1), (32, 1), (33, 2), (64, 2)])
def test_a_statement_writes_up_to_thirty_two_rows(rows, statements):
    changes = [Change(records=[request_row(make_request(number))]) for number in range(rows)]
    assert len(Statements().of(changes)) == statements


def test_new_rows_are_numbered_above_those_of_the_file_and_above_each_other():
    statements = Statements()
    statements.count_from(7, 70)
    statements.count_from(3, 30)
    change = Change(records=[request_row(make_request(1)), request_row(make_request(2))])

    numbers = []
    for _ in range(2):
        ((_, values),) = statements.of([change])
        numbers += [values[0], values[6]]

    assert numbers == [8, 9, 10, 11]

"""How many statements a batch takes: that is what a commit costs under load."""

from __future__ import annotations

import pytest

from lambda_builder.builds import SKIPPED, BuildError, BuildResult, BuildState
from lambda_builder.journal.changes import Change
from lambda_builder.journal.rows import request_row, result_row
from lambda_builder.journal.sqlite.schema import connect_writer
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


@pytest.fixture
def database(tmp_path):
    connection = connect_writer(tmp_path / "journal.sqlite3")
    for statement in Statements().of([Change(records=[request_row(make_request(1))])]):
        connection.execute(*statement)
    yield connection
    connection.close()


def finish(*states: BuildState, error: BuildError | None = None) -> list[Change]:
    results = [BuildResult(request=make_request(1), state=state, error=error) for state in states]
    return [Change(finishes=[result_row(result, 1.0)]) for result in results]


def kept(connection, changes):
    for statement in Statements().of(changes):
        connection.execute(*statement)
    return connection.execute("SELECT job_name, state FROM builds").fetchall()


def test_an_outcome_writes_no_index_of_what_it_leaves_as_it_is(database):
    pages = dict(database.execute("SELECT name, rootpage FROM sqlite_master"))
    [(sql, values)] = Statements().of(finish(BuildState.SUCCEEDED))
    program = database.execute(f"EXPLAIN {sql}", values).fetchall()
    cursors = {step[2]: step[3] for step in program if step[1] == "OpenWrite"}
    deletes = {cursors[step[2]] for step in program if step[1] == "IdxDelete"}
    assert pages["builds_settled"] in deletes
    assert not deletes & {pages["builds_job_name"], pages["builds_correlation_id"]}


def test_a_build_keeps_its_name_through_its_outcomes_unless_it_was_skipped(database):
    name = make_request(1).job_name
    assert kept(database, finish(BuildState.CREATED)) == [(name, "created")]
    skipped = finish(BuildState.CANCELLED, error=BuildError(SKIPPED, "another's is active"))
    assert kept(database, skipped) == [("", "cancelled")]


def test_of_two_outcomes_of_a_batch_the_last_counts_and_is_written_alone(database):
    changes = finish(BuildState.CREATED, BuildState.SUCCEEDED)
    assert kept(database, changes) == [(make_request(1).job_name, "succeeded")]
    [(_, values)] = Statements().of(changes)
    assert "created" not in values

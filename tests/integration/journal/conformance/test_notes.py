"""Commands, audit and refused events in any journal."""

from __future__ import annotations

from lambda_builder.builds import Action, CommandRequest


def command(number, **changes):
    fields = {
        "event_id": f"cancel-{number}",
        "event_source": "network.notifi.customer-1",
        "event_type": "network.notifi.lambda.build.cancel",
        "correlation_id": f"correlation-{number}",
        "job_name": "build-żółw-\udcff",
        "accepted_at": 1.5,
        "tenants": ["customer-*"],
    }
    return CommandRequest(**{**fields, **changes})


def test_commands_are_there_for_the_next_process_oldest_first_until_they_are_dropped(store):
    journal = store()
    commands = [command(3), command(1, action=Action.RETRY), command(2)]
    journal.keep_commands(commands[:2])
    journal.keep_commands(commands[2:])
    journal.drop_command(commands[1].event_hash)

    journal = store()
    assert journal.commands() == [commands[0], commands[2]]
    for each in commands:
        journal.drop_command(each.event_hash)
    assert store().commands() == []


def test_commands_that_nobody_dropped_are_there_for_the_process_after_the_next(store):
    store().keep_commands([command(1)])
    assert store().commands() == [command(1)]
    assert store().commands() == [command(1)]


def test_a_command_kept_twice_is_there_once(store):
    journal = store()
    journal.keep_commands([command(1)])
    journal.keep_commands([command(1)])
    assert store().commands() == [command(1)]


def test_entries_of_the_audit_come_newest_first_page_by_page(store):
    journal = store()
    for number in range(5):
        journal.note([b"%d" % number], refused=bool(number % 2))
    journal.note([b"5", b"6"], refused=False)

    journal = store()
    first = journal.audit(before=None, limit=3)
    assert [entry for _, entry in first] == [b"6", b"5", b"4"]
    rest = journal.audit(before=first[-1][0], limit=10)
    assert [entry for _, entry in rest] == [b"3", b"2", b"1", b"0"]
    assert journal.audit(before=rest[-1][0], limit=10) == []


def test_refused_events_are_kept_newest_first(store):
    journal = store()
    for number in range(3):
        journal.keep_rejection(b"%d" % number)
        assert journal.flush(10.0)
    assert journal.rejections() == [b"2", b"1", b"0"]

"""What ended builds were asked for, kept until it was told of them."""

from __future__ import annotations

from lambda_builder.kube.labels import EVENT_HASH_LABEL, REQUEST
from lambda_builder.lifecycle.asked import Asked


def job(uid: str, note: str | None = "note", **more: object) -> dict:
    metadata = {
        "name": f"name-{uid}",
        "uid": uid,
        "labels": {EVENT_HASH_LABEL: "abc", "other": "label"},
        "annotations": {"other": "note"} if note is None else {REQUEST: note},
    }
    return {"metadata": metadata, **more}


def test_it_keeps_of_a_job_what_is_needed_until_that_is_taken():
    asked = Asked()
    asked.keep(job("1", spec={"template": {}}))
    assert asked.take("1") == {
        "metadata": {
            "name": "name-1",
            "uid": "1",
            "labels": {EVENT_HASH_LABEL: "abc"},
            "annotations": {REQUEST: "note"},
        }
    }
    assert asked.take("1") is None


def test_it_keeps_what_was_seen_last():
    asked = Asked()
    asked.keep(job("1", "old"))
    asked.keep(job("1", "new"))
    kept = asked.take("1")
    assert kept is not None
    assert kept["metadata"]["annotations"] == {REQUEST: "new"}
    asked.keep(job("1", "old"))
    asked.keep(job("1", None))
    assert asked.take("1") is None


def test_it_keeps_no_more_than_it_may_and_has_room_again_for_what_was_taken():
    asked = Asked(most=8)
    for uid in "123":
        asked.keep(job(uid))
    assert asked.take("3") is None
    assert asked.take("1") is not None
    asked.keep(job("3"))
    assert asked.take("3") is not None
    asked.clear()
    assert asked.take("2") is None
    asked.keep(job("4", "12345678"))
    assert asked.take("4") is not None

"""Pages that many look at are made once a second."""

from __future__ import annotations

from lambda_builder.page.kept import KeptPages


def test_a_page_is_kept_for_a_second_and_made_when_it_is_first_sent():
    now, made = [0.0], []
    kept = KeptPages(clock=lambda: now[0])
    assert kept.known("/") is None
    page = kept.put("/", {"builds": 1})
    now[0] = 0.9
    assert kept.known("/") is page
    assert kept.known("/other") is None
    for _ in range(2):
        assert page.body(lambda content: made.append(content) or b"html") == b"html"
    assert made == [{"builds": 1}]
    now[0] = 1.1
    assert kept.known("/") is None


def test_a_page_that_shows_the_same_has_the_same_tag():
    kept = KeptPages()
    tag = kept.put("/", {"builds": 1}).tag
    assert kept.put("/", {"builds": 1}).tag == tag
    assert kept.put("/", {"builds": 2}).tag != tag


def test_large_pages_are_kept_up_to_a_bound_of_bytes_and_small_ones_up_to_many():
    for length, most, pages in ((200, 300, 400), (500_000, 10, 20), (3_000_000, 0, 2)):
        kept = KeptPages(clock=lambda: 0.0)
        for number in range(pages):
            page = kept.put(number, {"log": "x" * length})
            assert page.body(lambda content: content["log"].encode()) == b"x" * length
        found = [number for number in range(pages) if kept.known(number)]
        assert len(found) <= most
        assert found == [*range(pages)][pages - len(found) :]
        assert found or not most

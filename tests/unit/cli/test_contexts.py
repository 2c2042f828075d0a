"""The file of contexts, which may hold tokens: what is wrong with it is told without its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambda_builder.cli.contexts import Context, read_contexts
from lambda_builder.cli.exits import Failure

TOKEN = "s3cret"
URL = "url: http://localhost:8080"


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def make(text: str) -> None:
        path = tmp_path / "lambda-builder" / "config.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return make


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"contexts: {{a: {{token: '{TOKEN}", "it is no YAML at line 1"),
        (f"contexts:\n  a: {{{URL}, token: *{TOKEN}}}", "it is no YAML at line 2"),
        (f"contexts:\n  a: {{{URL}, token: !{TOKEN} x}}", "it is no YAML at line 2"),
        (f"contexts: {{a: {{{TOKEN}: 1, {TOKEN}: 2}}}}", "it is no YAML at line 1"),
        (f'contexts: {{a: {{token: "\\q{TOKEN}"}}}}', "it is no YAML at line 1"),
        (f"{TOKEN}\0", "it is no YAML"),
        (TOKEN, "it has no `contexts` with a name for each"),
        (f"contexts: {TOKEN}", "it has no `contexts` with a name for each"),
        (f"contexts: {{a: {TOKEN}}}", "each context has url, maybe token_file or token"),
        (f"contexts: {{a: {{{URL}, {TOKEN}}}}}", "each context has url, maybe token_file or token"),
        (f"contexts: {{a: {{token: {TOKEN}}}}}", "each context has url, maybe token_file or token"),
        (f"contexts: {{a: {{{URL}, token: [{TOKEN}]}}}}", "url, token_file and token are texts"),
        (f"current: {TOKEN}\ncontexts: {{a: {{{URL}}}}}", "`current` names none of its contexts"),
        ("[" * 5000 + TOKEN, "it is no YAML"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_without_its_text(write, text, reason) -> None:
    write(text)
    with pytest.raises(Failure) as caught:
        read_contexts()
    assert reason in caught.value.message
    assert TOKEN not in caught.value.message


def test_a_file_that_is_none_or_empty_holds_no_contexts_and_a_good_one_its_own(write) -> None:
    assert read_contexts().contexts == {}
    write("")
    assert read_contexts().contexts == {}
    write(f"current: a\ncontexts: {{a: {{{URL}, token: {TOKEN}}}}}")
    read = read_contexts()
    assert (read.current, read.contexts) == (
        "a",
        {"a": Context("http://localhost:8080", None, TOKEN)},
    )

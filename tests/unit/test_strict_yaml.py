"""What libyaml reads is what PyYAML's own parser reads, and what is wrong is told alike."""

from __future__ import annotations

import pytest
import yaml

from lambda_builder import strict_yaml

TEXTS = (
    "",
    "a: {b: [1, 2.5, ~, yes, 2026-11-25, 0x1f, '1']}\nc: |\n  text\n",
    "one: &one {a: 1}\ntwo: *one\nthree: {<<: *one, b: 2}\n",
    "- &itself [*itself]\n",
    "a: 1\nb: {c: 1, c: 2}\n",
    "- {a: 1, 'a': 2}\n",
    "a: [1\nb: 2\n",
    "a:\n\t- 1\n",
    "--- 1\n--- 2\n",
    "a: !!python/object:os.system {}\n",
    "a: *nowhere\n",
    "a: 1\n b: 2\n",
    "a: \x07\n",
    "[" * 100_000,
)


def outcome(text: str) -> str:
    try:
        return repr(strict_yaml.load(text, "the-file"))
    except (yaml.YAMLError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
def test_both_parsers_read_the_same_and_tell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [outcome(text) for text in TEXTS]
    monkeypatch.setattr(strict_yaml, "_QUICK", yaml.SafeLoader)
    assert found == [outcome(text) for text in TEXTS]
    assert sum("the key " in each for each in found) == 2
    assert sum("the-file" in each for each in found) >= 6

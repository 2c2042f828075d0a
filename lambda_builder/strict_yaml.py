"""YAML that an operator wrote, read so that nothing in it is dropped without a word."""

from __future__ import annotations

from typing import Any

import yaml

_QUICK: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, ten times as fast, where PyYAML was built with it."""


def load(text: str, name: str) -> Any:
    """Return the one document in ``text``; ``name`` is told with the place of an error.

    Raises ``yaml.YAMLError``, also for a key that is there twice, and ``RecursionError``.
    """
    try:
        return _load(_QUICK(text))
    except yaml.YAMLError:  # of which libyaml tells less
        telling = yaml.SafeLoader(text)
        telling.name = name
        return _load(telling)


def _load(loader: Any) -> Any:
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_twins(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_twins(root: yaml.Node) -> None:
    """Refuse a key that is there twice, of which YAML would drop one without a word."""
    left, known = [root], {id(root)}
    while left:
        node = left.pop()
        if isinstance(node, yaml.MappingNode):
            _refuse_twin_keys(node)
            below = [each for pair in node.value for each in pair]
        else:
            below = node.value if isinstance(node, yaml.SequenceNode) else []
        left += (each for each in below if id(each) not in known)  # an alias is its anchor's node
        known |= {id(each) for each in below}


def _refuse_twin_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)

"""YAML that an operator wrote, read so that nothing in it is dropped without a word."""

from __future__ import annotations

from typing import Any

import yaml


def load(text: str, name: str) -> Any:
    """Return the one document in ``text``; ``name`` is told with the place of an error.

    Raises ``yaml.YAMLError``, also for a key that is there twice, and ``RecursionError``.
    """
    loader = _StrictLoader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would drop one without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.composer.ComposerError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return node

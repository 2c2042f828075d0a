"""Record what AsyncAPI 3 asks for: ``python tests/unit/record_asyncapi_schema.py FILE``.

FILE is ``schemas/3.0.0-without-$id.json`` of the npm package ``@asyncapi/specs`` (6.11.1,
Apache-2.0). Left out are texts, and bindings of protocols other than HTTP.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).with_name("asyncapi-3.0.0.json")
_TEXTS = ("description", "examples", "title", "markdownDescription")
_OTHERS = re.compile(r"bindings-(?!http-)|extensions-|avro|openapiSchema")


def pruned(node: Any, *, named: bool = False) -> Any:
    """Return a schema without its texts; ``named``: the keys are names, not keywords."""
    if isinstance(node, list):
        return [pruned(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: True
        if named and _OTHERS.match(key)
        else pruned(value, named=key in ("properties", "definitions", "patternProperties"))
        for key, value in node.items()
        if named or key not in _TEXTS
    }


if __name__ == "__main__":
    schema = json.loads(Path(sys.argv[1]).read_text())
    RECORDED.write_text(json.dumps(pruned(schema), separators=(",", ":")) + "\n")

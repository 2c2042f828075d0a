"""Write the parts of the pages that the code says: ``python docs/reference.py``, or ``make docs``.

A part stands between the comments ``.. generated: NAME`` and ``.. end of NAME``; the rest of a page
is written by hand. A test holds the pages to what this would write.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from lambda_builder import advice, settings
from lambda_builder.cli.commands import main as command_line
from lambda_builder.errors import FailureReason
from lambda_builder.journal import NoJournal
from lambda_builder.pipeline.collector import PipelineCollector
from lambda_builder.pipeline.stats import Stats
from lambda_builder.problems import KINDS
from lambda_builder.settings import Settings, model
from lambda_builder.telemetry.metrics import Metrics

FOLDER = Path(__file__).parent
_PART = re.compile(r"(\.\. generated: (\w+)\n\n).*?(\.\. end of \2\n)", re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINE = 100
_MOST_VALUES = 20


def main() -> None:
    """Rewrite the pages."""
    for page, text in pages().items():
        page.write_text(text)


def pages() -> Mapping[Path, str]:
    """Return each page that has generated parts, with these as they have to be."""
    texts = {page: page.read_text() for page in sorted(FOLDER.glob("*.rst"))}
    return {page: _PART.sub(_rewritten, text) for page, text in texts.items() if _PART.search(text)}


def _rewritten(found: re.Match[str]) -> str:
    lines = "\n".join(PARTS[found[2]]())
    return f"{found[1]}{lines}\n\n{found[3]}"


def _table(widths: str, *rows: Iterable[str]) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in rows:
        for bullet, cell in zip(("* - ", *["  - "] * 9), row, strict=False):
            wrapped = textwrap.wrap(
                cell or "(empty)", _LINE - 7, break_long_words=False, break_on_hyphens=False
            )
            yield f"   {bullet}{wrapped[0]}"
            yield from (f"       {line}" for line in wrapped[1:])


def _rst(text: str) -> str:
    """Return a text with code in backticks, as here or as in Markdown, for these pages."""
    return re.sub(r"docs/([\w-]+\.rst)", r"`\1 <\1>`_", _CODE.sub(r"``\1``", text))


# -- settings ------------------------------------------------------------------------------------


def _settings() -> Iterator[str]:
    meanings = _docstrings(Path(model.__file__), "Settings")
    rows = [
        (f"``{name.upper()}``", _default(field.get_default()), _setting(meanings[name], field))
        for name, field in Settings.model_fields.items()
    ]
    return _table("28 22 50", ("variable", "default", "meaning"), *rows)


def _setting(meaning: str, field: Any) -> str:
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    if any(f"``{value}``" not in meaning for value in choices):
        meaning += f" One of {', '.join(f'``{value}``' for value in choices)}."
    return _rst(f"{meaning} {_range(field.metadata)}".rstrip())


def _range(limits: Iterable[Any]) -> str:
    known = {name: _number(getattr(each, name)) for each in limits for name in ("gt", "ge", "le")
             if hasattr(each, name)}  # fmt: skip
    least = f"Over {known['gt']}" if "gt" in known else f"At least {known.get('ge')}"
    if "le" in known:
        return f"{least}, at most {known['le']}."
    return f"{least}." if known else ""


def _default(value: Any) -> str:
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(value)
    if value is None or value == "":
        return "(empty)"
    return f"``{str(value).lower() if isinstance(value, bool) else _number(value)}``"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _docstrings(module: Path, name: str) -> dict[str, str]:
    """Return what stands below the fields of a class."""
    [found] = [
        node
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    return {
        field.target.id: " ".join(str(said.value.value).split())
        for field, said in zip(found.body, found.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
    }


# -- metrics -------------------------------------------------------------------------------------


def _metrics() -> Iterator[str]:
    metrics = Metrics(event_types=settings.BUILD_EVENT_TYPES + settings.COMMAND_EVENT_TYPES)
    metrics.registry.register(PipelineCollector(Stats, NoJournal()))
    rows = [
        (
            f"``{family.name}{'_total' if family.type == 'counter' else ''}``",
            f"{_rst(family.documentation)}{_labels(family)} ({family.type})",
        )
        for family in metrics.registry.collect()
        if not family.name.startswith(("process_", "python_"))
    ]
    return _table("40 60", ("series", "what it says"), *sorted(rows))


def _labels(family: Any) -> str:
    values: dict[str, dict[str, None]] = {}
    for sample in family.samples:
        for label, value in sample.labels.items():
            if label != "le":
                values.setdefault(label, {})[value] = None
    said = [
        f"``{label}``" + (f" ({', '.join(known)})" if len(known) <= _MOST_VALUES else "")
        for label, known in values.items()
    ]
    return f" By {' and '.join(said)}." if said else ""


# -- errors --------------------------------------------------------------------------------------


def _refusals() -> Iterator[str]:
    rows = [
        (f"``{code}``", str(kind.status), _rst(advice.REFUSALS[code]))
        for code, kind in KINDS.items()
    ]
    return _table("28 10 62", ("code", "status", "what to do"), *rows)


def _attempts() -> Iterator[str]:
    rows = [(f"``{reason}``", _rst(advice.ATTEMPTS[reason])) for reason in FailureReason]
    return _table("28 72", ("error code", "what to do"), *rows)


# -- the command line ----------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    yield from _help(command_line, "lambda-builder", None)


def _help(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    how = {**command.context_settings, "terminal_width": 88}
    context = click.Context(command, info_name=name, parent=parent, **how)
    path = context.command_path
    if parent is not None:
        yield from (path, ("-" if parent.parent is None else "~") * len(path), "")
    yield from ("::", "")
    yield from (f"    {line}".rstrip() for line in command.get_help(context).splitlines())
    yield ""
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if found is not None and not found.hidden:
                yield from _help(found, each, context)


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "settings": _settings,
    "metrics": _metrics,
    "refusals": _refusals,
    "attempts": _attempts,
    "commands": _commands,
}

if __name__ == "__main__":
    main()

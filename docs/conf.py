"""How Sphinx makes HTML of these pages: ``make docs``. They read well without it, too."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import lambda_builder

project = "lambda-builder"
author = "the lambda-builder authors"
version = release = lambda_builder.__version__
html_theme = "furo"
html_title = f"lambda-builder {version}"
html_static_path: list[str] = []
html_copy_source = False
html_show_copyright = False
exclude_patterns = ["_build"]
nitpicky = True
highlight_language = "none"  # what a block is in, it says itself


def setup(app: Sphinx) -> dict[str, bool]:
    """Let links between the pages be as other readers of them need it."""
    app.connect("doctree-read", _link_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _link_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Make links to ``page.rst`` of these folder lead to pages; those that lead nowhere fail."""
    here = Path(app.env.docname).parent
    for link in list(doctree.findall(nodes.reference)):
        target, _, place = link.get("refuri", "").partition("#")
        if "://" in target or not target.endswith(".rst"):
            continue
        page = _normal(here / target).removesuffix(".rst")
        pending = addnodes.pending_xref(
            "",
            *link.children,
            refdomain="std",
            reftype="ref" if place else "doc",
            reftarget=place or f"/{page}",
            refdoc=app.env.docname,
            refexplicit=True,
            refwarn=True,
        )
        link.replace_self(pending)


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)

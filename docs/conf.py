"""How Sphinx makes HTML of these pages: ``make docs``. They read well without it, too."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

import lambda_builder

_LOGGER = logging.getLogger(__name__)

project = "lambda-builder"
author = "the lambda-builder authors"
version = release = lambda_builder.__version__
html_theme = "furo"
html_title = f"lambda-builder {version}"
html_static_path: list[str] = []
html_copy_source = False
html_show_copyright = False
exclude_patterns = ["_build", "model"]
nitpicky = True
highlight_language = "none"  # what a block is in, it says itself


def setup(app: Sphinx) -> dict[str, bool]:
    """Let links be as other readers of the pages need them: paths from where a page is."""
    app.connect("doctree-read", _link_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _link_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Make links to files lead to their pages; what has none is only named."""
    for link in list(doctree.findall(nodes.reference)):
        path, _, place = link.get("refuri", "").partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            continue
        if not (Path(app.srcdir) / path).exists():
            _LOGGER.warning("there is no %s to link to", path, location=link)
        page = Path(path).with_suffix("").name
        if path == f"{page}.rst" or path == "../CHANGES.rst":
            link.replace_self(_reference(app.env.docname, page.lower(), place, link))
        else:
            link.replace_self(link.children)


def _reference(here: str, page: str, place: str, link: nodes.reference) -> nodes.Element:
    """Lead to a page, or a place there; what is named by its file is shown by its title."""
    return addnodes.pending_xref(
        "",
        *link.children,
        refdomain="std",
        reftype="ref" if place else "doc",
        reftarget=place or f"/{page}",
        refdoc=here,
        refexplicit=bool(place) or not link.astext().endswith(".rst"),
        refwarn=True,
    )

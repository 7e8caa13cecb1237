"""Sphinx extension: writes the reference of tasks, commands, errors and modules from the code, before it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from .commands import command_pages, overview_of_commands
from .outer_pages import lead_links
from .python_api import instrument_fields, overview_of_modules, python_pages, table_of_errors
from .tasks import overview_of_slots, task_pages

FOLDER = Path("reference", "generated")


def pages() -> dict[str, str]:
    """Return path below the folder of the reference -> text; ``.inc`` files are parts of other pages."""
    parts = {
        "tables/commands.inc": overview_of_commands(),
        "tables/errors.inc": table_of_errors(),
        "tables/instrument.inc": instrument_fields(),
        "tables/modules.inc": overview_of_modules(),
        "tables/slots.inc": overview_of_slots(),
        **{f"commands/{name}": lines for name, lines in command_pages().items()},
        **{f"python/{name}": lines for name, lines in python_pages().items()},
        **{f"tasks/{name}": lines for name, lines in task_pages().items()},
    }
    return {name: "\n".join(lines) + "\n" for name, lines in parts.items()}


def write_pages(app: Sphinx) -> None:
    """Write what changed, and remove what is no longer there; the rest keeps its time and is not read again."""
    folder = Path(app.srcdir) / FOLDER
    wanted = {folder / name: text for name, text in pages().items()}
    for path in set(folder.rglob("*.*")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def search_exactly(app: Sphinx, doctree: nodes.document) -> None:
    """Keep Sphinx from taking any ``n`` or ``x`` in a docstring for the attribute of that name of some class."""
    for reference in doctree.findall(pending_xref):
        if reference.get("refdomain") == "py":
            reference.attributes.pop("refspecific", None)


def find_by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Lead a reference to a class or function to the place where it is described, wherever it is defined."""
    if node.get("refdomain") != "py":
        return None
    last = node["reftarget"].rpartition(".")[2]
    domain = env.domains.python_domain
    found = [
        name
        for name, entry in domain.objects.items()
        if name.rpartition(".")[2] == last and entry.objtype in ("class", "exception", "function") and not entry.aliased
    ]
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, content)


class WholeAttributes:
    """Keeps napoleon from taking what stands before a colon in the docstring of an attribute for its type."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def before(self, app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        """Remember the docstring; autodoc treats one at a time."""
        self._lines = list(lines)

    def after(self, app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        """Put the docstring of an attribute back."""
        if what in ("attribute", "data", "property"):
            lines[:] = self._lines


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", lead_links)
    attributes = WholeAttributes()
    app.connect("autodoc-process-docstring", attributes.before, priority=100)
    app.connect("autodoc-process-docstring", attributes.after, priority=900)
    app.connect("doctree-read", search_exactly)
    app.connect("missing-reference", find_by_last_name)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

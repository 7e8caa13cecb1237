"""Pages that lie outside the documentation folder, such as the README: shown as pages, and links to them led there."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

DOC = Path(__file__).resolve().parents[2]
ROOT = DOC.parent
SHOWN = {"index": "README.md", "contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
"""Page -> the file outside that it begins with."""

LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")


def lead_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the text of an outer file in front of the page that shows it, and lead links between pages to pages."""
    place = Path(app.env.doc2path(name)).parent
    if app.env.doc2path(name).suffix != ".md":
        return
    text = _led(source[0], read_in=place, shown_in=place)
    if name in SHOWN:
        text = f"{_led((ROOT / SHOWN[name]).read_text(), read_in=ROOT, shown_in=place)}\n{text}"
        app.env.note_dependency(str(ROOT / SHOWN[name]))
    source[0] = text


def _led(text: str, *, read_in: Path, shown_in: Path) -> str:
    """Return ``text`` with its relative links, made for ``read_in``, leading from ``shown_in``."""
    pages = {ROOT / outer: DOC / f"{page}.md" for page, outer in SHOWN.items()}

    def led(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(read_in / found[2]))
        return found[1] + os.path.relpath(pages.get(target, target), shown_in)

    return LINK.sub(led, text)

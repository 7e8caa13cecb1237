"""A package that is installed for as long as a block lasts, to test what is found through entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path
from textwrap import dedent

from firstlight.framework import known_tasks


@contextmanager
def installed_package(folder: str | Path, name: str, source: str, *, tasks: Mapping[str, str]) -> Iterator[Path]:
    """Install a package of one module for the duration of a ``with`` block.

    Parameters
    ----------
    folder
        An empty folder; it stands in for site-packages.
    name
        Name of the package.
    source
        What is in its ``__init__.py``.
    tasks
        Short name -> class in the package, for the entry points.

    Yields
    ------
    The folder of the package.
    """
    site = Path(folder)
    package = site / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(dedent(source), encoding="utf-8")
    about = site / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    entries = "".join(f"{short} = {name}:{cls}\n" for short, cls in tasks.items())
    (about / "entry_points.txt").write_text(f"[firstlight.tasks]\n{entries}", encoding="utf-8")
    place = str(site.resolve())
    sys.path.append(place)
    _look_again()
    try:
        yield package
    finally:
        sys.path.remove(place)
        for module in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
            del sys.modules[module]
        _look_again()


def _look_again() -> None:
    invalidate_caches()
    known_tasks.cache_clear()

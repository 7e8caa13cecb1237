"""Pages of the Python interface: autodoc directives for each module, and a table of the errors."""

from __future__ import annotations

import inspect
import re
import sys
from itertools import groupby
from types import ModuleType

from firstlight import errors, framework
from firstlight.cli.exit_codes import exit_code_of
from firstlight.images import instrument_config

from .rst import Lines, heading, link, summary, table
from .settings import nested_configs, settings_table
from .tasks import modules_of

PACKAGES = (
    "errors",
    "images",
    "algorithms",
    "instruments",
    "refcats",
    "repo",
    "execution",
    "simulation",
    "qa",
    "testing",
)
"""Packages whose modules are described one by one; `firstlight.framework` is described as a whole."""

PLACE = "/reference/generated/python"

HIDDEN = "model_config, model_post_init"
"""What pydantic adds to a class and nobody calls."""


ORPHAN = [":orphan:", ""]
"""The pages are found from a table: hundreds of them in the navigation of every page would help nobody."""


def python_pages() -> dict[str, Lines]:
    """Return file name -> text of a page, for each public module."""
    pages = {f"{module.__name__}.rst": [*ORPHAN, *_module(module)] for module in _modules()}
    return {"firstlight.framework.rst": [*ORPHAN, *_framework()], **pages}


def overview_of_modules() -> Lines:
    """Return a table for each package: its modules, and what each of them is for."""
    lines: Lines = []
    for package, modules in groupby([framework, *_modules()], key=lambda module: module.__name__.split(".")[1]):
        rows = [(f":doc:`{_title(each)} <{PLACE}/{each.__name__}>`", summary(each)) for each in modules]
        lines += [f".. rubric:: {package}", "", *table(("module", "what it is for"), rows, widths=(34, 66))]
    return lines


def _modules() -> list[ModuleType]:
    found = (module for package in PACKAGES for module in modules_of(f"firstlight.{package}"))
    return [module for module in found if _defines_something(module)]


def _title(module: ModuleType) -> str:
    return module.__name__.removeprefix("firstlight.")


def _defines_something(module: ModuleType) -> bool:
    return any(
        getattr(value, "__module__", "") == module.__name__ and name[0] != "_" for name, value in vars(module).items()
    )


def _module(module: ModuleType) -> Lines:
    options = ["   :members:", "   :undoc-members:", "   :show-inheritance:", f"   :exclude-members: {HIDDEN}", ""]
    return [*heading(_title(module)), f".. automodule:: {module.__name__}", *options]


def _framework() -> Lines:
    lines = [*heading("framework"), ".. automodule:: firstlight.framework", "   :no-members:", ""]
    for name in framework.__all__:
        value = getattr(framework, name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: {name}", "   :members:", f"   :exclude-members: {HIDDEN}", ""]
        elif inspect.isroutine(value):
            lines += [f".. autofunction:: {name}", ""]
        else:
            # Only where a constant is defined does its docstring stand below it.
            lines += [f".. autodata:: {_home_of(name)}.{name}", "   :no-value:", ""]
    return lines


def _home_of(name: str) -> str:
    """Return the module of the framework that assigns the constant ``name``."""
    assignment = re.compile(rf"^{name}\b.*=", flags=re.MULTILINE)
    homes = (module.__name__ for module in modules_of("firstlight.framework") if hasattr(module, name))
    return next(home for home in homes if assignment.search(inspect.getsource(sys.modules[home])))


def known_errors() -> dict[type[errors.FirstlightError], int]:
    """Return every error class -> its depth in the tree, each below the one it derives from."""
    found: dict[type[errors.FirstlightError], int] = {}

    def add(error: type[errors.FirstlightError], depth: int) -> None:
        found[error] = depth
        for below in vars(errors).values():
            if inspect.isclass(below) and error in below.__bases__:
                add(below, depth + 1)

    add(errors.FirstlightError, 0)
    return found


def table_of_errors() -> Lines:
    """Return the tree of errors with their exit codes."""
    rows = [
        (f"{'— ' * (depth - 1)}{link(error)}", str(exit_code_of(error.__new__(error))), summary(error))
        for error, depth in known_errors().items()
        if depth > 0
    ]
    return table(("error", "exit code", "when"), rows, widths=(42, 12, 46))


def instrument_fields() -> Lines:
    """Return what ``instrument.yaml`` may say: tables of its fields."""
    first, *below = nested_configs(instrument_config.InstrumentConfig)
    lines = [*settings_table(first)]
    for config in below:
        lines += [f".. rubric:: {config.__name__}", "", summary(config), "", *settings_table(config)]
    return lines

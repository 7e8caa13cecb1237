"""Every task can be found by its name, and every setting is explained."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from functools import cache

import pytest

from firstlight.framework import Config, Task

from .source_files import ROOT, modules, within

HOLDS_TASKS = ("firstlight.tasks", "firstlight.instruments")
HAS_A_UNIT = re.compile(r"(^|_)(radius|size|width|length|distance|spacing|separation|offset|time|fwhm|epoch|mag)(_|$)")


@cache
def classes(kind: type) -> dict[str, type]:
    """Every class of this kind that the package defines, by name."""
    found: dict[str, type] = {}
    for module in (name for name in modules() if any(within(name, package) for package in HOLDS_TASKS)):
        for name, value in vars(importlib.import_module(module)).items():
            if inspect.isclass(value) and issubclass(value, kind) and value.__module__ == module:
                assert name not in found, f"two classes are called {name}"
                found[name] = value
    return found


def test_entry_points_are_the_tasks_that_can_be_made():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["firstlight.tasks"]
    concrete = {
        name: f"{task.__module__}:{name}" for name, task in classes(Task).items() if not inspect.isabstract(task)
    }
    assert listed == concrete


def fields() -> list[tuple[str, str, str]]:
    return [
        (config.__name__, name, field.description or "")
        for config in classes(Config).values()
        for name, field in config.model_fields.items()
        if name in config.__annotations__
    ]


@pytest.mark.parametrize(("config", "name", "description"), fields())
def test_every_setting_is_explained_in_a_sentence(config, name, description):
    assert re.search(r"\w.*[.;]?$", description), f"{config}.{name} has no docstring"
    assert description.rstrip().endswith("."), f"the docstring of {config}.{name} is not a sentence"


@pytest.mark.parametrize(("config", "name", "description"), fields())
def test_a_setting_that_measures_something_names_its_unit(config, name, description):
    annotation = str(classes(Config)[config].model_fields[name].annotation)
    if HAS_A_UNIT.search(name) and ("float" in annotation or "int" in annotation):
        assert re.search(r"\[[^\]]+\]|in units of|in pixels", description), (
            f"{config}.{name}: write the unit in brackets, such as [pixel]"
        )


@pytest.mark.parametrize(
    "task", [t for t in classes(Task).values() if not inspect.isabstract(t)], ids=lambda t: t.__name__
)
def test_a_task_can_be_made_with_its_defaults(task):
    made = task()

    assert made.config == task.config_class()

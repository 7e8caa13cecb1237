"""Every command, task, error and public name is in the reference, which is made from the code."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from functools import cache

import click
import pytest

from firstlight import errors, framework
from firstlight.cli.exit_codes import exit_code_of
from firstlight.cli.main import COMMANDS, cli
from firstlight.framework import Config, Task

from .source_files import ROOT
from .test_tasks import classes


@cache
def reference() -> dict[str, str]:
    """The pages that the documentation is built with."""
    sys.path.insert(0, str(ROOT / "doc" / "_extensions"))
    try:
        return importlib.import_module("reference_from_code").pages()
    finally:
        sys.path.pop(0)


def below(folder: str) -> str:
    return "\n".join(text for name, text in reference().items() if name.startswith(f"{folder}/"))


def options(command: click.Command) -> list[str]:
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return [
        *(word for parameter in command.params if isinstance(parameter, click.Option) for word in parameter.opts),
        *(word for each in inner for word in options(each)),
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference_with_its_options(name):
    page = reference()[f"commands/{name}.rst"]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None

    assert page.startswith(f"firstlight {name}\n")
    assert f"`firstlight {name} <" in reference()["tables/commands.inc"]
    assert not [option for option in options(command) if not re.search(rf"{re.escape(option)}\b", page)]


@pytest.mark.parametrize("name", classes(Task))
def test_every_task_is_in_the_reference_with_its_settings(name):
    page = reference()[f"tasks/{classes(Task)[name].__module__.removeprefix('firstlight.')}.rst"]
    entry = page.partition(f".. autoclass:: {name}(")[2].partition("\n.. ")[0]

    assert entry
    assert not [field for field in classes(Task)[name].config_class.model_fields if f"``{field}``" not in entry]


@pytest.mark.parametrize("name", classes(Config))
def test_every_config_is_in_the_reference(name):
    assert f"``{name}``" in below("tasks") or f"autoclass:: {name}\n" in below("tasks")


def test_every_error_is_in_the_reference_with_its_exit_code():
    rows = re.findall(r"errors\.(\w+)`\n +- (\d+)\n", reference()["tables/errors.inc"])
    known = {
        name: error
        for name, error in vars(errors).items()
        if inspect.isclass(error) and issubclass(error, errors.FirstlightError) and error is not errors.FirstlightError
    }

    assert dict(rows) == {name: str(exit_code_of(error.__new__(error))) for name, error in known.items()}
    assert len(rows) == len(known)


@pytest.mark.parametrize("name", framework.__all__)
def test_every_public_name_of_the_framework_is_in_the_reference(name):
    assert re.search(rf":: (?:[\w.]+\.)?{name}$", reference()["python/firstlight.framework.rst"], flags=re.MULTILINE)

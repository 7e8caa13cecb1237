"""The documentation names what there is, and its links lead somewhere."""

from __future__ import annotations

import inspect
import re

import click
import pytest

from firstlight import errors
from firstlight.cli.exit_codes import exit_code_of
from firstlight.cli.main import COMMANDS, cli
from firstlight.framework import Layer, Task, build_config
from firstlight.tasks.single_frame import SingleFrameConfig

from .source_files import ROOT
from .test_tasks import classes

REFERENCE = ROOT / "doc" / "reference"
PAGES = [*sorted((ROOT / "doc").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
SETTING = re.compile(r"-c (?!label:)([a-z_]+:[\w.]+=\S+)")


def help_of(name: str) -> str:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command.help or ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert not broken


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference(name):
    assert f"`firstlight {name}`" in (REFERENCE / "commands.md").read_text()


@pytest.mark.parametrize("name", classes(Task))
def test_every_task_is_in_the_reference(name):
    assert f"`{name}`" in (REFERENCE / "tasks.md").read_text()


def test_every_error_is_in_the_reference_with_its_exit_code():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d) \|", (REFERENCE / "errors.md").read_text(), flags=re.MULTILINE))
    known = {
        name: error
        for name, error in vars(errors).items()
        if inspect.isclass(error) and issubclass(error, errors.FirstlightError) and error is not errors.FirstlightError
    }

    assert rows == {name: str(exit_code_of(error.__new__(error))) for name, error in known.items()}


SHOWN = {"help of process": help_of("process"), **{page.name: page.read_text() for page in PAGES}}


def problem_with(setting):
    try:
        build_config(SingleFrameConfig, [Layer.from_assignment(setting)])
    except errors.ConfigError as error:
        return str(error).split(" (from")[0]
    return ""


OWN_TASK = re.compile(r"^class \w+Task\(", flags=re.MULTILINE)
"""A page that defines a task shows settings of it, which only its reader's package has."""


@pytest.mark.parametrize("place", [name for name, page in SHOWN.items() if not OWN_TASK.search(page)])
def test_every_setting_that_is_shown_can_be_given_or_its_error_is_shown(place):
    for setting in SETTING.findall(SHOWN[place]):
        assert problem_with(setting.rstrip("`').,;")) in SHOWN[place]

"""Pages link to what there is, and show settings that can be given."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from firstlight import errors
from firstlight.cli.candidate_steps import AfterwardsConfig
from firstlight.cli.difference import difference
from firstlight.cli.process import process
from firstlight.framework import Layer, build_config
from firstlight.tasks.difference_pair import DifferencePairConfig
from firstlight.tasks.single_frame import SingleFrameConfig

from .pages import DOC, blocks, pages

LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
SETTING = re.compile(r"-c (?!label:)([a-z_]+:[\w.]+=\S+)")
OWN_TASK = re.compile(r"^class \w+Task\(", flags=re.MULTILINE)
"""A page that defines a task shows settings of it, which only its reader's package has."""

SHOWN = {str(page.relative_to(DOC.parent)): page.read_text() for page in pages()}
each_page = pytest.mark.parametrize("name", SHOWN)


@each_page
def test_links_between_pages_lead_somewhere(name):
    folder = (DOC.parent / name).parent

    assert not [link for link in LINK.findall(SHOWN[name]) if not (folder / link).exists()]


@each_page
def test_a_block_says_what_it_is(name):
    assert not [block.line for block in blocks(SHOWN[name]) if not block.language]


@each_page
def test_parts_of_files_that_are_shown_can_be_read(name):
    for block in blocks(SHOWN[name]):
        if block.file:
            continue  # a whole file is read by the commands of the page, and may be wrong on purpose
        if block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            list(yaml.safe_load_all(block.text))


def prose(page):
    """Return ``page`` without its blocks, which are run."""
    return re.sub(r"^(`{3,}).*?^\1$", "", page, flags=re.DOTALL | re.MULTILINE)


def problem_with(setting):
    try:
        label = re.split(r"[:.=]", setting, maxsplit=1)[0]
        follows = label in AfterwardsConfig.model_fields
        pipeline = DifferencePairConfig if label == "difference" else SingleFrameConfig
        config_class = AfterwardsConfig if follows else pipeline
        build_config(config_class, [Layer.from_assignment(setting)])
    except errors.ConfigError as error:
        return str(error).split(" (from")[0]
    return ""


HELP = {"help of process": process.help or "", "help of difference": difference.help or ""}
ALL_SHOWN = {**HELP, **{name: prose(page) for name, page in SHOWN.items()}}


@pytest.mark.parametrize("place", [name for name in ALL_SHOWN if not OWN_TASK.search(SHOWN.get(name, ""))])
def test_every_setting_that_is_shown_can_be_given_or_its_error_is_shown(place):
    for setting in SETTING.findall(ALL_SHOWN[place]):
        assert problem_with(setting.rstrip("`').,;")) in ALL_SHOWN[place]

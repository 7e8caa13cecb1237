"""Building configs from settings as a user writes them, and a package installed for one test."""

from contextlib import ExitStack
from textwrap import dedent

import pytest

from firstlight.errors import ConfigError, UserError
from firstlight.framework import Layer, Pipeline, build_config
from firstlight.testing import installed_package
from firstlight.testing.arithmetic import NightConfig

ARITHMETIC = "firstlight.testing.arithmetic"


def layers_of(*settings):
    """Make a layer of each text (``label:path=value``) or mapping."""
    return [
        Layer.from_assignment(given) if isinstance(given, str) else Layer.from_mapping(given, origin="the test")
        for given in settings
    ]


@pytest.fixture
def built():
    """Return a function that builds a NightConfig, or another one, from texts and mappings."""

    def build(*settings, config_class=NightConfig):
        return build_config(config_class, layers_of(*settings))

    return build


@pytest.fixture
def refused():
    """Return a function that gives the lines of the error that settings lead to."""

    def refuse(*settings, config_class=NightConfig):
        with pytest.raises(ConfigError) as raised:
            build_config(config_class, layers_of(*settings))
        return str(raised.value).splitlines()

    return refuse


@pytest.fixture
def installed(tmp_path):
    """Return a function that installs a package of one module, with entry points, for this test."""
    with ExitStack() as stack:

        def install(package, source, tasks):
            site = tmp_path / f"site-{package}"
            stack.enter_context(installed_package(site, package, source, tasks=tasks))
            return site

        yield install


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes YAML files into a folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_files(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text), encoding="utf-8")

    return write_files


@pytest.fixture
def refused_pipeline(write):
    """Return a function that gives the lines of the error to which a pipeline file leads."""

    def refuse(text="", *settings, load="main.yaml", **files):
        write(main=text, **files)
        with pytest.raises(UserError) as raised:
            Pipeline.load(load).build(*layers_of(*settings))
        return str(raised.value).splitlines()

    return refuse

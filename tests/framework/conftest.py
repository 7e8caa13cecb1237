"""Building configs from settings as a user writes them, and a package installed for one test."""

import sys
from importlib import invalidate_caches
from pathlib import Path
from textwrap import dedent

import pytest

from firstlight.errors import ConfigError
from firstlight.framework import Layer, build_config, known_tasks
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
def installed(tmp_path, monkeypatch):
    """Return a function that installs a package of one module, with entry points, for this test."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    packages = []

    def install(package, source, tasks):
        (site / package).mkdir()
        (site / package / "__init__.py").write_text(dedent(source))
        about = site / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {package}:{target}" for name, target in tasks.items()]
        (about / "entry_points.txt").write_text("\n".join(["[firstlight.tasks]", *lines]) + "\n")
        packages.append(package)
        invalidate_caches()
        known_tasks.cache_clear()
        return Path(site)

    yield install
    for package in packages:
        sys.modules.pop(package, None)
    monkeypatch.undo()
    known_tasks.cache_clear()

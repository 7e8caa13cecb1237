"""Imports point down only, and outside libraries stay where they belong."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .source_files import ROOT, imports, modules, within

FLOORS = [
    "cli",
    "testing | training",
    "instruments",
    "execution | tasks | qa",
    "algorithms | simulation | refcats | repo",
]
FLOORS += ["images", "framework | kernels", "errors"]

FORBIDDEN = {
    "firstlight.errors": ("numpy", "astropy", "scipy", "pydantic", "structlog"),
    "firstlight.framework": ("numpy", "astropy", "scipy", "numba", "firstlight.kernels"),
    "firstlight.algorithms": ("pydantic", "structlog", "astropy.io", "firstlight.framework", "firstlight.simulation"),
    "firstlight.tasks": ("firstlight.simulation", "firstlight.repo", "astropy.io"),
    "firstlight.kernels": ("scipy", "astropy", "pydantic", "firstlight.errors"),
}
"""Package -> what none of its modules may import itself."""

ONLY_IN = {
    "numba": ("firstlight.kernels",),
    "click": ("firstlight.cli",),
    "rich": ("firstlight.cli",),
    "matplotlib": ("firstlight.qa",),
    "sqlalchemy": ("firstlight.repo",),
    "parsl": ("firstlight.execution.parsl",),
    "jinja2": ("firstlight.execution.report_page", "firstlight.qa.night_page", "firstlight.qa.page"),
}
"""Library -> packages that may import it."""


def contract() -> dict[str, object]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [only] = settings["tool"]["importlinter"]["contracts"]
    return only


def test_the_layers_are_those_of_the_design_and_leave_no_way_around():
    assert contract()["layers"] == FLOORS
    assert contract()["exhaustive"] is True
    assert not {"ignore_imports", "exhaustive_ignores", "unmatched_ignore_imports_alerting"} & set(contract())


def test_imports_point_down_only():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_does_not_import_what_it_must_not_know(package):
    broken = [
        f"{module} imports {name}"
        for module, path in modules().items()
        if within(module, package)
        for name in imports(path)
        if any(within(name, forbidden) for forbidden in FORBIDDEN[package])
    ]
    assert not broken


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_by_its_own_package_only(library):
    broken = [
        module
        for module, path in modules().items()
        if not any(within(module, package) for package in ONLY_IN[library])
        if any(within(name, library) for name in imports(path))
    ]
    assert not broken


def test_the_simulation_knows_nothing_of_the_project_but_its_errors():
    known = {
        name
        for module, path in modules().items()
        if within(module, "firstlight.simulation")
        for name in imports(path)
        if within(name, "firstlight") and not within(name, "firstlight.simulation")
    }
    assert all(within(name, "firstlight.errors") for name in known), known


def test_logging_is_configured_by_the_command_line_and_by_workers_only():
    configuring = [module for module, path in modules().items() if "structlog.configure(" in path.read_text()]

    assert configuring == ["firstlight.cli.logs", "firstlight.execution.worker", "firstlight.training.vet_pool"]

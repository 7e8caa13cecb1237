"""``<stem>_summary.json``: the numbers of one image, how good they are, and what they were made with."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from firstlight.cli.image_job import ImageOutcome
from firstlight.framework import worst
from firstlight.images.atomic import write_text_atomically

PACKAGES = ("firstlight", "numpy", "scipy", "astropy", "sep", "numba", "pyarrow", "pydantic")


def write_summary(outcome: ImageOutcome, path: Path) -> None:
    """Write the summary of one image; a number that is not known is null.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_text_atomically(path, json.dumps(summary_values(outcome), indent=1, allow_nan=False) + "\n")


def summary_values(outcome: ImageOutcome) -> dict[str, object]:
    """Return the summary as plain values for JSON."""
    return {
        "image": outcome.files.path.name,
        "status": outcome.status,
        "failed_pass": outcome.step if outcome.status == "failed" else None,
        "stopped_after": outcome.step if outcome.status == "stopped" else None,
        "error": outcome.error,
        "gate_status": worst(outcome.gates),
        **{name: _finite(value) for name, value in outcome.summary.items()},
        "gates": [gate.to_dict() for gate in outcome.gates],
        "funnels": [funnel.to_dict() for funnel in outcome.funnels],
        "settings": dict(outcome.settings),
        "timing": [asdict(time) for time in outcome.timing],
        "versions": versions(),
    }


def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

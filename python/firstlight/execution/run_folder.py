"""The folder of a RUN: what it was made with, a record of each piece of work, and clearing up what was interrupted."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from firstlight.errors import RepoError
from firstlight.execution.lock import user_name
from firstlight.execution.plan import Plan
from firstlight.execution.work import Record
from firstlight.images.atomic import write_text_atomically

RECORDS = ".quanta"
ABOUT = "run.json"
PACKAGES = ("firstlight", "numpy", "scipy", "astropy", "sep", "numba", "pyarrow", "pydantic", "sqlalchemy")


@dataclass(frozen=True)
class RunFolder:
    """The files of one RUN.

    Parameters
    ----------
    root
        Folder of the repository.
    run
        Name of the RUN collection.
    """

    root: Path
    run: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.root / self.run

    def record_path(self, label: str, data_key: str) -> str:
        """Return where the record of a piece of work goes."""
        name = data_key.replace("=", "-").replace(",", "_").replace("/", "_") or "all"
        return str(self.path / RECORDS / label / f"{name}.json")

    def about(self) -> dict[str, Any]:
        """Return what the run was made with; empty if it never began.

        Raises
        ------
        RepoError
            If the file is damaged.
        """
        path = self.path / ABOUT
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RepoError(f"{path}: cannot be read ({error}); start another run with --new.") from error
        return dict(found)

    def begin(self, plan: Plan, *, command: str) -> None:
        """Write down what the run is made with."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write(
            {
                "run": self.run,
                "status": "running",
                "command": command,
                "pipeline": plan.pipeline,
                "inputs": list(plan.collections),
                "where": plan.where,
                "user": user_name(),
                "host": platform.node(),
                "started": time.time(),
                "versions": versions(),
                "steps": {
                    step.label: {"task": step.task, "config": step.config, "config_key": step.config_key}
                    for step in plan.steps
                },
            }
        )

    def finish(self, counts: Mapping[str, int]) -> None:
        """Write down that nothing is left to do."""
        self._write({**self.about(), "status": "finished", "ended": time.time(), "counts": dict(counts)})

    @property
    def is_finished(self) -> bool:
        """Whether everything was done that could be done."""
        try:
            return self.about().get("status") == "finished"
        except RepoError:
            return False

    def records(self) -> Iterator[Record]:
        """Yield every record that is whole."""
        for path in sorted((self.path / RECORDS).glob("*/*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(record, dict) and "status" in record:
                yield record

    def clear(self, keep: set[str]) -> int:
        """Delete every file that is not in ``keep``, and return how many there were: what an interruption left behind.

        Parameters
        ----------
        keep
            Absolute paths of the datasets and records that count.
        """
        removed = 0
        for path in list(self.path.rglob("*")):
            own = path.name in (ABOUT, ".driver") and path.parent == self.path
            if path.is_file() and not own and str(path) not in keep:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _write(self, values: Mapping[str, Any]) -> None:
        write_text_atomically(self.path / ABOUT, json.dumps(values, indent=1) + "\n")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found

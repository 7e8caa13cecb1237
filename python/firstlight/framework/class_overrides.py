"""Settings of an instrument for every task of a class: the files ``<TaskClass>.yaml`` in its folder."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from firstlight.errors import ConfigError
from firstlight.framework.lookup import find_class, known_tasks
from firstlight.framework.overrides import Layer, Setting
from firstlight.framework.passes import PipelineTask
from firstlight.framework.task import Task

INSTRUMENT_FILE = "instrument.yaml"
"""The file in the folder that describes the camera itself."""

MISSPELT = 0.9
"""Names that are more alike than this, on the scale of `difflib`, are taken for one name."""


class ClassOverrides:
    """What the files in a folder say about task classes; called with a class, it returns the settings for it.

    A file is for the class that it is named after and for all its subclasses; where several apply, the file of the
    nearer class counts more. Each file is read once.

    Parameters
    ----------
    folder
        Folder with files named ``<TaskClass>.yaml``; None, or one that is not there, has no files.

    Raises
    ------
    ConfigError
        If a file is named after a task that cannot be a label, or like a task but for a letter or two. Other names
        may be those of families, or of classes that pipelines name as ``package.module:Class``.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        found = [] if folder is None else sorted(Path(folder).glob("*.yaml"))
        self._files = {path.stem: path for path in found if path.name != INSTRUMENT_FILE}
        self._read: dict[str, Layer] = {}
        problems = [
            f"{path}: no task is named {name!r}; did you mean {near[0]!r}?"
            for name, path in self._files.items()
            if name not in known_tasks() and (near := get_close_matches(name, known_tasks(), n=1, cutoff=MISSPELT))
        ]
        problems += [words for name, path in self._files.items() if (words := _never_a_label(name, path))]
        if problems:
            raise ConfigError("\n".join(problems))

    def __call__(self, task: type[Task[Any]]) -> Iterable[Setting]:
        """Return the settings for ``task``, those of its remotest ancestor first.

        Raises
        ------
        ConfigError
            If a file cannot be read.
        """
        return [setting for cls in reversed(task.__mro__) for setting in self._layer(cls.__name__).settings]

    def __bool__(self) -> bool:
        return bool(self._files)

    def _layer(self, name: str) -> Layer:
        if name not in self._files:
            return Layer()
        if name not in self._read:
            self._read[name] = Layer.from_file(self._files[name])
        return self._read[name]


def _never_a_label(name: str, path: Path) -> str:
    """Return why a file has no effect: its task cannot stand in a pipeline; empty if it can."""
    if name not in known_tasks() or issubclass(find_class(name), PipelineTask):
        return ""
    return (
        f"{path}: {name} is no task of a pipeline, so nothing reads this file; put its settings below the slot, in the "
        "file of the task that has the slot, as in CalibrateImageTask.yaml: psf: {order: 2}"
    )

"""A folder that files arrive in: which of them are finished, and not seen before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class _State(NamedTuple):
    size: int
    modified: int


@dataclass
class Inbox:
    """Finished files of a folder, each offered once; a file that changes later is offered again.

    A file is finished when its size and time have not changed since the last look, and for `settle_s` seconds.

    Parameters
    ----------
    folder
    patterns
        Shell patterns of names.
    settle_s : [s]
        How long a file must be left alone.
    recursive
        Look into folders below too.
    """

    folder: Path
    patterns: Sequence[str] = ("*.fits", "*.fit", "*.fts", "*.fits.gz", "*.fits.fz")
    settle_s: float = 2.0
    recursive: bool = True
    _looked: dict[Path, _State] = field(default_factory=dict)
    _offered: dict[Path, _State] = field(default_factory=dict)

    def finished(self, now: float) -> list[Path]:
        """Return finished files that were not offered as they are now, the oldest first.

        Parameters
        ----------
        now : [s]
            Time since the epoch.

        Raises
        ------
        OSError
            If the folder cannot be read.
        """
        states = self._states()
        still = [path for path, state in states.items() if self._is_finished(path, state, now)]
        self._looked = states
        new = [path for path in still if self._offered.get(path) != states[path]]
        self._offered |= {path: states[path] for path in new}
        return sorted(new, key=lambda path: (states[path].modified, path))

    @property
    def n_waiting(self) -> int:
        """Number of files that were there at the last look and have not been offered yet."""
        return sum(self._offered.get(path) != state for path, state in self._looked.items())

    def has_new(self) -> bool:
        """Tell whether there are files that were not offered as they are now, whole or not.

        Raises
        ------
        OSError
            If the folder cannot be read.
        """
        return any(self._offered.get(path) != state for path, state in self._states().items())

    def again(self, path: Path) -> None:
        """Offer a file once more."""
        self._offered.pop(path, None)

    def _is_finished(self, path: Path, state: _State, now: float) -> bool:
        if self._looked.get(path) not in (None, state):
            return False
        return now - state.modified / 1e9 >= self.settle_s

    def _states(self) -> dict[Path, _State]:
        """Return size and time of each file; hidden and temporary ones are passed over."""
        next(self.folder.iterdir(), None)
        states: dict[Path, _State] = {}
        for pattern in self.patterns:
            for path in self.folder.rglob(pattern) if self.recursive else self.folder.glob(pattern):
                if any(part.startswith(".") for part in path.relative_to(self.folder).parts):
                    continue
                try:
                    about = path.stat()
                except OSError:
                    continue
                if path.is_file():
                    states[path] = _State(about.st_size, about.st_mtime_ns)
        return states

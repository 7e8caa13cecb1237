"""How a dataset came to be: run, settings with their origins, versions, inputs, and theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstlight.errors import RepoError
from firstlight.execution.run_folder import RunFolder
from firstlight.repo.repo import Repo


@dataclass(frozen=True)
class Provenance:
    """What made one file of a repository."""

    path: Path
    type: str
    run: str
    label: str
    """Label of the task that made it; empty for a file that came from outside."""

    data_id: Mapping[str, Any]
    about: Mapping[str, Any]
    """What the run was made with: command, user, versions, settings of each label."""

    record: Mapping[str, Any]
    """How the piece of work ended that made it, with its inputs, gates and times."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that were read to make it."""
        return tuple(Path(each["path"]) for several in self.record.get("inputs", {}).values() for each in several)


def provenance_of(repo: Repo, path: str | Path) -> Provenance:
    """Return how a file of a repository came to be.

    Parameters
    ----------
    repo
    path
        The file.

    Raises
    ------
    RepoError
        If the repository has no dataset in this file.
    """
    wanted = Path(path).resolve()
    runs = [each.name for each in repo.collections("*") if each.kind == "RUN"]
    for run in sorted(runs, key=len, reverse=True):
        if not wanted.is_relative_to(repo.root / run):
            continue
        for row in repo.quanta(run):
            for output in row.record.get("outputs", ()):
                if is_recorded(output["path"], wanted, root=repo.root):
                    about = RunFolder(repo.root, run).about()
                    return Provenance(wanted, output["type"], run, row.label, output["data_id"], about, row.record)
    for name in repo.type_names():
        for found in repo.datasets(name, collections=runs, find_first=False):
            if found.path.resolve() == wanted:
                return Provenance(wanted, name, found.run, "", found.data_id, {}, {})
    raise RepoError(f"{path}: is no dataset of {repo.root}; 'firstlight query datasets' lists what is there.")


def is_recorded(recorded: str, path: Path, *, root: Path) -> bool:
    """Return whether a path in a record is that of a file; records keep where the repository was in their time."""
    if Path(recorded) == path:
        return True
    return path.is_relative_to(root) and recorded.endswith(f"/{path.relative_to(root).as_posix()}")


def place_now(recorded: str, *, root: Path) -> Path:
    """Return where a file of a record is now, should the repository have been moved since."""
    path = Path(recorded)
    if path.is_relative_to(root):
        return path
    inside = (root.joinpath(*path.parts[start:]) for start in range(1, len(path.parts)))
    return next((each for each in inside if each.is_file()), path)


def text_of(repo: Repo, found: Provenance, *, recursive: bool = False, depth: int = 0) -> Iterator[str]:
    """Yield the provenance of a file as lines of text, on request with that of its inputs."""
    pad = "  " * depth
    data_id = " ".join(f"{name}={value}" for name, value in found.data_id.items())
    yield f"{pad}{found.path}"
    yield f"{pad}  {found.type} ({data_id})"
    if not found.label:
        yield f"{pad}  in {found.run}, from outside"
        return
    yield f"{pad}  made by {found.label} in run {found.run}: {found.record['status']}"
    if not depth:
        yield from (f"{pad}  {line}" for line in _about(found))
    for name, several in found.record.get("inputs", {}).items():
        for each in several:
            path = place_now(each["path"], root=repo.root)
            yield f"{pad}  read {name}: {path}"
            if recursive and (below := _known(repo, path)) is not None:
                yield from text_of(repo, below, recursive=True, depth=depth + 2)


def _about(found: Provenance) -> Iterator[str]:
    about, step = found.about, found.about.get("steps", {}).get(found.label, {})
    yield f"command: {about.get('command', '')}"
    yield f"by {about.get('user', '?')} on {about.get('host', '?')}"
    yield "versions: " + ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
    yield f"task: {step.get('task', '')}"
    _, _, history = step.get("config", "").partition("---\n")
    given = [line for line in history.splitlines() if line and not line.startswith("#") and line != "{}"]
    yield "settings that are not defaults:" if given else "settings: all defaults"
    yield from (f"  {line}" for line in given)


def _known(repo: Repo, path: Path) -> Provenance | None:
    try:
        return provenance_of(repo, path)
    except RepoError:
        return None

"""A pipeline file together with all that it imports: what each file adds, lowest first, each file once."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from firstlight.errors import ConfigError, PipelineError
from firstlight.framework.config_folder import config_folder
from firstlight.framework.contracts import Contract
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.overrides import Layer
from firstlight.framework.pipeline_file import Import, PipelineFile, Subset, read_pipeline_file


@dataclass(frozen=True)
class Part:
    """What one file adds to a pipeline."""

    file: PipelineFile
    taken: frozenset[str] | None = None
    """Labels that include and exclude leave of it; None for all."""

    @property
    def layer(self) -> Layer:
        """Class and settings of the labels that are taken."""
        return Layer(tuple(s for s in self.file.layer.settings if self.taken is None or s.path[0] in self.taken))

    @property
    def subsets(self) -> Mapping[str, Subset]:
        """Name -> subset, with the labels that are taken; a subset without any falls away."""
        return {
            name: replace(subset, labels=kept)
            for name, subset in self.file.subsets.items()
            if (kept := tuple(label for label in subset.labels if self.taken is None or label in self.taken))
        }

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """The contracts whose labels are all taken."""
        return tuple(each for each in self.file.contracts if self.taken is None or each.labels <= self.taken)

    def reduced(self, labels: frozenset[str]) -> Part:
        """Return the part with these labels only."""
        return replace(self, taken=labels if self.taken is None else labels & self.taken)

    def joined(self, other: Part) -> Part:
        """Return what either of two parts of one file takes."""
        return replace(self, taken=None if self.taken is None or other.taken is None else self.taken | other.taken)


def load_parts(place: str) -> tuple[Part, ...]:
    """Read a pipeline file and everything that it imports, and return what each file adds, itself last.

    A file that is imported on several ways counts once, where it comes first: it lies below all that import it.

    Parameters
    ----------
    place
        A path, the name of a file that comes with firstlight, or ``package:path``.

    Raises
    ------
    PipelineError
        If a file is not there or does not fit; every mistake of a file is told, one a line.
    ConfigError
        If a file is not YAML.
    """
    return _Loading().parts(_found(place, beside=Path()), ())


def labels_of(parts: Iterable[Part]) -> tuple[str, ...]:
    """Return the labels of ``parts`` in the order in which they are first named."""
    return tuple(dict.fromkeys(setting.path[0] for part in parts for setting in part.layer.settings))


def subsets_of(parts: Iterable[Part]) -> dict[str, Subset]:
    """Return the subsets of ``parts``; a later one takes the place of an earlier one."""
    return {name: subset for part in parts for name, subset in part.subsets.items()}


class _Loading:
    """One call of `load_parts`; each file is read once."""

    def __init__(self) -> None:
        self._loaded: dict[Path, tuple[Part, ...]] = {}

    def parts(self, path: Path, importing: tuple[Path, ...]) -> tuple[Part, ...]:
        real = path.resolve()
        if any(real == each.resolve() for each in importing):
            chain = " -> ".join(str(each) for each in (*importing, path))
            raise PipelineError(f"{path}: a pipeline imports itself: {chain}")
        if real not in self._loaded:
            self._loaded[real] = self._read(path, (*importing, path))
        return self._loaded[real]

    def _read(self, path: Path, importing: tuple[Path, ...]) -> tuple[Part, ...]:
        file = read_pipeline_file(path)
        problems: dict[str, None] = {}
        merged: dict[Path, Part] = {}
        for each in file.imports:
            try:
                imported = self._imported(each, path, importing)
            except (PipelineError, ConfigError) as error:
                lines = str(error).splitlines()
                problems |= dict.fromkeys(s if " (from " in s else f"{s} (from {each.origin})" for s in lines)
                continue
            for part in imported:
                real = part.file.path.resolve()
                merged[real] = merged[real].joined(part) if real in merged else part
        parts = (*merged.values(), Part(file))
        if not problems:
            problems = dict.fromkeys(_unknown_names(file, parts))
        if problems:
            raise PipelineError("\n".join(problems))
        return parts

    def _imported(self, each: Import, path: Path, importing: tuple[Path, ...]) -> tuple[Part, ...]:
        place, selects, _ = each.location.partition("#")
        if selects:
            raise PipelineError("imports: an import takes include and exclude in place of '#'")
        parts = self.parts(_found(place, beside=path.parent), importing)
        labels, subsets = labels_of(parts), subsets_of(parts)
        known = [*labels, *subsets]
        problems = [
            f"imports: {place} has no label or subset {name!r}{did_you_mean(name, known) or _there_are(known)}"
            for name in (*each.include, *each.exclude)
            if name not in known
        ]
        if problems:
            raise PipelineError("\n".join(problems))
        wanted = _meant(each.include, subsets) if each.include else frozenset(labels)
        return tuple(part.reduced(wanted - _meant(each.exclude, subsets)) for part in parts)


def _meant(names: Iterable[str], subsets: Mapping[str, Subset]) -> frozenset[str]:
    return frozenset(label for name in names for label in (subsets[name].labels if name in subsets else (name,)))


def _unknown_names(file: PipelineFile, parts: Sequence[Part]) -> list[str]:
    """Tell the names that are both label and subset, and the labels that a file names and no file has."""
    labels, subsets = labels_of(parts), subsets_of(parts)
    problems = [
        f"subsets.{name}: this is the name of a label too (from {subset.origin})"
        for name, subset in subsets.items()
        if name in labels
    ]
    problems += [
        f"subsets.{name}: no such label{did_you_mean(label, labels) or _there_are(labels)} (from {subset.origin})"
        for name, subset in file.subsets.items()
        for label in subset.labels
        if label not in labels
    ]
    problems += [
        f"contracts: no such label{did_you_mean(label, labels) or _there_are(labels)}"
        f" in {contract.words!r} (from {contract.origin})"
        for contract in file.contracts
        for label in sorted(contract.labels - set(labels))
    ]
    return problems


def _found(place: str, *, beside: Path) -> Path:
    """Return the file that a location names: beside the importing one, of an installed package, or our own."""
    path = beside / place
    package, colon, inside = place.partition(":")
    if colon and package.isidentifier() and not _is_file(path):
        return _in_package(package, inside, place)
    shipped = config_folder() / "pipelines"
    if _is_file(path):
        return path
    if _is_file(shipped / place):
        return shipped / place
    hint = did_you_mean(place, [each.name for each in (*shipped.glob("*.yaml"), *path.parent.glob("*.yaml"))])
    raise PipelineError(f"{place}: there is no such pipeline file{hint}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for any file
        return False


def _in_package(package: str, inside: str, place: str) -> Path:
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module that was not imported from anywhere, such as __main__
        spec = None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = (Path(folder) / inside).resolve()
        if path.is_file() and path.is_relative_to(Path(folder).resolve()):
            return path
    missing = "no such package is installed" if spec is None else f"the package {package!r} has no such file"
    raise PipelineError(f"{place}: {missing}")


def _there_are(names: Iterable[str]) -> str:
    return f"; there are {', '.join(names) or 'none'}"

"""One pipeline file as it is written: its tasks, imports, parameters, subsets and contracts, each with its line.

Every mistake that can be seen without loading a task is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from firstlight.errors import ConfigError, PipelineError
from firstlight.framework.contracts import Contract
from firstlight.framework.lookup import did_you_mean
from firstlight.framework.mappings import frozen
from firstlight.framework.overrides import Layer, Setting, read_text
from firstlight.framework.parameters import PARAMETERS
from firstlight.framework.yaml_lines import Located, read_located

KEYS = ("description", "instrument", "parameters", "imports", "inputs", "tasks", "afterwards", "subsets", "contracts")
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Import:
    """Another pipeline file whose tasks this one takes over."""

    location: str
    include: tuple[str, ...]
    """Labels and subsets to take; empty for all."""

    exclude: tuple[str, ...]
    """Labels and subsets to leave."""

    origin: str


@dataclass(frozen=True)
class Subset:
    """Labels that are often run together."""

    labels: tuple[str, ...]
    description: str
    origin: str


@dataclass(frozen=True)
class PipelineFile:
    """What one file says."""

    path: Path
    description: str
    instrument: str | None
    parameters: Mapping[str, Setting]
    imports: tuple[Import, ...]
    inputs: tuple[str, ...] | None
    """Dataset types that come from outside; None where the file does not say."""

    layer: Layer
    """Class and settings of each label; the class is the setting ``task``."""

    afterwards: Layer
    """Settings of what is done in a repository with the results of the tasks."""

    subsets: Mapping[str, Subset]
    contracts: tuple[Contract, ...]


def read_pipeline_file(path: Path) -> PipelineFile:
    """Read one pipeline file; what it imports is not read.

    Raises
    ------
    PipelineError
        With every mistake in the file, one a line.
    ConfigError
        If the file cannot be read or is not YAML.
    """
    reader = _Reader(path, read_located(read_text(path), source=str(path)))
    found = reader.read()
    if reader.problems:
        raise PipelineError("\n".join(reader.problems))
    return found


class _Reader:
    def __init__(self, path: Path, entries: Mapping[str, Located]) -> None:
        self._path = path
        self._entries = entries
        self.problems: list[str] = []

    def read(self) -> PipelineFile:
        for key, entry in self._entries.items():
            if key not in KEYS:
                self._problem(key, f"no such part of a pipeline{did_you_mean(key, KEYS) or _there_are(KEYS)}", entry)
        return PipelineFile(
            path=self._path,
            description=self._text("description") or "",
            instrument=self._text("instrument"),
            parameters={name: self._parameter(name, entry) for name, entry in self._mapping("parameters").items()},
            imports=tuple(self._imports()),
            inputs=self._names_of("inputs", self._entries["inputs"]) if "inputs" in self._entries else None,
            layer=Layer(tuple(self._settings())),
            afterwards=Layer(tuple(self._afterwards())),
            subsets={name: self._subset(name, entry) for name, entry in self._mapping("subsets").items()},
            contracts=tuple(self._contracts()),
        )

    def _problem(self, where: str, words: str, entry: Located) -> None:
        self.problems.append(f"{where}: {words} (from {self._origin(entry)})")

    def _origin(self, entry: Located) -> str:
        return f"{self._path}:{entry.line}"

    def _text(self, key: str) -> str | None:
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            return None
        if not isinstance(entry.value, str):
            self._problem(key, f"a text was expected; got {entry.plain()!r}", entry)
            return None
        return entry.value.strip()

    def _mapping(self, key: str) -> dict[str, Located]:
        entry = self._entries.get(key)
        return {} if entry is None or entry.value is None else self._entries_of(key, entry)

    def _entries_of(self, where: str, entry: Located) -> dict[str, Located]:
        if isinstance(entry.value, dict):
            return entry.value
        self._problem(where, f"a mapping was expected; got {entry.plain()!r}", entry)
        return {}

    def _text_or_mapping(self, where: str, item: Located) -> dict[str, Located] | None:
        if isinstance(item.value, dict):
            return item.value
        self._problem(where, f"a text or a mapping was expected; got {item.plain()!r}", item)
        return None

    def _list(self, key: str) -> list[Located]:
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            return []
        if isinstance(entry.value, list):
            return entry.value
        self._problem(key, f"a list was expected; got {entry.plain()!r}", entry)
        return []

    def _names_of(self, where: str, entry: Located) -> tuple[str, ...]:
        """Return a list of texts; one text stands for a list of one."""
        items = entry.value if isinstance(entry.value, list) else [entry]
        wrong = [item.plain() for item in items if not isinstance(item.value, str)]
        if wrong:
            self._problem(where, f"a list of names was expected; got {wrong[0]!r}", entry)
            return ()
        return tuple(str(item.value) for item in items)

    def _known_keys(self, where: str, entries: Mapping[str, Located], keys: tuple[str, ...]) -> None:
        for key, entry in entries.items():
            if key not in keys:
                self._problem(f"{where}.{key}", f"no such key{did_you_mean(key, keys) or _there_are(keys)}", entry)

    def _parameter(self, name: str, entry: Located) -> Setting:
        if not _NAME.fullmatch(name):
            self._problem(f"parameters.{name}", "a name is a word of letters, digits and _", entry)
        elif isinstance(entry.value, dict):
            self._problem(f"parameters.{name}", "a parameter is one value or a list", entry)
        return Setting((PARAMETERS, name), frozen(entry.plain()), self._origin(entry))

    def _imports(self) -> Iterator[Import]:
        entry = self._entries.get("imports")
        single = entry is not None and isinstance(entry.value, str | dict)
        for item in [entry] if entry is not None and single else self._list("imports"):
            if isinstance(item.value, str):
                yield Import(item.value, (), (), self._origin(item))
                continue
            parts = self._text_or_mapping("imports", item)
            if parts is None:
                continue
            self._known_keys("imports", parts, ("location", "include", "exclude"))
            location = parts.get("location")
            if location is None or not isinstance(location.value, str):
                self._problem("imports", "an import has a location: the path of a pipeline file", item)
                continue
            include, exclude = (
                self._names_of(f"imports.{key}", parts[key]) if key in parts else () for key in ("include", "exclude")
            )
            yield Import(location.value, include, exclude, self._origin(location))

    def _settings(self) -> Iterator[Setting]:
        for label, entry in self._mapping("tasks").items():
            where = f"tasks.{label}"
            if not _NAME.fullmatch(label) or label == PARAMETERS:
                self._problem(where, "a label is a word of letters, digits and _, and not 'parameters'", entry)
            elif entry.value is None:
                yield Setting((label,), None, self._origin(entry))
            elif isinstance(entry.value, str):
                yield Setting((label, "task"), entry.value, self._origin(entry))
            else:
                yield from self._task(label, where, self._entries_of(where, entry), entry)

    def _task(self, label: str, where: str, parts: Mapping[str, Located], entry: Located) -> Iterator[Setting]:
        self._known_keys(where, parts, ("class", "config"))
        named = parts.get("class")
        if named is not None and not isinstance(named.value, str):
            self._problem(f"{where}.class", f"a task is named by a text; got {named.plain()!r}", named)
        elif named is not None:
            yield Setting((label, "task"), named.value, self._origin(named))
        elif "config" not in parts and isinstance(entry.value, dict):
            self._problem(where, "name a class, as in {class: CalibrateImageTask}", entry)
        config = parts.get("config")
        if config is not None and config.value is not None:
            yield from self._config(label, f"{where}.config", self._entries_of(f"{where}.config", config))

    def _config(self, label: str, where: str, entries: Mapping[str, Located]) -> Iterator[Setting]:
        if "python" in entries:
            self._problem(f"{where}.python", "a pipeline runs no Python; write the settings", entries["python"])
        if "file" in entries:
            yield from self._included_files(label, f"{where}.file", entries["file"])
        given: dict[tuple[str, ...], int] = {}
        for name, value in entries.items():
            if name in ("file", "python"):
                continue
            for path, leaf in self._leaves((label, *name.split(".")), value):
                if path in given:
                    dotted = ".".join((where, *path[1:]))
                    self._problem(dotted, f"is given twice; first on line {given[path]}", leaf)
                given[path] = leaf.line
                yield Setting(path, frozen(leaf.plain()), self._origin(leaf))

    def _included_files(self, label: str, where: str, entry: Located) -> Iterator[Setting]:
        for name in self._names_of(where, entry):
            try:
                settings = Layer.from_file(self._path.parent / name).settings
            except ConfigError as error:
                self._problem(where, str(error), entry)
                continue
            yield from (Setting((label, *setting.path), setting.value, setting.origin) for setting in settings)

    def _afterwards(self) -> Iterator[Setting]:
        for name, entry in self._mapping("afterwards").items():
            for path, leaf in self._leaves((name,), entry):
                yield Setting(path, frozen(leaf.plain()), self._origin(leaf))

    def _leaves(self, path: tuple[str, ...], entry: Located) -> Iterator[tuple[tuple[str, ...], Located]]:
        if isinstance(entry.value, dict) and entry.value:
            for name, value in entry.value.items():
                yield from self._leaves((*path, *name.split(".")), value)
        else:
            yield path, entry

    def _subset(self, name: str, entry: Located) -> Subset:
        where = f"subsets.{name}"
        description = ""
        members = entry
        if isinstance(entry.value, dict):
            self._known_keys(where, entry.value, ("subset", "description"))
            members = entry.value.get("subset", Located([], entry.line))
            if "description" in entry.value:
                description = str(entry.value["description"].plain())
        labels = self._names_of(where, members)
        if not _NAME.fullmatch(name):
            self._problem(where, "a name is a word of letters, digits and _", entry)
        elif members.value == []:
            self._problem(where, "a subset is a list of labels", entry)
        return Subset(labels, description, self._origin(entry))

    def _contracts(self) -> Iterator[Contract]:
        for item in self._list("contracts"):
            parts = {"contract": item} if isinstance(item.value, str) else self._text_or_mapping("contracts", item)
            if parts is None:
                continue
            self._known_keys("contracts", parts, ("contract", "msg"))
            text, message = parts.get("contract"), parts.get("msg")
            if text is None or not isinstance(text.value, str):
                self._problem("contracts", "a contract is a text such as calibrate:psf.order <= 3", item)
                continue
            try:
                yield Contract(text.value, str(message.plain()) if message else "", self._origin(item))
            except PipelineError as error:
                self._problem("contracts", str(error), item)


def _there_are(keys: tuple[str, ...]) -> str:
    return f"; there are {', '.join(keys)}"

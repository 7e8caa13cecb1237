"""JSON Schema (draft 7) of what users write in YAML, so that an editor completes and checks it.

A file of settings is a layer of overrides: every field may be left out, and a dot in a key separates names. A slot is
described by one branch for each known task of its family, chosen by its ``task``; without one, the branch of its
default counts. What several places share stands once, under ``definitions``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from pydantic_core import PydanticUndefined

from firstlight.errors import ConfigError
from firstlight.framework.config import Config, default_of
from firstlight.framework.field_shapes import FieldShape, Kind, field_shapes
from firstlight.framework.json_schema_values import (
    Schema,
    described,
    first_paragraph,
    jsonable,
    written_definition,
    written_fields,
)
from firstlight.framework.lookup import find_class, known_tasks, name_of
from firstlight.framework.renamed import Former, former_names
from firstlight.framework.subtask import Subtask
from firstlight.framework.task import Task

DRAFT = "http://json-schema.org/draft-07/schema#"
OTHER_CLASS = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
"""A class outside the list of tasks, ``package.module:Class``; its settings cannot be known here."""

PARAMETER = r"^parameters\.\w+$"
"""A value that a pipeline file takes from its parameters."""


def settings_schema(config_class: type[Config], *, title: str, complete: bool = False) -> Schema:
    """Return the schema of a file with the settings of one config.

    Parameters
    ----------
    config_class
        The class whose fields stand at the top of the file.
    title
        What an editor calls the schema.
    complete
        Whether nothing lies below the file, so that it must have the fields without a default.
    """
    builder = SchemaBuilder()
    schema = builder.settings(config_class)
    if complete and (missing := [name for name, field in config_class.model_fields.items() if field.is_required()]):
        schema["required"] = missing
    return builder.document(schema, title=title, description=first_paragraph(config_class))


def known_classes(family: type[Task[Any]] = Task) -> dict[str, type[Task[Any]]]:
    """Return name -> class of every known task of ``family`` that can be made; what cannot be imported is logged."""
    found = {}
    for offers in known_tasks().values():
        for offer in offers:
            try:
                task = find_class(offer.value)
            except ConfigError as error:
                structlog.get_logger().warning("task left out of the schema", task=offer.value, why=str(error))
                continue
            if issubclass(task, family) and not inspect.isabstract(task):
                found[name_of(task)] = task
    return dict(sorted(found.items()))


class SchemaBuilder:
    """One schema in the making; its parts refer to definitions that are collected here.

    Parameters
    ----------
    parameters
        Whether a value may also be the text ``parameters.name``, as in a pipeline file.
    """

    def __init__(self, *, parameters: bool = False) -> None:
        self._parameters = parameters
        self._definitions: dict[str, Schema] = {}
        self._names: dict[Hashable, str] = {}

    def document(self, schema: Schema, *, title: str, description: str) -> Schema:
        """Return ``schema`` as a document of its own, with the definitions that were collected."""
        head = {"$schema": DRAFT, "title": title, "description": description}
        return {**head, **schema, "definitions": dict(sorted(self._definitions.items()))}

    def settings(
        self, config_class: type[Config], base: Config | None = None, *, more: Mapping[str, Schema] | None = None
    ) -> Schema:
        """Return the schema of a mapping with settings of ``config_class``.

        Parameters
        ----------
        config_class
            The class whose fields may stand in the mapping.
        base
            What the mapping is put on; the defaults of the class when left out.
        more
            Keys that may stand beside the fields.
        """
        shapes = field_shapes(config_class)
        fields = {name: self._field(config_class, base, name) for name in shapes}
        former = {name: _outdated(fields[now.field], now) for name, now in former_names(config_class).items()}
        properties = {**(more or {}), **fields, **former}
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        deeper = [name for name, shape in shapes.items() if shape.kind is not Kind.PLAIN]
        deeper += [name for name, now in former_names(config_class).items() if now.field in deeper]
        if deeper:
            schema["patternProperties"] = {rf"^({'|'.join(deeper)})\.": {}}
        return schema

    def task_name(self, family: type[Task[Any]], *also: type[Task[Any]]) -> Schema:
        """Return the schema of a name of a task of ``family``."""
        tasks = dict(sorted({**known_classes(family), **{name_of(task): task for task in also}}.items()))
        pattern = f"{OTHER_CLASS}|{PARAMETER}" if self._parameters else OTHER_CLASS
        listed = {"enum": list(tasks), "markdownEnumDescriptions": [first_paragraph(task) for task in tasks.values()]}
        other = {"type": "string", "pattern": pattern}
        return {"anyOf": [{"type": "string", **listed}, other]} if tasks else other

    def defined(self, key: Hashable, name: str, make: Callable[[], Schema]) -> Schema:
        """Return a reference to the definition for ``key``, made when it is asked for the first time."""
        if key not in self._names:
            taken, number = name, 1
            while taken in self._definitions:
                number += 1
                taken = f"{name}-{number}"
            self._names[key] = taken
            self._definitions[taken] = {}
            self._definitions[taken] = make()
        return {"$ref": f"#/definitions/{self._names[key]}"}

    def or_parameter(self, schema: Schema) -> Schema:
        """Return ``schema``, in a pipeline file widened by ``parameters.name``."""
        if not self._parameters or not schema:
            return schema
        if "enum" in schema or schema.get("type") == "boolean":  # an editor lists the values of anyOf, not of else
            return {"anyOf": [schema, {"type": "string", "pattern": PARAMETER}]}
        return {"if": {"type": "string", "pattern": PARAMETER}, "else": schema}

    def _field(self, config_class: type[Config], base: Config | None, name: str) -> Schema:
        shape, written = field_shapes(config_class)[name], dict(written_fields(config_class)[name])
        default = default_of(config_class, name) if base is None else base.__dict__[name]
        documentation, _ = written.pop("description", ""), written.pop("default", None)
        about: Schema = {"description": described(documentation, written, default, computed=shape.computed)}
        if shape.deprecated is not None:
            about["deprecationMessage"] = shape.deprecated
        if shape.kind is Kind.PLAIN:
            usable = not shape.computed and default is not None and default is not PydanticUndefined
            if usable and jsonable(default) == jsonable(default, "null"):
                about["default"] = jsonable(default)
            return {**about, **self.or_parameter(self._value(config_class, written))}
        return {**about, **self._shaped(config_class, shape, written, default)}

    def _shaped(self, config_class: type[Config], shape: FieldShape, written: Schema, default: object) -> Schema:
        """Return the schema of a value that settings can stand below; null empties it where that is allowed."""
        if shape.kind is Kind.SLOT:
            return self._slot(shape, default if isinstance(default, Subtask) else None)
        if shape.kind is Kind.PLUGINS:
            return self._plugins(shape, default if isinstance(default, Mapping) else {})
        if shape.kind is Kind.MAPPING:
            return self._mapping(config_class, shape, written)
        base = default if isinstance(default, Config) else None
        if shape.kind is Kind.CONFIG:
            return self._config(shape.config_class, base, optional=shape.optional)
        return self._choice(shape, base)

    def _value(self, config_class: type[Config], written: Schema) -> Schema:
        """Return what pydantic wrote for a value, with its definitions moved here and a parameter for each item."""

        def moved(schema: Any) -> Any:
            if isinstance(schema, list):
                return [moved(item) for item in schema]
            if not isinstance(schema, dict):
                return schema
            if "$ref" in schema:
                name = schema["$ref"].rpartition("/")[2]
                found = written_definition(config_class, name)
                return self.defined(("value", json.dumps(found)), name, lambda: moved(found))
            new = {key: moved(item) for key, item in schema.items()}
            for key in ("items", "additionalProperties"):
                if isinstance(new.get(key), dict):
                    new[key] = self.or_parameter(new[key])
            return new

        made: Schema = moved(written)
        return made

    def _mapping(self, config_class: type[Config], shape: FieldShape, written: Schema) -> Schema:
        """Return the schema of values by name; null removes one, and a dot leads below a nested one."""
        written = next((each for each in written.get("anyOf", ()) if each.get("type") == "object"), written)
        values = written.get("additionalProperties", {})
        kept = {key: item for key, item in written.items() if key in ("propertyNames", "minProperties")}
        schema = {"type": ["object", "null"], **self._value(config_class, kept)}
        if shape.value is not None and shape.nested_values:
            removable = replace(shape.value, optional=True)
            schema["patternProperties"] = {r"\.": {}}
            schema["additionalProperties"] = self._shaped(config_class, removable, values, None)
        elif isinstance(values, dict) and values:
            either = [self._value(config_class, values), {"type": "null"}]
            schema["additionalProperties"] = self.or_parameter({"anyOf": either})
        return schema

    def _config(self, config_class: type[Config], base: Config | None, *, optional: bool = False) -> Schema:
        base = None if base is not None and base == _made(config_class) else base

        def make() -> Schema:
            schema = self.settings(config_class, base)
            return {**schema, "type": ["object", "null"]} if optional else schema

        return self.defined(("config", config_class, base, optional), config_class.__name__, make)

    def _task(self, task: type[Task[Any]], base: Config | None) -> Schema:
        """Return the schema of a slot that holds ``task``."""
        base = None if base is not None and base == _made(task.config_class) else base

        def make() -> Schema:
            return self.settings(task.config_class, base, more={"task": {"doNotSuggest": True}})

        return self.defined(("task", task, base), task.__name__, make)

    def _slot(self, shape: FieldShape, default: Subtask[Any] | None) -> Schema:
        tasks = known_classes(shape.family) | ({name_of(default.task): default.task} if default is not None else {})

        def make() -> Schema:
            branches = {
                name: self._task(task, default.config if default is not None and default.task is task else None)
                for name, task in sorted(tasks.items())
            }
            usual = branches[name_of(default.task)] if default is not None else None
            named = {"description": "Class that fills the slot.", **self.task_name(shape.family, *tasks.values())}
            if default is not None:
                named["default"] = name_of(default.task)
            return _by_key("task", named, branches, usual, optional=shape.optional)

        name = f"{shape.family.__name__}-slot"
        return self.defined(("slot", shape.family, default, shape.optional), name, make)

    def _plugins(self, shape: FieldShape, default: Mapping[str, Subtask[Any]]) -> Schema:
        one = FieldShape(Kind.SLOT, optional=True, family=shape.family)
        usual = {
            name: {"description": described(first_paragraph(slot.task), {}, slot), **self._slot(one, slot)}
            for name, slot in default.items()
        }
        others = {"patternProperties": {r"\.": {}}, "additionalProperties": self._slot(one, None)}
        return {"type": ["object", "null"], "properties": usual, **others}

    def _choice(self, shape: FieldShape, default: Config | None) -> Schema:
        """Return the schema of one of several configs that a field tells apart."""
        key, branches = shape.discriminator, {}
        for tag, member in shape.choices.items():
            branches[tag] = self._config(member, default if type(default) is member else None)
        usual = None if default is None else branches.get(default.__dict__[key])
        return _by_key(key, {"enum": list(branches)}, branches, usual, optional=shape.optional)


def _outdated(schema: Schema, now: Former) -> Schema:
    """Return the schema of a field under its former name, which an editor takes but does not offer."""
    return {**schema, "doNotSuggest": True, "deprecationMessage": f"Now called {now.field!r}{now.in_version}."}


def _by_key(key: str, named: Schema, branches: Mapping[Any, Schema], usual: Schema | None, *, optional: bool) -> Schema:
    """Return the schema of a mapping whose ``key`` chooses its branch, with ``usual`` where the key is missing."""
    chosen = [
        {"if": {"type": "object", "properties": {key: {"const": name}}, "required": [key]}, "then": branch}
        for name, branch in branches.items()
    ]
    missing: Schema = {"if": {"type": "object", "not": {"required": [key]}}, "then": usual}
    if usual is None:
        missing = {"if": {"type": "object", "minProperties": 1}, "then": {"required": [key]}}
    return {
        "type": ["object", "null"] if optional else "object",
        "properties": {key: named},
        "allOf": [missing, *chosen],
    }


def _made(config_class: type[Config]) -> Config | None:
    """Return the config that the defaults make, if every field has one."""
    return None if any(field.is_required() for field in config_class.model_fields.values()) else config_class()

"""JSON Schema of a pipeline file: which tasks run, each with its settings.

The settings of a task are described by the branch of its ``class``; a value may be the text ``parameters.name``.
"""

from __future__ import annotations

from typing import Any

from firstlight.framework.json_schema import SchemaBuilder, known_classes
from firstlight.framework.json_schema_values import Schema, first_paragraph
from firstlight.framework.passes import PipelineTask

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"anyOf": [{"type": "array", "items": TEXT}, TEXT]}
NAME = {"pattern": r"^[A-Za-z_]\w*$", "not": {"const": "parameters"}}


def pipeline_schema(*, title: str) -> Schema:
    """Return the schema of a pipeline file; ``class`` completes to every known `PipelineTask`.

    Parameters
    ----------
    title
        What an editor calls the schema.
    """
    builder = SchemaBuilder(parameters=True)
    keys = {
        "description": _said({"type": ["string", "null"]}, "What the pipeline does."),
        "instrument": _said({"type": ["string", "null"]}, "Instrument whose settings lie below those of the pipeline."),
        "parameters": _said(_named({"not": {"type": "object"}}), "Values that settings take by `parameters.name`."),
        "imports": _said(_list_of(_import(), _import()), "Pipelines that this one starts from, in their order."),
        "inputs": _said(TEXTS, "Dataset types that come from outside."),
        "tasks": _said({**_named(_labelled(builder)), "propertyNames": NAME}, "Label -> task; null removes a label."),
        "afterwards": _said(
            _named({}), "What is done in a repository with the results of each image, and its settings."
        ),
        "subsets": _said(_named(_subset()), "Name -> labels that run together."),
        "contracts": _said(_list_of(_contract()), "Conditions that the settings must meet."),
    }
    return builder.document(_mapping(keys), title=title, description="A pipeline: a readable list of tasks.")


def _labelled(builder: SchemaBuilder) -> Schema:
    """Return the schema of what stands at a label: the name of a task, a task with settings, or null."""
    tasks: dict[str, type[Any]] = dict(known_classes(PipelineTask))
    named = builder.defined(PipelineTask, "PipelineTask", lambda: builder.task_name(PipelineTask))
    any_config = _said({"type": ["object", "null"], "properties": {"file": _file()}}, "Settings of the task.")
    with_class = [
        {
            "if": {"type": "object", "properties": {"class": {"const": name}}, "required": ["class"]},
            "then": {"properties": {"config": _config(builder, name, task)}},
        }
        for name, task in tasks.items()
    ]
    whole = _mapping({"class": _said(named, "Task that runs."), "config": any_config})
    either = {"anyOf": [{"required": ["class"]}, {"required": ["config"]}]}
    return {"anyOf": [named, {**whole, "allOf": [*with_class, either]}, {"type": "null"}]}


def _config(builder: SchemaBuilder, name: str, task: type[Any]) -> Schema:
    def make() -> Schema:
        return {**builder.settings(task.config_class, more={"file": _file()}), "type": ["object", "null"]}

    return _said(builder.defined(("pipeline", task), f"{name}-config", make), first_paragraph(task))


def _file() -> Schema:
    return _said(TEXTS, "Files with settings, below those that stand here.")


def _import() -> Schema:
    keys = {
        "location": _said(TEXT, "Path of the pipeline file."),
        "include": _said(TEXTS, "Labels to take; all when left out."),
        "exclude": _said(TEXTS, "Labels to leave out."),
    }
    return {"anyOf": [TEXT, {"title": "import", **_mapping(keys, "location")}]}


def _subset() -> Schema:
    keys = {"subset": _said(TEXTS, "Labels that belong to it."), "description": _said(TEXT, "What it is for.")}
    return {"anyOf": [{"type": "array", "items": TEXT}, {"title": "subset", **_mapping(keys, "subset")}, TEXT]}


def _contract() -> Schema:
    keys = {
        "contract": _said(TEXT, "Boolean expression over settings, such as `calibrate:psf.order <= 3`."),
        "msg": _said(TEXT, "What to tell the user when it does not hold."),
    }
    return {"anyOf": [{"title": "contract", **_mapping(keys, "contract")}, TEXT]}


def _named(values: Schema) -> Schema:
    return {"type": ["object", "null"], "additionalProperties": values}


def _list_of(item: Schema, *others: Schema) -> Schema:
    listed = {"type": ["array", "null"], "items": item}
    return {"anyOf": [listed, *others]} if others else listed


def _mapping(keys: Schema, *required: str) -> Schema:
    schema: Schema = {"type": "object", "properties": keys, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def _said(schema: Schema, description: str) -> Schema:
    return {"description": description, **schema}

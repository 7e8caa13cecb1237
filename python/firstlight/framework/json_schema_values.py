"""What pydantic writes of plain values, as draft 7 says it, and the words that an editor shows for a field."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticUndefined, to_jsonable_python

from firstlight.framework.config import Config
from firstlight.framework.lookup import name_of
from firstlight.framework.mappings import thawed
from firstlight.framework.subtask import Subtask
from firstlight.framework.yaml_text import flow

Schema = dict[str, Any]

LONGEST_DEFAULT = 120
"""Letters of a default that are shown with its field."""

_BOUNDS = {
    "exclusiveMinimum": "above {}",
    "minimum": "at least {}",
    "exclusiveMaximum": "below {}",
    "maximum": "at most {}",
    "multipleOf": "a multiple of {}",
    "minItems": "{} or more",
    "maxItems": "{} or fewer",
}


def first_paragraph(documented: type) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


def described(documentation: str, schema: Mapping[str, Any], default: object, *, computed: bool = False) -> str:
    """Return a documentation with the default and the bounds below it: an editor shows nothing else."""
    facts = [words.format(flow(schema[key])) for key, words in _BOUNDS.items() if key in schema]
    items = schema.get("items")
    if isinstance(items, dict):
        facts += [f"each {words.format(flow(items[key]))}" for key, words in _BOUNDS.items() if key in items]
    if computed:
        facts.insert(0, "by default it follows from other settings")
    elif isinstance(default, Subtask):
        own = default.config.to_dict()
        given = {name: own[name] for name in own if name in default.config.model_fields_set}
        facts.insert(0, f"default {name_of(default.task)}{f' with {_brief(given)}' if given else ''}")
    elif default is None:
        facts.insert(0, "empty by default")
    elif default is not PydanticUndefined and not isinstance(default, Config | Mapping):
        facts.insert(0, f"default {_brief(default)}")
    text = ", ".join(facts)
    return "\n\n".join(
        part for part in (documentation.replace("``", "`"), text and f"{text[0].upper()}{text[1:]}.") if part
    )


def jsonable(value: object, non_finite: Literal["constants", "null"] = "constants") -> Any:
    """Return ``value`` as JSON can hold it."""
    if isinstance(value, frozenset):
        value = sorted(value, key=str)
    return to_jsonable_python(thawed(value), inf_nan_mode=non_finite, fallback=str)


def _brief(value: object) -> str:
    text = flow(jsonable(value))
    return text if len(text) <= LONGEST_DEFAULT else f"{text[:LONGEST_DEFAULT]} ..."


class _Writer(GenerateJsonSchema):
    """Writes what pydantic knows of plain values; what JSON Schema cannot say is left open."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        """Leave a type open that has no JSON Schema."""
        try:
            return super().handle_invalid_for_json_schema(schema, error_info)
        except PydanticInvalidForJsonSchema:
            return {}


@cache
def _all_written(config_class: type[Config]) -> Schema:
    schema: Schema = _as_draft_7(config_class.model_json_schema(schema_generator=_Writer))
    return schema


def written_fields(config_class: type[Config]) -> Schema:
    """Return field name -> what pydantic writes for it."""
    found: Schema = _all_written(config_class).get("properties", {})
    return found


def written_definition(config_class: type[Config], name: str) -> Schema:
    """Return a definition to which what pydantic writes for a field refers."""
    found: Schema = _all_written(config_class)["$defs"][name]
    return found


def _as_draft_7(schema: Any, *, names: bool = False) -> Any:
    """Return a schema without titles, its fixed tuples as draft 7 says them."""
    if isinstance(schema, list):
        return [_as_draft_7(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {key: _as_draft_7(item) for key, item in schema.items()}
    new = {
        key: item if key in _VERBATIM else _as_draft_7(item, names=key in _NAMED)
        for key, item in schema.items()
        if key != "title"
    }
    if "prefixItems" in new:
        new["items"] = new.pop("prefixItems")
    return new


_VERBATIM = ("default", "enum", "const", "examples", "required")
_NAMED = ("properties", "patternProperties", "$defs")

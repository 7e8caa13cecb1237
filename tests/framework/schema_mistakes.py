"""Where a YAML text does not fit a schema."""

import re

from jsonschema import Draft7Validator

from firstlight.framework.yaml_lines import read_value


def mistakes(schema, yaml):
    """Return the path of each mistake, with the name of a field that is not allowed."""
    found = []
    for error in Draft7Validator(schema).iter_errors(read_value(yaml)):
        path = [str(part) for part in error.absolute_path]
        extra = re.findall(r"'([^']+)'", error.message) if error.validator == "additionalProperties" else []
        found += [".".join([*path, name]) for name in extra[:1] or [""]]
    return sorted(path.rstrip(".") for path in found)

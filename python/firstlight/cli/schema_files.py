"""The schemas that let an editor complete and check the YAML files of firstlight."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import IO

from firstlight.errors import OutputError
from firstlight.framework.json_schema import known_classes, settings_schema
from firstlight.framework.json_schema_values import Schema
from firstlight.framework.pipeline_json_schema import pipeline_schema
from firstlight.images.atomic import write_atomically
from firstlight.images.instrument_config import InstrumentConfig
from firstlight.tasks.color_terms import ColorTermLibrary
from firstlight.tasks.single_frame import SingleFrameConfig


def write_schemas(folder: Path) -> tuple[Path, ...]:
    """Write one schema for each kind of YAML file, and return their paths.

    Those are ``overrides``, ``pipeline``, ``instrument`` and ``colorterms``, and one for the settings of each task that
    is known. Writing again gives the same bytes.

    Parameters
    ----------
    folder
        Where the files ``<name>.schema.json`` appear; made if it is not there.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {error.strerror or error}.") from error
    written = {folder / f"{name}.schema.json": schema for name, schema in schemas().items()}
    for path, schema in written.items():
        text = json.dumps(schema, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(path, partial(_write, text.encode()))
    return tuple(written)


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def schemas() -> dict[str, Schema]:
    """Return name -> schema of each kind of file."""
    tasks = {name.replace(":", "."): task for name, task in known_classes().items()}
    return {
        "overrides": settings_schema(SingleFrameConfig, title="Settings of firstlight process"),
        "pipeline": pipeline_schema(title="Pipeline of firstlight"),
        "instrument": settings_schema(InstrumentConfig, title="Instrument of firstlight", complete=True),
        "colorterms": settings_schema(ColorTermLibrary, title="Colour terms of a camera", complete=True),
        **{name: settings_schema(task.config_class, title=f"Settings of {name}") for name, task in tasks.items()},
    }

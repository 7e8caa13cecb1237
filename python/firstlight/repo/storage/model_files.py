"""Models as JSON: their arrays and plain values, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import RepoError
from firstlight.images.atomic import write_text_atomically
from firstlight.images.json_values import from_json, to_json
from firstlight.images.parts import Parted

FORMAT = 1
"""Version of the layout of these files."""


def write_models(models: Sequence[Parted], path: Path, *, names: Sequence[str]) -> None:
    """Write models, each under the name of its class.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    parts = []
    for name, model in zip(names, models, strict=True):
        arrays, values = model.to_parts()
        parts.append({"class": name, "values": values, "arrays": {key: _taken_apart(arrays[key]) for key in arrays}})
    write_text_atomically(path, f"{to_json({'format': FORMAT, 'models': parts})}\n")


def read_models(path: Path, classes: Mapping[str, Any]) -> list[Any]:
    """Return the models of a file.

    Parameters
    ----------
    path
    classes
        Name -> class that has ``from_parts``.

    Raises
    ------
    RepoError
        If the file cannot be read, or has a class that is not among ``classes``.
    """
    content = read_json(path)
    try:
        if content["format"] > FORMAT:
            raise RepoError(f"{path} has format {content['format']}; this firstlight reads up to {FORMAT}.")
        parts = content["models"]
        unknown = sorted({each["class"] for each in parts} - set(classes))
        if unknown:
            raise RepoError(f"{path} holds a {unknown[0]}; install the package that has this class.")
        return [classes[each["class"]].from_parts(_arrays(each["arrays"]), each["values"]) for each in parts]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RepoError(f"{path} does not hold the models that it should: {error}.") from error


def read_model(path: Path, classes: Mapping[str, Any]) -> object:
    """Return the only model of a file; see `read_models`.

    Raises
    ------
    RepoError
        If it cannot be read, or there is not exactly one.
    """
    models = read_models(path, classes)
    if len(models) != 1:
        raise RepoError(f"{path} holds {len(models)} models where one should be.")
    return models[0]


def read_json(path: Path) -> Any:
    """Return the value in a file of JSON.

    Raises
    ------
    RepoError
        If the file is not JSON.
    """
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RepoError(f"{path} cannot be read as JSON: {error}.") from error


def _taken_apart(array: Any) -> dict[str, Any]:
    array = np.asarray(array)
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.ravel().tolist()}


def _arrays(described: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {
        key: np.array(each["data"], dtype=np.dtype(each["dtype"])).reshape(each["shape"])
        for key, each in described.items()
    }

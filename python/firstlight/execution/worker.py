"""Running batches of work: read the inputs, run the task, write the outputs and, last, the record."""

from __future__ import annotations

import importlib
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from firstlight.errors import FirstlightError, UserError
from firstlight.execution.startup import keep_freed_memory
from firstlight.execution.work import Batch, Dataset, Quantum, Record, head_of
from firstlight.framework import DataId, Handle, PipelineTask, QuantumOutcome, Resources, run_quantum
from firstlight.framework.files import config_from_yaml
from firstlight.framework.lookup import find_class
from firstlight.images.atomic import write_text_atomically
from firstlight.repo.files import checksum_of
from firstlight.repo.storage import find_storage

if TYPE_CHECKING:
    from firstlight.images.exposure import Exposure

MOST_LOG_LINES = 500
"""Log lines kept with one piece of work; the last ones stay."""

Reader = Callable[[Path, Mapping[str, Any]], object]


def run_batch(batch: Batch, *, announce: Callable[[Record], None] | None = None, catch: bool = True) -> list[Record]:
    """Run every piece of work of a batch, and return their records.

    Parameters
    ----------
    batch
    announce
        Called with each record as soon as it is there.
    catch
        Whether a bug becomes a record; otherwise it is raised, for a debugger.
    """
    keep_freed_memory()
    records = []
    for quantum in batch["quanta"]:
        record = run_one(batch, quantum, catch=catch)
        records.append(record)
        if announce is not None:
            announce(record)
    return records


def prepare_batch(batch: Batch) -> None:
    """Make the task of a batch, so that the time this takes is not that of its first piece of work."""
    with suppress(Exception):  # `run_one` meets it again, and records it
        made_task(batch["task"], batch["config"])


@cache
def made_task(name: str, config: str) -> PipelineTask[Any]:
    """Return the task of a class with its settings; made once in each worker."""
    cls = find_class(name)
    if not issubclass(cls, PipelineTask):
        raise TypeError(f"{name} is not a PipelineTask.")
    return cls(config_from_yaml(cls.config_class, config, source=f"settings of {cls.__name__}"))


def run_one(batch: Batch, quantum: Quantum, *, catch: bool) -> Record:
    """Run one piece of work and return its record: how it ended, what it wrote, how good it is, what it took."""
    record: Record = {
        **head_of(batch["label"], quantum),
        "host": platform.node(),
        "pid": os.getpid(),
        "started": time.time(),
        "outputs": [],
    }
    kept: list[dict[str, Any]] = []
    before = structlog.get_config()
    structlog.configure(
        processors=[_keeping(kept)], logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False
    )
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        task = made_task(batch["task"], batch["config"])
        outcome = run_quantum(task, _arguments(batch, quantum), resources=Resources(**batch["resources"]))
        record |= _told(outcome)
        record["outputs"] = [
            _written(quantum["outputs"][name], product, partial=outcome.status == "partial")
            for name, product in outcome.products.items()
        ]
    except Exception as error:
        _take_back(quantum)
        if not catch and not isinstance(error, FirstlightError):
            raise
        record |= _broken(error)
    finally:
        structlog.configure(**before)
    record |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "log": kept[-MOST_LOG_LINES:]}
    text = json.dumps(record, default=_plain)
    path = Path(quantum["record_path"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, text)
    except (FirstlightError, OSError) as error:
        _take_back(quantum)
        record |= {**_broken(error), "outputs": []}
        text = json.dumps(record, default=_plain)
    return dict(json.loads(text))


def _take_back(quantum: Quantum) -> None:
    """Delete what was written for a piece of work that does not count."""
    for output in quantum["outputs"].values():
        with suppress(OSError):
            Path(output["path"]).unlink(missing_ok=True)


def _plain(value: object) -> object:
    """Return what JSON can hold of a number of another library, or else a text."""
    item = getattr(value, "item", None)
    number = item() if callable(item) and getattr(value, "size", 0) == 1 else value
    return number if isinstance(number, int | float | str) else str(value)


def _arguments(batch: Batch, quantum: Quantum) -> dict[str, object]:
    arguments: dict[str, object] = {}
    for name, datasets in quantum["inputs"].items():
        if name in batch["deferred"]:
            values: list[object] = [_handle(each, batch["readers"]) for each in datasets]
        else:
            values = [read_dataset(each, batch["readers"]) for each in datasets]
        if name in batch["several"]:
            arguments[name] = tuple(values)
        elif values:
            arguments[name] = values[0]
    return arguments


def _handle(dataset: Dataset, readers: Mapping[str, str]) -> Handle[object]:
    return Handle(dataset["type"], DataId(dataset["data_id"]), lambda: read_dataset(dataset, readers))


def read_dataset(dataset: Dataset, readers: Mapping[str, str]) -> object:
    """Read one dataset.

    Raises
    ------
    RepoError, ImageFileError
        If its file is gone or damaged.
    """
    path = Path(dataset["path"])
    if dataset["storage"] == "refcat":
        return _reference_catalog(path)
    if dataset["storage"] in readers:
        return _reader(readers[dataset["storage"]])(path, dataset["data_id"])
    return find_storage(dataset["storage"]).read(path)


@cache
def _reference_catalog(path: Path) -> object:
    if path.is_dir():
        from firstlight.refcats.store import StoredReferenceCatalog

        return StoredReferenceCatalog(path)
    from firstlight.refcats import read_reference_catalog

    return read_reference_catalog(path)


@cache
def _reader(name: str) -> Reader:
    module, _, function = name.partition(":")
    found: Reader = getattr(importlib.import_module(module), function)
    return found


def _written(dataset: Dataset, product: object, *, partial: bool) -> dict[str, Any]:
    """Write one product; it appears whole or not at all."""
    path = Path(dataset["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    find_storage(dataset["storage"]).write(product, path)
    told: dict[str, Any] = {
        **dataset,
        "size": path.stat().st_size,
        "checksum": checksum_of(path),
        "partial": partial,
    }
    if dataset["storage"] == "exposure":
        told |= _about_exposure(product, partial=partial)
    return told


def _about_exposure(product: object, *, partial: bool) -> dict[str, Any]:
    """Return the summary of a calibrated exposure, and where it lies if it is whole."""
    from firstlight.images.exposure import Exposure

    told: dict[str, Any] = {}
    if isinstance(product, Exposure) and product.summary is not None:
        told["summary"] = {name: float(value) for name, value in product.summary.items()}
    if isinstance(product, Exposure) and product.wcs is not None and not partial:
        told["region"] = _region(product)
    return told


def _region(exposure: Exposure) -> dict[str, float]:
    """Return the circle on the sky that holds the image [deg]."""
    import numpy as np

    ny, nx = exposure.shape
    assert exposure.wcs is not None  # noqa: S101 - the caller looked
    x = np.array([(nx - 1) / 2, 0.0, nx - 1.0, 0.0, nx - 1.0])
    y = np.array([(ny - 1) / 2, 0.0, 0.0, ny - 1.0, ny - 1.0])
    ra, dec = (np.radians(each) for each in exposure.wcs.pixel_to_sky(x=x, y=y))
    haversine = np.sin((dec - dec[0]) / 2) ** 2 + np.cos(dec) * np.cos(dec[0]) * np.sin((ra - ra[0]) / 2) ** 2
    radius = float(np.degrees(2 * np.arcsin(np.sqrt(haversine.max()))))
    return {"ra": float(np.degrees(ra[0])), "dec": float(np.degrees(dec[0])), "radius": radius}


def _told(outcome: QuantumOutcome) -> Record:
    told: Record = {
        "status": outcome.status,
        "step": outcome.step,
        "gates": [gate.to_dict() for gate in outcome.gates],
        "funnels": [funnel.to_dict() for funnel in outcome.funnels],
        "metadata": dict(outcome.metadata),
    }
    if outcome.error is not None:
        told["error"] = {
            "class": type(outcome.error).__name__,
            "message": str(outcome.error),
            "facts": dict(outcome.facts),
        }
    return told


def _broken(error: Exception) -> Record:
    """Return how work ended that raised something that is not about the data."""
    return {
        "status": "memory" if isinstance(error, MemoryError) else "error",
        "error": _described(error),
        "outputs": [],
    }


def _described(error: Exception) -> dict[str, Any]:
    told: dict[str, Any] = {"class": type(error).__name__, "message": str(error) or type(error).__name__, "facts": {}}
    if not isinstance(error, UserError | OSError):
        told["traceback"] = traceback.format_exc()
    return told


def _keeping(kept: list[dict[str, Any]]) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    """Return a processor that keeps what a task logs, with the time since the epoch."""

    def keep(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        kept.append({"time": round(time.time(), 3), "level": method, **event})
        return event

    return keep

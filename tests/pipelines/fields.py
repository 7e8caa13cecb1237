"""Simulated fields as an instrument hands them to a pipeline, with their truth, and what pipelines must keep."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from astropy.table import Table

from firstlight.framework import Layer, build_config
from firstlight.images.exposure import Exposure, plain_header
from firstlight.images.fits import RawImage
from firstlight.images.photo_calib import PhotoCalib
from firstlight.instruments.registry import known_instruments
from firstlight.refcats.formats import TableReferenceCatalog
from firstlight.simulation import SimulatedExposure, SimulationSettings, simulate_night
from firstlight.tasks.single_frame import SingleFrameConfig, SingleFrameResult, SingleFrameTask


@dataclass(frozen=True)
class Field:
    """An exposure, its reference catalogue and its truth."""

    exposure: Exposure
    reference: TableReferenceCatalog
    truth: SimulatedExposure

    @property
    def references(self) -> dict[str, TableReferenceCatalog]:
        """Return the arguments that calibrate with the field's own reference catalogue."""
        return {"astrometry_refcat": self.reference, "photometry_refcat": self.reference}

    def moved_reference(self, degrees: float) -> TableReferenceCatalog:
        """Return the reference catalogue of another field."""
        table = self.reference.table.copy()
        table["ra"] = (table["ra"] + degrees) % 360
        return TableReferenceCatalog(table, name="elsewhere")


@cache
def simulated_field(*, seed: int, size: int, **changes: float) -> Field:
    """Simulate a square field; the same arguments give the same objects, which are not to be changed."""
    night = simulate_night(SimulationSettings(shape=(size, size)).varied(**changes), seed=seed)
    truth = night.exposures[0]
    raw = RawImage(truth.image, plain_header(truth.header), 0)
    exposure = known_instruments()["simulated"].to_exposure(raw)
    return Field(exposure, TableReferenceCatalog(night.reference, name="reference"), truth)


def task_with(*settings: str) -> SingleFrameTask:
    """Return the pipeline with settings as they are written on the command line."""
    return SingleFrameTask(build_config(SingleFrameConfig, [Layer.from_assignment(text) for text in settings]))


def process(field: Field, *settings: str) -> SingleFrameResult:
    """Return what the pipeline makes of a field with its own reference catalogue."""
    return task_with(*settings).run(field.exposure, **field.references)


def assert_sky_can_be_put_back(before: Exposure, after: Exposure, applied: PhotoCalib | None) -> None:
    """Image plus background, in counts, is the image before, to a few units in the last place of float32."""
    per_count = 1.0 if applied is None else applied.mean
    restored = (after.image.astype(float) + after.background.evaluate(shape=after.shape)) / per_count
    kept = ~after.mask.any_of("INTRP")
    largest = np.maximum(np.abs(before.image), np.abs(after.image) / per_count)
    assert kept.mean() > 0.99
    assert np.all(np.abs(restored - before.image)[kept] <= 8 * np.finfo(np.float32).eps * largest[kept].clip(1.0))


def assert_same_table(one: Table, two: Table) -> None:
    """Two tables are equal to the last bit, names, units and types included."""
    assert one.colnames == two.colnames
    for name in one.colnames:
        assert (one[name].dtype, one[name].unit) == (two[name].dtype, two[name].unit), name
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)

"""Numbers of a difference at many places, to see where on the image it is good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Column, Table
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from firstlight.framework import Input, Output, PipelineTask, PipelineTaskConfig, Struct
from firstlight.images.exposure import Exposure
from firstlight.images.spatial_kernel import MatchingKernel
from firstlight.kernels.arrays import FloatArray
from firstlight.tasks.measurement_scene import exposure_unit


@dataclass(frozen=True)
class SampleDifferenceResult(Struct):
    """What `SampleDifferenceTask.run` returns."""

    samples: Table
    """One row a place: what lies in the box about it, and the kernel there."""


class SampleDifferenceConfig(PipelineTaskConfig):
    """Settings of `SampleDifferenceTask`."""

    count: PositiveInt = 100
    """Number of places."""

    box: PositiveInt = Field(default=100, ge=8)
    """Side of the square about each [pixel]."""

    planes: tuple[str, ...] = ("SAT", "SAT_TEMPLATE", "BAD", "CR", "EDGE", "NO_DATA", "STREAK", "DETECTED")
    """Mask planes whose shares of the squares are told."""


class SampleDifferenceTask(PipelineTask[SampleDifferenceConfig]):
    """Sources, dipoles, levels, noise, masks and the kernel at random places (LSST ``SpatiallySampledMetricsTask``).

    The centroid of the kernel tells of a registration that is wrong there, the mean dipole that it is wrong for stars.
    """

    dimensions = ("instrument", "visit", "detector")
    inputs = {
        "science": Input("visit_image", Exposure),
        "matched_template": Input("template_matched", Exposure),
        "difference": Input("difference_image", Exposure),
        "kernel": Input("difference_kernel", MatchingKernel),
        "candidates": Input("dia_source", Table),
    }
    outputs = {"samples": Output("difference_image_metrics", Table)}

    def run(
        self,
        science: Exposure,
        matched_template: Exposure,
        difference: Exposure,
        kernel: MatchingKernel,
        candidates: Table,
    ) -> SampleDifferenceResult:
        """Measure at places that the number of the exposure decides.

        Parameters
        ----------
        science, matched_template, difference
            On the same pixels.
        kernel
        candidates
            With ``x`` and ``y`` [pixel], and what dipoles there are.
        """
        ny, nx = difference.shape
        rng = np.random.default_rng([difference.observation.exposure_id, difference.detector.id])
        x, y = rng.uniform(-0.5, [[nx - 0.5], [ny - 0.5]], (2, self.config.count))
        table = Table({"x": Column(x, unit=u.pix), "y": Column(y, unit=u.pix)})
        inside = self._inside(table, candidates, difference.shape)
        _add_sources(table, candidates, inside)
        squares = [self._square(a, b) for a, b in zip(x, y, strict=True)]
        for name, exposure in (("science", science), ("template", matched_template), ("difference", difference)):
            for kind, plane in (("median", exposure.image), ("variance", exposure.variance)):
                unit = exposure_unit(difference) ** (1 if kind == "median" else 2)
                table[f"{name}_{kind}"] = Column([_median(plane[square]) for square in squares], unit=unit)
        for name in self.config.planes:
            if name in difference.mask.planes:
                where = difference.mask.any_of(name)
                table[f"{name.lower()}_fraction"] = [float(where[square].mean()) for square in squares]
        for name, exposure in (("science", science), ("difference", difference)):
            if exposure.psf is not None:
                sizes = [exposure.psf.moments(x=float(a), y=float(b)).sigma for a, b in zip(x, y, strict=True)]
                table[f"{name}_psf_sigma"] = Column(sizes, unit=u.pix)
        _add_kernel(table, kernel, difference)
        self.log.info("sampled", places=len(table), largest_shift=float(np.max(table["kernel_shift"])))
        return SampleDifferenceResult(samples=table)

    def _square(self, x: float, y: float) -> tuple[slice, slice]:
        low = [round(at) - self.config.box // 2 for at in (y, x)]
        return np.s_[max(low[0], 0) : low[0] + self.config.box, max(low[1], 0) : low[1] + self.config.box]

    def _inside(self, table: Table, candidates: Table, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return (places, candidates) True where a candidate lies in the square, and add the squares' areas."""
        half = self.config.box / 2
        within, area = np.ones((len(table), len(candidates)), dtype=bool), np.ones(len(table))
        for name, side in (("x", shape[1]), ("y", shape[0])):
            at, places = np.asarray(table[name]), np.asarray(candidates[name], dtype=np.float64)
            within &= np.abs(places[None, :] - at[:, None]) <= half
            area *= np.minimum(at + half, side - 0.5) - np.maximum(at - half, -0.5)
        table["area"] = Column(area, unit=u.pix**2)
        return within


def _add_sources(table: Table, candidates: Table, inside: NDArray[np.bool_]) -> None:
    """Add numbers of sources and dipoles, and the mean dipole as a vector."""
    n = len(candidates)
    dipole = (
        np.asarray(candidates["is_dipole"], dtype=bool) if "is_dipole" in candidates.colnames else np.zeros(n, bool)
    )
    table["n_sources"], table["n_dipoles"] = inside.sum(axis=1), (inside & dipole).sum(axis=1)
    known = {"dipole_separation", "dipole_angle"} <= set(candidates.colnames)
    length = np.nan_to_num(np.asarray(candidates["dipole_separation"])) if known else np.zeros(n)
    angle = np.radians(np.nan_to_num(np.asarray(candidates["dipole_angle"]))) if known else np.zeros(n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = [(inside & dipole) @ (length * f(angle)) / table["n_dipoles"].data for f in (np.cos, np.sin)]
    table["dipole_separation"] = Column(np.hypot(*mean), unit=u.pix)
    table["dipole_angle"] = Column(np.degrees(np.arctan2(mean[1], mean[0])), unit=u.deg)


def _add_kernel(table: Table, kernel: MatchingKernel, difference: Exposure) -> None:
    """Add the sum of the kernel and where its centroid lies, on the sky too where there is a WCS."""
    x, y = np.asarray(table["x"]), np.asarray(table["y"])
    dx, dy = kernel.kernel.centroid(x=x, y=y)
    table["kernel_sum"] = kernel.kernel.total(x=x, y=y)
    table["kernel_dx"], table["kernel_dy"] = Column(dx, unit=u.pix), Column(dy, unit=u.pix)
    table["kernel_shift"] = Column(np.hypot(dx, dy), unit=u.pix)
    if difference.wcs is None:
        return
    ra, dec = difference.wcs.pixel_to_sky(x=x, y=y)
    there_ra, there_dec = difference.wcs.pixel_to_sky(x=x + dx, y=y + dy)
    east = ((there_ra - ra + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec))
    table["ra"], table["dec"] = Column(ra, unit=u.deg), Column(dec, unit=u.deg)
    table["kernel_shift_arcsec"] = Column(3600.0 * np.hypot(east, there_dec - dec), unit=u.arcsec)
    table["kernel_position_angle"] = Column(np.degrees(np.arctan2(east, there_dec - dec)) % 360.0, unit=u.deg)


def _median(values: FloatArray) -> float:
    """Return the median of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")

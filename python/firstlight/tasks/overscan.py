"""Subtract the level of the electronics, measured on the overscan, and trim it off."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from pydantic import PositiveFloat, PositiveInt
from typing_extensions import TypeVar

from firstlight.algorithms.isr import OverscanLevel, Statistic, measure_overscan
from firstlight.errors import HeaderError, InputError
from firstlight.framework import Config, Struct, Task
from firstlight.images.box import Box
from firstlight.images.exposure import Exposure

SECTION = re.compile(r"\[?\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]?")


@dataclass(frozen=True)
class OverscanResult(Struct):
    """What an `OverscanTask` returns."""

    exposure: Exposure
    """The trimmed exposure without the level; the noise of the level is added to its variance."""

    level: float
    """What was subtracted, the median of all rows [count]."""

    noise: float
    """Standard deviation of a pixel of the overscan [count]."""


class OverscanConfig(Config):
    """What every overscan correction can be told."""

    bias_section: str | None = None
    """Overscan as FITS writes it, ``1025:1056,1:1024``: first and last pixel of x, then y, from 1; brackets around it,
    in quotes, may stay [pixel]. None takes it from the header."""

    data_section: str | None = None
    """What is kept, written like the overscan [pixel]. None takes it from the header; the whole image without the
    overscan's columns or rows where that does not say."""

    bias_keywords: tuple[str, ...] = ("BIASSEC",)
    """Keywords that may hold the overscan, in the order in which they are tried."""

    data_keywords: tuple[str, ...] = ("TRIMSEC", "DATASEC")
    """Keywords that may hold what is kept, in the order in which they are tried."""

    statistic: Statistic = "mean"
    """How the pixels of a level are averaged: clipped mean or median."""

    n_sigma: PositiveFloat = 3.5
    """Pixels farther from the median of their row are left out of a mean [standard deviation]."""


OverscanConfigT = TypeVar("OverscanConfigT", bound=OverscanConfig, covariant=True, default=OverscanConfig)


class OverscanTask(Task[OverscanConfigT], ABC):
    """Interface: anything that subtracts the level of the overscan and trims it off."""

    @abstractmethod
    def run(self, exposure: Exposure) -> OverscanResult:
        """Subtract the overscan of ``exposure``.

        Raises
        ------
        HeaderError
            If neither settings nor header say where the overscan is.
        InputError
            If it is not inside the image, or does not reach along all rows that are kept.
        CalibrationError
            If it has no usable pixel.
        """

    def sections(self, exposure: Exposure) -> tuple[Box, Box]:
        """Return where the overscan is, and what is kept.

        Raises
        ------
        HeaderError
            If neither settings nor header say where the overscan is, or not in the words of FITS.
        InputError
            If one of them is not inside the image.
        """
        config = self.config
        bias = _section(config.bias_section, exposure.header, config.bias_keywords, exposure.box)
        if bias is None:
            raise HeaderError(
                f"The overscan is not known: the header has no {' or '.join(config.bias_keywords)}; set bias_section."
            )
        data = _section(config.data_section, exposure.header, config.data_keywords, exposure.box)
        return bias, _beside(bias, exposure.box) if data is None else data

    def trimmed(self, exposure: Exposure, data: Box, measured: OverscanLevel) -> OverscanResult:
        """Return the part ``data`` of an exposure without a level that was measured for its rows, or for all."""
        cut = exposure.cutout(data)
        unwanted = {*self.config.bias_keywords, *self.config.data_keywords}
        level = float(np.median(measured.level))
        saturation = cut.detector.saturation
        trimmed = cut.replace(
            image=cut.image - measured.level.astype(np.float32),
            variance=cut.variance + np.float32(measured.variance),
            detector=replace(cut.detector, saturation=None if saturation is None else saturation - level),
            header={key: value for key, value in cut.header.items() if key not in unwanted},
        )
        self.metadata.note("level", level)
        self.log.info("overscan", level=level, noise=measured.noise, kept=f"{data.width}x{data.height}")
        return OverscanResult(exposure=trimmed, level=level, noise=measured.noise)


class RowOverscanConfig(OverscanConfig):
    """Settings of `RowOverscanTask`."""

    smoothing: PositiveInt = 1
    """Number of rows over which levels are averaged [pixel]; 1 follows every row, as electronics that drift quickly
    need it."""


class RowOverscanTask(OverscanTask[RowOverscanConfig]):
    """A level for every row, from the columns beside it."""

    def run(self, exposure: Exposure) -> OverscanResult:
        """Subtract the overscan of ``exposure``."""
        bias, data = self.sections(exposure)
        if bias.y0 > data.y0 or bias.y1 < data.y1:
            raise InputError(
                f"The overscan covers rows {bias.y0} to {bias.y1 - 1} and the image rows {data.y0} to {data.y1 - 1}; "
                "levels of rows need an overscan beside each of them, or take task: ConstantOverscanTask."
            )
        strip = exposure.image[data.y0 : data.y1, bias.x0 : bias.x1]
        measured = measure_overscan(
            strip,
            per_row=True,
            statistic=self.config.statistic,
            smoothing=self.config.smoothing,
            n_sigma=self.config.n_sigma,
        )
        return self.trimmed(exposure, data, measured)


class ConstantOverscanTask(OverscanTask):
    """One level for the whole image."""

    def run(self, exposure: Exposure) -> OverscanResult:
        """Subtract the overscan of ``exposure``."""
        bias, data = self.sections(exposure)
        measured = measure_overscan(
            exposure.image[bias.slices], per_row=False, statistic=self.config.statistic, n_sigma=self.config.n_sigma
        )
        return self.trimmed(exposure, data, measured)


def box_of_section(text: str) -> Box:
    """Return the box that FITS writes as ``[x0:x1,y0:y1]``: first and last pixel, counted from 1.

    Raises
    ------
    HeaderError
        If the text is no such section, or an empty one.
    """
    match = SECTION.fullmatch(text.strip())
    x0, x1, y0, y1 = (int(number) for number in match.groups()) if match else (0, 0, 0, 0)
    if not (1 <= x0 <= x1 and 1 <= y0 <= y1):
        raise HeaderError(f"{text!r} is no section of an image; it should look like 1025:1056,1:1024.")
    return Box.between(x=(x0 - 1, x1), y=(y0 - 1, y1))


def _section(given: str | None, header: Mapping[str, object], keywords: tuple[str, ...], whole: Box) -> Box | None:
    text = given or next((str(header[keyword]) for keyword in keywords if keyword in header), None)
    if text is None:
        return None
    box = box_of_section(text)
    if box.clip(whole) != box:
        raise InputError(f"Section {text} is not inside the image of {whole.width} x {whole.height} pixels.")
    return box


def _beside(bias: Box, whole: Box) -> Box:
    """Return the larger part of the image that is left when the columns or the rows of the overscan are cut off."""
    parts = (
        Box.between(x=(0, bias.x0), y=(0, whole.y1)),
        Box.between(x=(bias.x1, whole.x1), y=(0, whole.y1)),
        Box.between(x=(0, whole.x1), y=(0, bias.y0)),
        Box.between(x=(0, whole.x1), y=(bias.y1, whole.y1)),
    )
    return max(parts, key=lambda part: part.area)

"""`FrameStack`: frames of one kind that are read in bands of rows, so that they need not all fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.errors import InputError
from firstlight.framework import Handle
from firstlight.images.exposure import Exposure, HeaderValue
from firstlight.images.observation import DetectorInfo, ObservationInfo
from firstlight.kernels.arrays import BoolArray
from firstlight.tasks.calibration_frames import STEPS, binning_of

SAMPLE_ROWS = 64
"""Rows on which the noise of the frames is measured."""

BYTES_PER_PIXEL = 40
"""Memory that combining takes for each pixel of each frame: image, variance, mask and what is made of them [byte]."""


@dataclass(frozen=True)
class FrameFacts:
    """What is known of a frame without its pixels."""

    shape: tuple[int, int]
    observation: ObservationInfo
    detector: DetectorInfo
    header: dict[str, HeaderValue]
    physical_filter: str | None
    level: float
    """Clipped mean of its good pixels [count]."""

    @classmethod
    def of(cls, exposure: Exposure, *, level: float) -> FrameFacts:
        """Return what is known of an exposure."""
        filter_ = None if exposure.filter is None else exposure.filter.physical
        return cls(exposure.shape, exposure.observation, exposure.detector, dict(exposure.header), filter_, level)

    def kinship(self) -> dict[str, object]:
        """Return what frames must share to be combined, by what it is called."""
        steps = ", ".join(step for step, keyword in STEPS.items() if keyword in self.header)
        return {
            "pixels": f"{self.shape[1]} x {self.shape[0]}",
            "binning": binning_of(self.header),
            "filter": self.physical_filter,
            "detector": self.detector.id,
            "corrections": steps or "none",
        }


@dataclass(frozen=True)
class Frame:
    """One frame of a stack: where its pixels come from, and what they are multiplied with."""

    handle: Handle[Exposure]
    facts: FrameFacts
    factor: float
    exposure: Exposure | None
    """The frame itself, where all fit into memory."""

    def load(self) -> Exposure:
        """Return the frame."""
        return self.handle.get() if self.exposure is None else self.exposure


@dataclass(frozen=True)
class FrameRows:
    """Some rows of every frame, brought to one scale."""

    rows: NDArray[np.int64]
    """(n_rows,) Which rows they are."""

    image: NDArray[np.float32]
    """(n_frames, n_rows, nx)"""

    variance: NDArray[np.float32]
    bad: BoolArray


class FrameStack:
    """Frames of one kind that can be combined.

    Parameters
    ----------
    frames
        At least one.
    ignored_planes
        Mask planes whose pixels are not to be used.
    max_bytes
        Memory that the rows in hand may take.

    Raises
    ------
    InputError
        If the frames differ in what they must share.
    """

    def __init__(self, frames: Sequence[Frame], *, ignored_planes: tuple[str, ...], max_bytes: int) -> None:
        self.frames = tuple(frames)
        self.shape = frames[0].facts.shape
        self._ignored = ignored_planes
        self._max_bytes = max_bytes
        for index, frame in enumerate(frames[1:], start=2):
            require_kinship(frames[0].facts, frame.facts, index=index)

    def sample(self) -> FrameRows:
        """Return rows spread evenly over the image."""
        return self.read(np.unique(np.linspace(0, self.shape[0] - 1, SAMPLE_ROWS).round().astype(np.int64)))

    def bands(self, *, margin: int = 0) -> Iterator[tuple[FrameRows, slice]]:
        """Yield all rows of the image, band by band, and which of a band are its own.

        Parameters
        ----------
        margin : [pixel]
            Rows of its neighbours that a band has as well.
        """
        ny, nx = self.shape
        height = max(1, self._max_bytes // (BYTES_PER_PIXEL * len(self.frames) * nx) - 2 * margin)
        for start in range(0, ny, height):
            stop = min(start + height, ny)
            first = max(0, start - margin)
            yield (
                self.read(np.arange(first, min(ny, stop + margin))),
                slice(start - first, stop - first),
            )

    def read(self, rows: NDArray[np.int64]) -> FrameRows:
        """Return some rows of every frame, brought to one scale; what is not finite is bad, and 0."""
        size = (len(self.frames), len(rows), self.shape[1])
        image, variance, bad = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, bool)
        for index, frame in enumerate(self.frames):
            exposure = frame.load()
            image[index] = exposure.image[rows] * np.float32(frame.factor)
            variance[index] = exposure.variance[rows] * np.float32(frame.factor**2)
            known = [plane for plane in self._ignored if plane in exposure.mask.planes]
            bad[index] = (exposure.mask.array[rows] & np.int32(exposure.mask.bits(*known))) != 0
        lost = ~(np.isfinite(image) & np.isfinite(variance))
        image[lost], variance[lost] = 0.0, 0.0
        return FrameRows(rows, image, variance, bad | lost)


def require_kinship(first: FrameFacts, other: FrameFacts, *, index: int, but: tuple[str, ...] = ()) -> None:
    """Refuse a frame that cannot be combined with the first.

    Parameters
    ----------
    first, other
    index
        Number of the other, from 1.
    but
        In what they may differ, of what `FrameFacts.kinship` names.

    Raises
    ------
    InputError
    """
    wanted = first.kinship()
    for what, value in other.kinship().items():
        if value != wanted[what] and what not in but:
            raise InputError(
                f"Frames to combine differ in {what}: the first has {wanted[what]}, number {index} has {value}."
            )

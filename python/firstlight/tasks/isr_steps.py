"""The steps of `IsrTask` that are not the overscan: saturation, bias, dark, flat, defects, variance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from pydantic import NonNegativeInt, PositiveFloat

from firstlight.algorithms.isr import divide_by_flat, fill_along_rows, photon_variance, pixels_of_boxes
from firstlight.errors import HeaderError, InputError
from firstlight.framework import Config, Struct, Task
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.noise_model import make_variance
from firstlight.kernels.arrays import BoolArray
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.calibration_frames import require_filter, require_fit, require_steps

DEFECT_COLUMNS = ("x0", "y0", "width", "height")
"""Columns of a table of defects, in whole pixels."""


@dataclass(frozen=True)
class CorrectionResult(Struct):
    """What a step of `IsrTask` returns."""

    exposure: Exposure
    """The exposure after the step."""

    note: str
    """How it was done, for the header."""


class MarkSaturatedConfig(Config):
    """Settings of `MarkSaturatedTask`."""

    level: PositiveFloat | None = None
    """Pixels from this on are saturated, in the raw image [count]. None takes what header or instrument say."""

    suspect_level: PositiveFloat | None = None
    """Pixels from this on are suspect [count]. None marks none."""

    grow: NonNegativeInt = 1
    """Pixels from the level on spread to neighbours within this radius [pixel]."""


class MarkSaturatedTask(Task[MarkSaturatedConfig]):
    """Mark saturated pixels while the counts are still those of the camera."""

    def run(self, exposure: Exposure) -> CorrectionResult:
        """Set SAT, and SUSPECT where that is asked for.

        Raises
        ------
        HeaderError
            If nobody says where pixels saturate.
        """
        level = self.config.level or exposure.detector.saturation
        if level is None:
            raise HeaderError("The saturation level is not known; set isr:saturation.level [count].")
        saturated = exposure.image >= level
        mask = exposure.mask.with_plane("SAT", grow_mask(saturated, self.config.grow))
        if self.config.suspect_level is not None:
            mask = mask.with_plane("SUSPECT", exposure.image >= self.config.suspect_level)
        self.metadata.count("saturated_pixels", int(saturated.sum()))
        return CorrectionResult(
            exposure=exposure.replace(mask=mask, detector=replace(exposure.detector, saturation=float(level))),
            note=f"from {level:.6g} count, grown by {self.config.grow} px",
        )


class CalibrationConfig(Config):
    """What every correction with a calibration frame can be told."""

    copied_planes: tuple[str, ...] = ("BAD", "NO_DATA")
    """Mask planes of the calibration that the exposure takes over."""


class SubtractBiasTask(Task[CalibrationConfig]):
    """Subtract a bias frame."""

    def run(self, exposure: Exposure, bias: Exposure) -> CorrectionResult:
        """Subtract ``bias`` and add its noise.

        Raises
        ------
        InputError
            If the bias is of another shape or binning, or was corrected for other things.
        """
        require_fit(exposure, bias, kind="bias")
        require_steps(exposure, bias, kind="bias", before=("overscan",))
        level, saturation = float(np.nanmedian(bias.image)), exposure.detector.saturation
        corrected = exposure.replace(
            image=exposure.image - bias.image,
            variance=exposure.variance + bias.variance,
            mask=_with_planes(exposure, bias, self.config.copied_planes),
            detector=replace(exposure.detector, saturation=None if saturation is None else saturation - level),
        )
        self.metadata.note("level", level)
        return CorrectionResult(exposure=corrected, note=f"{_count(bias)}, median {level:.6g} count")


class SubtractDarkTask(Task[CalibrationConfig]):
    """Subtract a dark frame, scaled by the exposure time."""

    def run(self, exposure: Exposure, dark: Exposure) -> CorrectionResult:
        """Subtract ``dark`` times the ratio of the exposure times, and add its noise.

        Raises
        ------
        HeaderError
            If one of the exposure times is not known.
        InputError
            If the dark is of another shape or binning, or was corrected for other things.
        """
        require_fit(exposure, dark, kind="dark")
        require_steps(exposure, dark, kind="dark", before=("overscan", "bias"))
        own, other = exposure.observation.exposure_time, dark.observation.exposure_time
        if own is None or other is None or not other > 0:
            raise HeaderError(
                f"A dark is scaled by the exposure time; that of the exposure is {_seconds(own)} and that of the dark "
                f"{_seconds(other)}."
            )
        scale = own / other
        corrected = exposure.replace(
            image=exposure.image - np.float32(scale) * dark.image,
            variance=exposure.variance + np.float32(scale**2) * dark.variance,
            mask=_with_planes(exposure, dark, self.config.copied_planes),
        )
        self.metadata.note("scale", scale)
        return CorrectionResult(exposure=corrected, note=f"{_count(dark)}, times {scale:.6g}")


class DivideFlatConfig(CalibrationConfig):
    """Settings of `DivideFlatTask`."""

    min_flat: PositiveFloat = 0.1
    """Pixels whose response is lower are dead: BAD and NO_DATA, and not divided."""

    max_median: PositiveFloat = 3.0
    """A flat whose median is beyond this, or below its inverse, is not normalised and is refused."""


class DivideFlatTask(Task[DivideFlatConfig]):
    """Divide by a flat field of the filter of the exposure."""

    def run(self, exposure: Exposure, flat: Exposure) -> CorrectionResult:
        """Divide by ``flat`` and add its noise.

        Raises
        ------
        InputError
            If the flat is of another filter, shape or binning, or is not normalised.
        """
        require_fit(exposure, flat, kind="flat")
        require_filter(exposure, flat)
        median, most = float(np.nanmedian(flat.image)), self.config.max_median
        if not 1 / most <= median <= most:
            raise InputError(
                f"The median of the flat is {median:.6g}; a flat is normalised to 1 before it is used, and its median "
                f"must be between {1 / most:.3g} and {most:.3g}."
            )
        done = divide_by_flat(
            exposure.image,
            variance=exposure.variance,
            flat=flat.image,
            flat_variance=flat.variance,
            min_flat=self.config.min_flat,
        )
        mask = _with_planes(exposure, flat, self.config.copied_planes)
        mask = mask.with_plane("BAD", done.dead).with_plane("NO_DATA", done.dead)
        self.metadata.count("dead_pixels", int(done.dead.sum()))
        return CorrectionResult(
            exposure=exposure.replace(image=done.image, variance=done.variance, mask=mask),
            note=f"{_count(flat)}, median {median:.6g}",
        )


class MaskDefectsConfig(Config):
    """Settings of `MaskDefectsTask`."""

    interpolate: bool = False
    """Whether defects are filled in along their rows; they are marked INTRP then, and stay BAD."""

    grow: NonNegativeInt = 0
    """Defects spread to neighbours within this radius [pixel]."""


class MaskDefectsTask(Task[MaskDefectsConfig]):
    """Mark known defects of the detector as BAD."""

    def run(self, exposure: Exposure, defects: Table) -> CorrectionResult:
        """Set BAD in the boxes of ``defects``, a table with x0, y0, width and height [pixel].

        Raises
        ------
        InputError
            If the table has other columns, or a box reaches outside the image.
        """
        bad = grow_mask(_defect_pixels(defects, exposure), self.config.grow)
        corrected = exposure.replace(mask=exposure.mask.with_plane("BAD", bad))
        if self.config.interpolate and bad.any():
            filled = fill_along_rows(exposure.image, bad=bad)
            corrected = corrected.replace(image=filled, mask=corrected.mask.with_plane("INTRP", bad))
        self.metadata.count("defect_pixels", int(bad.sum()))
        return CorrectionResult(exposure=corrected, note=f"{len(defects)} boxes, {int(bad.sum())} pixels")


class NoiseModelVarianceTask(Task):
    """Variance from gain and read noise; measured on the pixels where the gain is not known."""

    def run(self, exposure: Exposure, read_noise: float | None = None) -> CorrectionResult:
        """Add the noise of the counts to what the corrections before left in the variance.

        Parameters
        ----------
        exposure
            Without bias, with sky and dark current; any time later if the gain is not known.
        read_noise : [count]
            Measured on the overscan; used where the detector's own is not known.
        """
        detector = exposure.detector
        if detector.gain is None:
            variance, source = make_variance(exposure.image, detector)
            note = "measured on the pixels"
        else:
            electrons = detector.read_noise
            if electrons is None:
                electrons = (read_noise or 0.0) * detector.gain
            own = photon_variance(exposure.image, gain=detector.gain, read_noise=electrons)
            variance, source = exposure.variance + own, "gain"
            detector = replace(detector, read_noise=electrons)
            note = f"gain {detector.gain:.6g} electron/count, read noise {electrons:.6g} electron"
        return CorrectionResult(
            exposure=exposure.replace(variance=variance, detector=replace(detector, variance_source=source)), note=note
        )


def _with_planes(exposure: Exposure, calibration: Exposure, planes: tuple[str, ...]) -> Mask:
    mask = exposure.mask
    for plane in planes:
        if plane in calibration.mask.planes:
            mask = mask.with_plane(plane, calibration.mask.any_of(plane))
    return mask


def _defect_pixels(defects: Table, exposure: Exposure) -> BoolArray:
    missing = [name for name in DEFECT_COLUMNS if name not in defects.colnames]
    if missing:
        raise InputError(f"The table of defects lacks {', '.join(missing)}; it has {', '.join(defects.colnames)}.")
    boxes = np.array([np.asarray(defects[name], dtype=np.int64) for name in DEFECT_COLUMNS]).T.reshape(-1, 4)
    ny, nx = exposure.shape
    x0, y0, width, height = boxes.T
    outside = (x0 < 0) | (y0 < 0) | (x0 + width > nx) | (y0 + height > ny)
    if outside.any():
        first = boxes[int(np.argmax(outside))].tolist()
        raise InputError(
            f"{int(outside.sum())} of {len(boxes)} defects reach outside the image of {nx} x {ny} pixels, the first at "
            f"x0={first[0]}, y0={first[1]}, {first[2]} x {first[3]}; they may be of another binning or trim."
        )
    return pixels_of_boxes(boxes, shape=(ny, nx))


def _count(calibration: Exposure) -> str:
    n = calibration.header.get("NCOMBINE")
    return "one frame" if n is None else f"mean of {n} frames"


def _seconds(time: float | None) -> str:
    return "not known" if time is None else f"{time:.6g} s"

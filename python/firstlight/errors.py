"""Every error that firstlight raises on purpose, and whose fault it is.

::

    FirstlightError
    |-- UserError                       people: fix the input and run again (exit code 2)
    |   |-- ConfigError                     a setting, a task name, an override
    |   |-- PipelineError                   tasks that do not fit together
    |   |-- RepoError                       a dataset, a collection, a dimension
    |   `-- InputError                      something given on the command line
    |       |-- ImageFileError                  not FITS, truncated
    |       |   `-- NoImageError                    a table, a text, a mask or a weight map in place of an image
    |       |-- HeaderError                     a keyword that is missing or cannot be understood
    |       |-- ReferenceCatalogError           a table without positions, magnitudes or rows
    |       `-- OutputError                     a folder that cannot be written
    |-- AlgorithmError                  this data: retrying does not help (exit code 1); carries facts
    |   |-- TooManyMaskedPixelsError        no usable pixel for a background or a statistic
    |   |-- ConstantImageError              the pixels carry no noise and no signal
    |   |-- TooManyCosmicRaysError          more cosmic-ray pixels than the configured limit
    |   |-- CalibrationError                frames that make no bias, dark or flat, or no overscan to measure
    |   |-- NoSourcesError                  nothing above the detection threshold
    |   |-- PsfError                        stars that make no PSF
    |   |   |-- NoPsfSourcesError               no source was measured
    |   |   |-- NoPsfStarsError                 no source is fit to be a PSF star
    |   |   |-- TooFewPsfStarsError             fewer good stars than asked for
    |   |   `-- NonFinitePsfError               a model without finite moments
    |   |-- AllCentroidsFlaggedError        no PSF star whose position could be measured
    |   |-- ApertureCorrectionError         no star to measure the correction on
    |   |-- NoPsfStarsToStarsMatchError     no star of the catalogue lies where a PSF star is
    |   |-- AstrometryError                 no match to the reference, or a fit beyond its limits
    |   |-- PhotometryError                 no calibrator, or a zero point that is not finite
    |   |-- TemplateError                   too few exposures that can be part of a template
    |   |-- KernelError                     too few stars in both images to match them, or a kernel beyond its limits
    |   `-- BadSubtractionError             a difference that leaves too much of the stars to tell what changed
    |-- NoWorkFound                     nothing to do here; not a failure
    `-- PartialResult                   a step failed; carries the products that are true
"""

from __future__ import annotations

from collections.abc import Mapping

Fact = int | float | str | bool | None
"""What an error may carry across a process border."""


class FirstlightError(Exception):
    """Anything that firstlight raises on purpose."""


class UserError(FirstlightError):
    """Something a person must fix: a setting, a file, an argument."""


class ConfigError(UserError):
    """A setting, a task name or an override that does not fit."""


class PipelineError(UserError):
    """Tasks that do not fit together."""


class RepoError(UserError):
    """A dataset, a collection or a dimension that is not there."""


class InputError(UserError):
    """Something given to a command that cannot be used."""


class ImageFileError(InputError):
    """A file that is not a readable FITS image."""


class NoImageError(ImageFileError):
    """A file that is whole and is no image: a table, a text, a mask or a weight map."""


class HeaderError(InputError):
    """A header keyword that is missing or cannot be understood."""


class ReferenceCatalogError(InputError):
    """A reference table without positions, magnitudes or rows."""


class OutputError(InputError):
    """A place that cannot be written to."""


class AlgorithmError(FirstlightError):
    """The data do not allow the result; trying again does not help.

    Parameters
    ----------
    message
        One sentence with the numbers that explain the failure, ending with a period.
    **facts
        The same numbers as plain values, kept in `facts`.
    """

    def __init__(self, message: str, **facts: Fact) -> None:
        super().__init__(message)
        self.facts: Mapping[str, Fact] = dict(facts)


class TooManyMaskedPixelsError(AlgorithmError):
    """No usable pixel is left for a background or a statistic."""


class ConstantImageError(AlgorithmError):
    """The pixels carry no noise and no signal."""


class TooManyCosmicRaysError(AlgorithmError):
    """More cosmic-ray pixels than the configured limit."""


class CalibrationError(AlgorithmError):
    """Frames too few, too different or too dark to make a calibration, or an overscan without a level."""


class NoSourcesError(AlgorithmError):
    """Nothing stands above the detection threshold."""


class PsfError(AlgorithmError):
    """No usable stars, or a point-spread function that is not finite."""


class NoPsfSourcesError(PsfError):
    """No source was measured, so there is nothing to choose PSF stars from."""


class NoPsfStarsError(PsfError):
    """None of the sources is fit to be a PSF star."""


class TooFewPsfStarsError(PsfError):
    """Fewer good stars than a PSF must have."""


class NonFinitePsfError(PsfError):
    """A point-spread function whose moments are not finite somewhere on the image."""


class AllCentroidsFlaggedError(AlgorithmError):
    """The position of no PSF star could be measured."""


class ApertureCorrectionError(AlgorithmError):
    """No star to measure the aperture correction on."""


class NoPsfStarsToStarsMatchError(AlgorithmError):
    """No star of the catalogue lies where a PSF star is."""


class AstrometryError(AlgorithmError):
    """No match to the reference catalogue, or a fit beyond its limits."""


class PhotometryError(AlgorithmError):
    """No calibrator, or a zero point that is not finite."""


class TemplateError(AlgorithmError):
    """Too few exposures that can be part of a template."""


class KernelError(AlgorithmError):
    """Too few stars in both images to match their point-spread functions, or a kernel that cannot be used."""


class BadSubtractionError(AlgorithmError):
    """A difference leaves so much of the stars by which it was matched that what is found on it means nothing."""


class NoWorkFound(FirstlightError):  # noqa: N818 - LSST's word; not an error
    """There is nothing to do here; not a failure."""


class PartialResult(FirstlightError):  # noqa: N818 - the name says what the caller receives
    """A step failed; the products made before it are true and are carried along.

    Parameters
    ----------
    step
        Name of the pass that failed.
    cause
        What it raised.
    partial
        Connection name -> product, for every product that is true.
    """

    def __init__(self, step: str, cause: AlgorithmError, partial: Mapping[str, object]) -> None:
        super().__init__(f"{step}: {cause}")
        self.step = step
        self.cause = cause
        self.partial = partial

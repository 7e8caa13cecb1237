"""Independent random streams: the sky does not change when the camera draws more numbers."""

from __future__ import annotations

import enum

import numpy as np


class Stream(enum.IntEnum):
    """What a random stream is for."""

    FIELD = 1
    """Pointing of the field."""

    STARS = 2
    """Positions, magnitudes and motions of the stars."""

    GALAXIES = 3
    """Positions, magnitudes and shapes of the galaxies."""

    TRANSIENTS = 4
    """Positions, magnitudes and epochs of the transients."""

    REFERENCE = 5
    """Errors of the reference catalogue."""

    OPTICS = 6
    """Distortion, rotation and the constant part of the point spread."""

    DEFECTS = 7
    """Hot pixels and bad columns."""

    CONDITIONS = 8
    """Dither, seeing, transparency, sky of one epoch."""

    SEEING = 9
    """Variation of the point spread over the image in one epoch."""

    COSMIC_RAYS = 10
    """Tracks of one epoch."""

    NOISE = 11
    """Photon and read noise of one epoch."""

    CAMERA = 12
    """Bias pattern, dark current and response of the pixels."""

    ELECTRONICS = 13
    """Drift of the bias level in one epoch."""

    PLACED = 14
    """Where the bright stars and the big galaxy of the settings stand."""

    TRAILS = 15
    """Satellites of one epoch."""

    WEATHER = 16
    """Lost nights, clouds, seeing and the Moon of a season."""

    SEASON = 17
    """What changes on the sky in a season."""


def random_stream(seed: int, stream: Stream, *, epoch: int = 0) -> np.random.Generator:
    """Return the generator of one purpose, the same for the same arguments."""
    return np.random.default_rng([seed, int(stream), epoch])

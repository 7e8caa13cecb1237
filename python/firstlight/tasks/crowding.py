"""What counts as a crowd: an image in which many sources lie in blends."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from firstlight.framework import Config
from firstlight.kernels.arrays import BoolArray


class CrowdConfig(Config):
    """What tasks that treat crowds in another way can be told."""

    crowded_share: float = Field(default=0.15, ge=0.0, le=1.0)
    """From this share of all sources in blends on, an image counts as a crowd; 0 for every image with a source."""


def is_crowd(blended: BoolArray, config: CrowdConfig) -> bool:
    """Return whether sources, True where they lie in blends, are a crowd; none is without sources."""
    return blended.size > 0 and float(np.mean(blended)) >= config.crowded_share

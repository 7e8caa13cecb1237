"""Exposures, as multi-extension FITS."""

from firstlight.images.exposure import Exposure
from firstlight.images.fits import read_exposure, write_exposure

TYPES = (Exposure,)
write = write_exposure
read = read_exposure

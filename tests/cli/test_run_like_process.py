"""An image with a mask beside it comes out of ``run`` as it comes out of ``process``, with the same reference stars."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from astropy.io import fits

from firstlight.cli.main import run
from firstlight.images.fits import read_exposure
from firstlight.repo.repo import Repo
from firstlight.simulation import SimulationSettings, write_night

NX = 300
MASKED = (slice(100, 140), slice(60, 240))
"""Rows and columns that the mask calls bad."""

COMMANDS = """
process {image} -o with_mask --refcat store --no-page {settings}
repo create R
ingest -b R night/epoch_0.fits night/epoch_0_mask.fits
refcat register -b R store --name astrometry_refcat
refcat register -b R store --name photometry_refcat
run -b R -p single_frame.yaml -o out {settings}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a masked image, what ``process`` made of it, and a repository in which it was run."""
    folder = tmp_path_factory.mktemp("masked")
    write_night(folder / "night", SimulationSettings(shape=(NX, NX)), seed=11)
    mask = np.zeros((NX, NX), dtype=np.int16)
    mask[MASKED] = 1
    fits.PrimaryHDU(mask).writeto(folder / "night" / "epoch_0_mask.fits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["refcat", "ingest", "store", "night/refcat.parquet"]) == 0
        for command in COMMANDS.strip().splitlines():
            words = shlex.split(command.format(image="night/epoch_0.fits", settings="-c calibrate:psf.order=1"))
            assert run(words) == 0, command
    return folder


@pytest.mark.slow
def test_run_and_process_use_the_mask_beside_an_image_alike(folder):
    processed = read_exposure(folder / "with_mask" / "epoch_0_image.fits")
    with Repo.open(folder / "R") as repo:
        [row] = repo.datasets("visit_image", collections="out")
        exposure = repo.read(row)

    assert processed.mask.any_of("BAD")[MASKED].all()
    assert np.count_nonzero(processed.mask.any_of("BAD")) < 2 * 40 * 180
    np.testing.assert_array_equal(exposure.image, processed.image)
    np.testing.assert_array_equal(exposure.variance, processed.variance)
    assert exposure.mask == processed.mask
    assert exposure.summary == processed.summary

"""``firstlight align`` on simulated images, with and without a WCS."""

import numpy as np
import pytest
from astropy.io import fits

from firstlight.cli.main import run
from firstlight.images.fits import read_exposure
from firstlight.simulation import OpticsSettings
from firstlight.simulation.optics import HeaderValues, wcs_cards
from firstlight.simulation.point_spread import add_stars, draw_point_spread

SIDE = 200


def image_of(x, y, flux, *, seed):
    light = np.full((SIDE, SIDE), 100.0)
    spread = draw_point_spread(OpticsSettings(), seed=1, epoch=0, shape=light.shape, fwhm=2.8)
    add_stars(light, x=x, y=y, flux=flux, spread=spread, faintest=0.05)
    return np.random.default_rng(seed).poisson(light).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two images of a field, 7.3 pixels apart, and the same without a WCS."""
    home = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    x, y, flux = rng.uniform(5, SIDE - 5, 60), rng.uniform(5, SIDE - 5, 60), 2000 * (1 + rng.pareto(1.3, 60))
    cards: HeaderValues = wcs_cards(
        OpticsSettings(), seed=1, shape=(SIDE, SIDE), ra=30.0, dec=40.0, rotation=0.0, distorted=False
    )
    for name, shift in (("first", 0.0), ("second", 7.3)):
        pixels = image_of(x + shift, y, flux, seed=int(shift) + 1)
        moved = cards | {"CRPIX1": float(cards["CRPIX1"]) + shift}
        fits.PrimaryHDU(pixels, fits.Header(moved)).writeto(home / f"{name}.fits")
        fits.PrimaryHDU(pixels).writeto(home / f"{name}_plain.fits")
    return home


@pytest.mark.parametrize(("ending", "task"), [("", "LanczosAlignTask"), ("_plain", "PatternAlignTask")])
def test_the_wcs_or_else_the_stars_say_where_pixels_go_and_the_table_says_which(folder, tmp_path, capsys, ending, task):
    arguments = ["align", folder / f"second{ending}.fits", "--to", folder / f"first{ending}.fits", "-o", tmp_path]

    assert run(list(map(str, arguments))) == 0

    assert task in capsys.readouterr().out
    aligned = read_exposure(tmp_path / f"second{ending}_aligned.fits")
    first = fits.getdata(folder / "first.fits")
    known = np.isfinite(aligned.image)
    assert known.mean() == pytest.approx(1 - 7.3 / SIDE, abs=0.02)
    inner = np.s_[10:-10, 10:-20]
    scale = np.sqrt(aligned.variance[inner] + first[inner])
    # A shift of 0.1 pixel would leave tens of sigma at the bright stars.
    assert np.nanpercentile(np.abs((aligned.image - first)[inner] / scale), 99.9) < 5.0


def test_another_method_is_a_setting(folder, tmp_path, capsys):
    arguments = ["align", folder / "second.fits", "--to", folder / "first.fits", "-o", tmp_path]

    assert run([*map(str, arguments), "-c", "align:task=ExactAlignTask"]) == 0

    assert "ExactAlignTask" in capsys.readouterr().out


def test_an_image_that_shares_nothing_is_told_and_the_others_are_aligned(folder, tmp_path, capsys):
    with fits.open(folder / "second.fits") as hdus:
        hdus[0].header["CRVAL1"] = 200.0
        hdus.writeto(tmp_path / "elsewhere.fits")
    arguments = ["align", tmp_path / "elsewhere.fits", folder / "second.fits", "--to", folder / "first.fits"]

    assert run([*map(str, arguments), "-o", str(tmp_path / "out")]) == 3

    assert "elsewhere.fits: None of 200 x 200 pixels has a value" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["second_aligned.fits"]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ((), "--to"),
        (("--to", "missing.fits"), "missing.fits"),
        (("--to", "FIRST", "-c", "align:lobse=4"), "did you mean 'lobes'"),
    ],
)
def test_a_mistake_is_one_line(folder, tmp_path, capsys, more, complaint):
    words = [str(folder / "first.fits") if word == "FIRST" else word for word in more]

    assert run(["align", str(folder / "second.fits"), "-o", str(tmp_path), *words]) == 2

    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert complaint in said[0]

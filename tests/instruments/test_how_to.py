import re
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

PAGE = Path(__file__).parents[2] / "doc" / "how_to" / "add_an_instrument.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


def blocks(kind):
    return [text for name, text in BLOCKS if name == kind]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    header = fits.Header.fromstring(blocks("text")[0], sep="\n")
    pixels = np.random.default_rng(1).normal(900, 30, (40, 50)).astype(np.float32)
    fits.PrimaryHDU(pixels, header=header).writeto(tmp_path / "frame.fits")
    for text in blocks("yaml") + blocks("python"):
        if name := re.match(r"# (\w+\.\w+)\n", text):
            (tmp_path / name[1]).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("skyscope", None)


def run(text, capsys):
    names = {}
    exec(compile(text, str(PAGE), "exec"), names)  # noqa: S102 - the text is our own documentation
    return names["exposure"], capsys.readouterr().out


def test_the_yaml_file_of_the_how_to_reads_its_frame(folder, capsys):
    exposure, printed = run(blocks("python")[0], capsys)

    start = Time("2024-05-01T22:10:30.5", scale="utc").tai.mjd
    assert exposure.observation.mjd_tai == pytest.approx(start + 10 / 86400, abs=1e-8)
    assert exposure.observation.instrument == "skyscope"
    assert (exposure.observation.ra, exposure.observation.dec) == (
        pytest.approx(210.80208, abs=1e-5),
        pytest.approx(54.34806),
    )
    assert (exposure.filter.physical, exposure.filter.band) == ("red", "r")
    assert (exposure.detector.gain, exposure.detector.saturation, exposure.detector.pixel_scale) == (1.4, 60000.0, 0.82)
    assert exposure.detector.variance_source == "gain"
    assert "DATE-OBS (start, UTC)" in printed


def test_the_class_of_the_how_to_reads_its_frame(folder, capsys):
    exposure, printed = run(blocks("python")[2], capsys)

    assert exposure.detector.gain == pytest.approx(45 / 32)
    assert exposure.detector.name == "roof"
    assert printed.startswith("True")

"""The page of a difference image shows the candidates that convince first, and no room for those that are not there."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from firstlight.images.box import Box
from firstlight.images.exposure import Exposure
from firstlight.images.fields import ChebyshevField
from firstlight.images.mask import Mask
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel
from firstlight.qa.difference_page import DifferenceContent, draw_difference_page, rank_candidates

SHAPE = (60, 80)


def candidates(snr, *, chi2=None, real=None, score=None):
    n = len(snr)
    table = Table({"x": np.linspace(20, 60, n), "y": np.full(n, 30.0), "snr": np.array(snr, dtype=float)})
    table["psf_chi2"] = np.ones(n) if chi2 is None else chi2
    table["is_negative"] = np.zeros(n, dtype=bool)
    if real is not None:
        table["real_score"], table["is_real"] = score, real
    return table


def page(table):
    noise = np.random.default_rng(4).normal(size=SHAPE).astype(np.float32)
    image = Exposure(noise, Mask.empty(SHAPE), np.ones(SHAPE, dtype=np.float32))
    kernel = np.zeros((5, 5))
    kernel[2, 2] = 1.0
    matched = MatchingKernel(
        SpatialKernel.constant(kernel, shape=SHAPE), ChebyshevField(Box.of_shape(SHAPE), np.zeros((1, 1)))
    )
    return draw_difference_page(DifferenceContent("a - b", image, image, image, matched, table))


def words_of(figure):
    return "\n".join(axes.get_title() for axes in figure.axes)


def test_what_the_vetting_calls_real_comes_before_what_is_brighter():
    table = candidates([9.0, 50.0, 6.0], real=[False, False, True], score=[0.1, 0.01, 0.97])
    best, worst = rank_candidates(table, n=2)

    assert (list(best), list(worst)) == ([2, 1], [0])


def test_without_vetting_a_bad_fit_counts_against_a_candidate():
    best, _ = rank_candidates(candidates([10.0, 20.0, 8.0], chi2=[1.0, 5.0, 1.0]))

    assert list(best) == [0, 2, 1]


@pytest.mark.parametrize(("n", "strips"), [(0, 0), (4, 1), (12, 2)])
def test_the_page_has_room_for_the_candidates_there_are(n, strips):
    empty, figure = page(candidates([])), page(candidates(np.arange(6.0, 6.0 + n)))

    assert round(figure.get_figheight() - empty.get_figheight(), 6) == pytest.approx(5.2 * strips)
    assert words_of(figure).count("S/N") == n


def test_the_score_stands_above_the_stamps_and_its_absence_too():
    words = words_of(page(candidates([9.0, 7.0], real=[True, False], score=[0.97, np.nan])))

    assert "real 0.97" in words
    assert "not vetted" in words

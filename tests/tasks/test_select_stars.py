"""Selections of a catalogue: each switch cuts what it says and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import ConfigError
from firstlight.tasks.select_stars import ScienceStarSelectConfig, ScienceStarSelectTask

ALL = {"bad_flags": (), "max_extendedness": None}
FLAGS = ("edge", "no_data", "saturated", "psf_flux_flag", "isolated", "primary", "sky_source", "calib_psf_used")


def catalog(n=8, **columns) -> Table:
    """Return good, bright, lone stars with some columns changed."""
    table = Table({name: np.zeros(n, bool) for name in FLAGS})
    table["isolated"] = table["primary"] = np.ones(n, bool)
    for name, value in {"snr": 50.0, "psf_flux": 1e4, "extendedness": 0.0, "x_err": 0.05, "y_err": 0.05}.items():
        table[name] = np.full(n, value)
    table["ra"], table["dec"] = np.full(n, 10.0), np.full(n, -5.0)
    for name, values in columns.items():
        table[name] = values
    return table


def selected(table, **settings):
    return ScienceStarSelectTask(ScienceStarSelectConfig(**settings)).run(table).selected.tolist()


@pytest.mark.parametrize(
    ("settings", "columns", "kept"),
    [
        ({"bad_flags": ("edge",)}, {"edge": [True, False]}, [False, True]),
        ({"good_flags": ("calib_psf_used",)}, {"calib_psf_used": [True, False]}, [True, False]),
        ({"min_snr": 10.0}, {"snr": [10.0, 10.1]}, [False, True]),
        ({"max_snr": 10.0}, {"snr": [10.0, 9.9]}, [False, True]),
        ({"min_flux": 5.0}, {"psf_flux": [np.nan, 6.0]}, [False, True]),
        ({"max_flux": 5.0}, {"psf_flux": [np.nan, 4.0]}, [False, True]),
        ({"max_extendedness": 0.5}, {"extendedness": [0.5, np.nan]}, [False, False]),
        ({"max_extendedness": 0.5}, {"extendedness": [0.4, 0.6]}, [True, False]),
        ({"max_centroid_error": 0.2}, {"y_err": [0.3, 0.1]}, [False, True]),
        ({"isolated": True}, {"isolated": [True, False]}, [True, False]),
        ({"primary": True}, {"primary": [False, True]}, [False, True]),
        ({"finite_sky_position": True}, {"ra": [np.nan, 3.0]}, [False, True]),
        ({"min_snr": 1e3, "sky_sources": True}, {"sky_source": [True, False]}, [True, False]),
    ],
)
def test_a_switch_cuts_what_it_says(settings, columns, kept):
    assert selected(catalog(2, **columns), **(ALL | settings)) == kept
    assert selected(catalog(2, **columns), **ALL) == [True, True]


def test_the_funnel_tells_what_each_cut_left():
    table = catalog(5, edge=[True, False, False, False, False], snr=[50.0, 2.0, 2.0, 50.0, 50.0])
    table["extendedness"][3] = 0.9
    funnel = ScienceStarSelectTask(ScienceStarSelectConfig(min_snr=10.0)).run(table).funnel

    assert dict(funnel.steps)["not edge"] == 4
    assert funnel.steps[0] == ("sources", 5)
    assert funnel.steps[-2:] == (("snr > 10", 2), ("extendedness < 0.5", 1))


@given(low=st.floats(0, 100), snr=st.lists(st.floats(0, 100) | st.just(float("nan")), min_size=1, max_size=20))
def test_what_is_selected_passes_every_cut_and_what_is_not_fails_one(low, snr):
    kept = selected(catalog(len(snr), snr=np.array(snr)), min_snr=low)

    assert kept == [value > low for value in snr]


def test_a_masked_value_fails_like_one_that_is_not_a_number():
    table = catalog(2, snr=MaskedColumn([50.0, 50.0], mask=[True, False]))

    assert selected(table, min_snr=10.0) == [False, True]


def test_a_column_that_is_missing_is_named():
    with pytest.raises(ConfigError, match="'no_such_flag'"):
        selected(catalog(), bad_flags=("no_such_flag",))


def test_limits_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match="min_snr must be below max_snr"):
        ScienceStarSelectConfig(min_snr=10.0, max_snr=5.0)


def test_an_empty_catalogue_selects_nothing():
    assert selected(catalog(0), min_snr=5.0) == []

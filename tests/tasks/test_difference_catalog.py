"""Which sources of a difference stay in its catalogue."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from firstlight.tasks.difference_catalog import without_rejected


@pytest.mark.parametrize(
    ("flags", "min_snr", "left"),
    [((), 0.0, [0, 1, 2]), (("edge",), 0.0, [0, 2]), (("edge", "not_there"), 5.0, [2]), ((), 6.0, [])],
)
def test_flagged_and_faint_sources_are_left_out_and_a_negative_one_counts_by_its_size(flags, min_snr, left):
    catalog = Table({"id": [0, 1, 2, 3], "edge": [False, True, False, False], "snr": [4.0, 5.5, -5.5, np.nan]})

    assert list(without_rejected(catalog, flags=flags, min_snr=min_snr)["id"]) == left

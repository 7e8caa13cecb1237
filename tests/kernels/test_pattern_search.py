import math

import numpy as np
import pytest

from firstlight.kernels.pattern_search import SearchLimits, disc_grid, pairs_by_length, search_pairs


def limits(**changes):
    return SearchLimits(
        scale_low=0.5,
        scale_high=2.0,
        length_error=1.0,
        direct=True,
        mirrored=True,
        turn_x=1.0,
        turn_y=0.0,
        cos_turn=-2.0,
        free=1e9,
        free_per_scale=0.0,
        reach=math.inf,
        hit=math.log(50.0),
        miss=math.log(0.5),
        accept=20.0,
        reject=-3.0,
    )._replace(**changes)


def test_pairs_are_all_those_of_a_fitting_length_in_bins():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 100, (2, 60))
    i, j = np.triu_indices(60, 1)
    length = np.hypot(x[i] - x[j], y[i] - y[j])
    fitting = (length >= 20.0) & (length < 70.0)

    bins = pairs_by_length(x, y, 20.0, 70.0, 16)

    found = set(zip(bins.first.tolist(), bins.second.tolist(), strict=True))
    assert found == set(zip(i[fitting].tolist(), j[fitting].tolist(), strict=True))
    lengths = np.hypot(x[bins.first] - x[bins.second], y[bins.first] - y[bins.second])
    edges = 20.0 * 3.5 ** (np.arange(17) / 16)
    for b in range(16):
        inside = lengths[bins.start[b] : bins.start[b + 1]]
        assert np.all((inside >= edges[b] * (1 - 1e-9)) & (inside <= edges[b + 1] * (1 + 1e-9)))


def test_a_cell_lists_every_point_within_the_radius():
    rng = np.random.default_rng(2)
    x, y = rng.uniform(-5, 105, (2, 200))

    grid = disc_grid(x, y, 3.0, 0.0, 0.0, 8.0, 13, 13)

    for px, py in rng.uniform(0, 100, (200, 2)):
        c = int(py / 8.0) * 13 + int(px / 8.0)
        near = np.flatnonzero(np.hypot(x - px, y - py) <= 3.0)
        assert set(near) <= set(grid.members[grid.start[c] : grid.start[c + 1]])


def matched_lists(seed, factor, parity):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-100, 100, (2, 25))
    z = factor * (x + 1j * parity * y) + (7 - 11j)
    extra = rng.uniform(-150, 150, (2, 25))
    return (x, y), (np.concatenate([z.real, extra[0]]), np.concatenate([z.imag, extra[1]]))


def search(anchors, targets, search_limits):
    bins = pairs_by_length(*targets, 20.0, 400.0, 64)
    grid = disc_grid(*targets, 1.0, -300.0, -300.0, 4.0, 150, 150)
    i, j = np.triu_indices(len(anchors[0]), 1)
    pairs = np.stack([i, j], axis=1).astype(np.int32)
    long = np.hypot(anchors[0][i] - anchors[0][j], anchors[1][i] - anchors[1][j]) > 60.0
    found = np.zeros((64, 6))
    n_found, next_pair, n_tries = search_pairs(*anchors, pairs[long], 0, bins, grid, search_limits, found, 10**8)
    return found[:n_found], next_pair, n_tries


@pytest.mark.parametrize("parity", [1, -1])
@pytest.mark.parametrize("reach", [math.inf, 500.0])
def test_the_similarity_is_found_at_any_rotation_and_parity(parity, reach):
    factor = 1.3 * np.exp(2.1j)
    anchors, targets = matched_lists(3, factor, parity)

    found, _, _ = search(anchors, targets, limits(reach=reach))

    assert len(found) > 0
    np.testing.assert_allclose(found[:, 0] + 1j * found[:, 1], factor, rtol=1e-9)
    np.testing.assert_allclose(found[:, 2:5], np.tile([7.0, -11.0, parity], (len(found), 1)), atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale_low": 0.5, "scale_high": 1.2, "length_error": 0.0},
        {"direct": False},
        {"cos_turn": math.cos(0.5)},
        {"free": 10.0},
    ],
    ids=["scale", "parity", "rotation", "shift"],
)
def test_a_similarity_outside_the_limits_is_not_found(changes):
    anchors, targets = matched_lists(4, 1.3 * np.exp(2.1j), 1)

    found, _, _ = search(anchors, targets, limits(**changes))

    assert len(found) == 0


def test_unrelated_lists_give_nothing():
    anchors, _ = matched_lists(5, 1.0, 1)
    _, targets = matched_lists(6, 1.0, 1)

    found, _, n_tries = search(anchors, targets, limits())

    assert len(found) == 0
    assert n_tries > 10_000


def test_a_search_goes_on_where_it_stopped():
    anchors, targets = matched_lists(7, 1.0, 1)
    bins = pairs_by_length(*targets, 20.0, 400.0, 64)
    grid = disc_grid(*targets, 1.0, -300.0, -300.0, 4.0, 150, 150)
    i, j = np.triu_indices(25, 1)
    pairs = np.stack([i, j], axis=1).astype(np.int32)

    def collect(step):
        at, rows, tries = 0, [], 0
        while at < len(pairs):
            found = np.zeros((1000, 6))
            n, at, used = search_pairs(*anchors, pairs, at, bins, grid, limits(), found, step)
            rows.append(found[:n])
            tries += used
        return np.concatenate(rows), tries

    whole, pieces = collect(10**9), collect(500)

    np.testing.assert_array_equal(whole[0], pieces[0])
    assert whole[1] == pieces[1]

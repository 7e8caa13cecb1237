import numpy as np
import pytest

from firstlight.algorithms.pattern_matching import PlacementLimits, find_placement
from firstlight.algorithms.placement import StarField, affine_scale, similarity_matrix, verify_placement

SIDE = 1000


def field_of(seed, *, n_common, n_spurious=0, n_unseen=0, parity=-1, scale=1.0, radius=1000.0, ranked=True):
    """Return a field whose detections are the brightest of the references in the frame, and its matrix."""
    rng = np.random.default_rng(seed)
    matrix = similarity_matrix(
        scale * np.exp(1j * rng.uniform(0, 2 * np.pi)), complex(*rng.uniform(-0.6, 0.6, 2)) * radius, parity=parity
    )
    u, v = rng.uniform(-SIDE / 2, SIDE / 2, (2, n_common + n_unseen))
    xi = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]
    eta = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]
    reach = radius + 0.7 * SIDE * scale
    n_around = int(len(u) * (2 * reach / (SIDE * scale)) ** 2)
    around = rng.uniform(-reach, reach, (2, n_around))
    in_frame = np.linalg.solve(matrix[:, :2], around - matrix[:, 2:])
    around = around[:, (np.abs(in_frame) > SIDE / 2).any(axis=0)]
    faintness = np.concatenate([np.linspace(0, 1, len(u)), rng.uniform(0, 1, around.shape[1])])
    order = np.argsort(faintness)
    detected_u = np.concatenate([u[:n_common], rng.uniform(-SIDE / 2, SIDE / 2, n_spurious)])
    detected_v = np.concatenate([v[:n_common], rng.uniform(-SIDE / 2, SIDE / 2, n_spurious)])
    detected_u = detected_u + rng.normal(0, 0.1, len(detected_u))
    rank = np.argsort(np.concatenate([np.linspace(0, 1, n_common), rng.uniform(0, 1, n_spurious)]), kind="stable")
    if not ranked:
        rank = rng.permutation(rank)
    return (
        StarField(
            u=detected_u[rank],
            v=detected_v[rank],
            xi=np.concatenate([xi, around[0]])[order],
            eta=np.concatenate([eta, around[1]])[order],
            width=SIDE,
            height=SIDE,
            radius=radius,
        ),
        matrix,
    )


def assert_found(found, matrix):
    assert found.placement is not None
    corners = np.array([[-500, 500, -500, 500], [-500, -500, 500, 500], [1, 1, 1, 1]])
    assert np.abs((found.placement.matrix - matrix) @ corners).max() < 2.0 * affine_scale(matrix)


@pytest.mark.parametrize("parity", [1, -1])
@pytest.mark.parametrize("scale", [0.15, 1.0, 40.0])
def test_a_frame_is_found_at_any_scale_rotation_and_parity(scale, parity):
    field, matrix = field_of(1, n_common=60, n_spurious=10, parity=parity, scale=scale, radius=500 * scale)

    assert_found(find_placement(field, PlacementLimits((0.1, 60.0))), matrix)


@pytest.mark.parametrize("seed", range(10))
def test_magnitudes_need_not_agree(seed):
    field, matrix = field_of(seed, n_common=50, n_spurious=400, ranked=False)

    assert_found(find_placement(field, PlacementLimits((0.98, 1.02))), matrix)


@pytest.mark.parametrize("seed", range(10))
def test_the_reference_may_be_much_deeper(seed):
    field, matrix = field_of(seed, n_common=40, n_unseen=400)

    assert_found(find_placement(field, PlacementLimits((0.98, 1.02))), matrix)


@pytest.mark.parametrize("seed", range(30))
def test_a_third_of_the_detections_spurious_and_half_of_the_references_missing_do_not_matter(seed):
    n_common = [8, 10, 15, 30, 100, 300][seed % 6]
    field, matrix = field_of(seed, n_common=n_common, n_spurious=4 * n_common, radius=300.0)

    assert_found(find_placement(field, PlacementLimits((0.99, 1.01))), matrix)


@pytest.mark.parametrize("n_common", [4, 5, 7, 10])
def test_a_few_stars_are_enough_when_nothing_else_fits(n_common):
    field, matrix = field_of(n_common, n_common=n_common, radius=300.0)

    assert_found(find_placement(field, PlacementLimits((0.98, 1.02))), matrix)


@pytest.mark.parametrize("n_stars", [3, 5, 20, 200])
def test_another_field_is_never_accepted(n_stars):
    n_tries = 0
    for seed in range(10):
        field, _ = field_of(seed, n_common=n_stars)
        other, _ = field_of(seed + 100, n_common=n_stars)
        mixed = StarField(field.u, field.v, other.xi, other.eta, SIDE, SIDE, field.radius)

        found = find_placement(mixed, PlacementLimits((0.95, 1.05), max_tries=300_000))

        assert found.placement is None
        n_tries += found.n_tries
    assert n_tries > 0


def test_limits_on_parity_rotation_and_place_are_kept():
    field, matrix = field_of(3, n_common=60, parity=-1)
    turn = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    scales = (0.98, 1.02)

    for first in (
        PlacementLimits(scales, parity=-1),
        PlacementLimits(scales, parity=-1, turn_deg=turn, max_turn_deg=2.0),
    ):
        assert_found(find_placement(field, first), matrix)
    for limits in (
        PlacementLimits(scales, parity=1, max_tries=1_000_000),
        PlacementLimits(scales, parity=-1, turn_deg=turn + 20.0, max_turn_deg=10.0, max_tries=1_000_000),
        PlacementLimits((1.5, 1.6), max_tries=1_000_000),
    ):
        assert find_placement(field, limits).placement is None


@pytest.mark.parametrize("parity", [1, -1])
def test_a_known_rotation_is_used_both_ways_round(parity):
    field, matrix = field_of(4, n_common=50, n_spurious=600, parity=parity, ranked=False)
    turn = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))

    found = find_placement(field, PlacementLimits((0.98, 1.02), parity=parity, turn_deg=turn, max_turn_deg=3.0))

    assert_found(found, matrix)


def test_the_search_repeats_itself():
    field, _ = field_of(5, n_common=40, n_spurious=100)

    first, second = (find_placement(field, PlacementLimits((0.9, 1.1))) for _ in range(2))

    assert first.n_tries == second.n_tries
    np.testing.assert_array_equal(first.placement.matrix, second.placement.matrix)


def test_a_wrong_placement_is_as_likely_as_chance():
    field, matrix = field_of(6, n_common=300)
    shifted = matrix + np.array([[0, 0, 40.0], [0, 0, -25.0]])

    right = verify_placement(field, matrix, radius_px=3.0)
    wrong = verify_placement(field, shifted, radius_px=3.0)

    assert right.log10_chance < -100
    assert wrong.log10_chance > -2.0
    assert right.n_matched >= 295

"""Sky models keep their promises: additive, scalable, exact on disk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.algorithms.background import fit_mesh_background
from firstlight.images.background import BackgroundList, MeshBackground, bin_edges

SHAPE = (150, 190)


def make_model(method="chebyshev", seed=3) -> MeshBackground:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = (300.0 + 0.05 * x - 0.03 * y + rng.normal(size=SHAPE)).astype(np.float32)
    return fit_mesh_background(image, bad=np.zeros(SHAPE, bool), bin_size=32, order=3, method=method)


@pytest.mark.parametrize("method", ["chebyshev", "spline"])
def test_a_model_survives_being_taken_apart_and_put_together(method):
    model = make_model(method)

    again = MeshBackground.from_parts(*model.to_parts())

    np.testing.assert_array_equal(again.evaluate(), model.evaluate())
    assert BackgroundList([again]) == BackgroundList([model])


@pytest.mark.parametrize("method", ["chebyshev", "spline"])
def test_the_surface_at_chosen_rows_and_columns_is_that_of_the_whole_image(method):
    model = make_model(method)
    rows, columns = np.array([0.0, 17.0, 149.0]), np.array([3.0, 189.0])

    part = model.evaluate_grid(x=columns, y=rows)

    np.testing.assert_array_equal(part, model.evaluate()[np.ix_(rows.astype(int), columns.astype(int))])


@pytest.mark.parametrize("method", ["chebyshev", "spline"])
def test_a_model_taken_off_an_image_leaves_the_image_minus_its_surface(method):
    model = make_model(method)
    image = np.random.default_rng(6).normal(300.0, 7.0, SHAPE).astype(np.float32)

    left = model.subtracted_from(image)

    assert left.dtype == np.float32
    np.testing.assert_array_equal(left, image - model.evaluate())


def test_image_plus_background_is_the_input_to_float32_rounding():
    rng = np.random.default_rng(5)
    image = rng.normal(300.0, 7.0, SHAPE).astype(np.float32)
    models = BackgroundList()
    residual = image
    for seed in (1, 2, 3):
        model = make_model(seed=seed)
        residual = residual - model.evaluate()
        models = models + model

    np.testing.assert_allclose(residual + models.evaluate(), image, atol=4 * np.spacing(np.float32(900.0)))


@given(factor=st.floats(1e-3, 1e3))
def test_scaling_a_model_scales_its_surface(factor):
    model = make_model()

    np.testing.assert_allclose(model.scaled(factor).evaluate(), factor * model.evaluate(), rtol=1e-6)


def test_a_list_never_changes_and_adds_up():
    one, two = make_model(seed=1), make_model(seed=2)
    first = BackgroundList([one])

    both = first + two

    assert len(first) == 1
    assert len(both) == 2
    assert both.level == pytest.approx(one.level + two.level)
    np.testing.assert_array_equal(both.evaluate(), one.evaluate() + two.evaluate())
    np.testing.assert_allclose(both.scaled(2.0).evaluate(), 2.0 * both.evaluate(), rtol=1e-6)


def test_an_empty_list_is_zero_on_a_given_shape():
    np.testing.assert_array_equal(BackgroundList().evaluate(shape=(2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="shape"):
        BackgroundList().evaluate()


def test_the_arrays_of_a_model_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        make_model().values[0, 0] = 1.0


@given(length=st.integers(1, 5000), bin_size=st.integers(1, 700))
def test_bins_cover_the_axis_without_gaps_or_empty_bins(length, bin_size):
    edges = bin_edges(length, bin_size)

    assert edges[0] == 0
    assert edges[-1] == length
    assert (np.diff(edges) > 0).all()

import numpy as np
import pytest

from firstlight.images.box import Box
from firstlight.images.fields import ChebyshevField
from firstlight.images.json_values import from_json, to_json
from firstlight.images.spatial_kernel import MatchingKernel, SpatialKernel, chebyshev_order, chebyshev_terms

SHAPE = (200, 300)


def varying_kernel(terms=6, size=5, seed=1) -> SpatialKernel:
    return SpatialKernel(np.random.default_rng(seed).normal(size=(terms, size, size)), SHAPE)


def test_kernel_is_the_polynomial_of_its_components():
    kernel = varying_kernel(terms=3)
    u, v = (2 * 40.0 + 1) / 300 - 1, (2 * 150.0 + 1) / 200 - 1

    expected = kernel.components[0] + u * kernel.components[1] + v * kernel.components[2]

    np.testing.assert_allclose(kernel.image(x=40.0, y=150.0), expected, rtol=1e-12)


def test_fit_recovers_a_kernel_from_its_images():
    kernel = varying_kernel()
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 299, 30), rng.uniform(0, 199, 30)

    fitted = SpatialKernel.fit(kernel.images(x=x, y=y), x=x, y=y, shape=SHAPE, order=2)

    np.testing.assert_allclose(fitted.components, kernel.components, atol=1e-10)


def test_centroid_is_where_the_kernel_moves_a_star():
    shifted = np.zeros((5, 5))
    shifted[1, 4] = 0.8
    kernel = SpatialKernel.constant(shifted, shape=SHAPE)

    x, y = kernel.centroid(x=np.array([10.0]), y=np.array([10.0]))

    assert (x[0], y[0]) == (2.0, -1.0)
    assert kernel.total(x=np.array([10.0]), y=np.array([10.0]))[0] == pytest.approx(0.8)
    assert kernel.mirrored().centroid(x=np.array([1.0]), y=np.array([1.0]))[0][0] == -2.0


@pytest.mark.parametrize("convolved", ["template", "science"])
def test_matching_kernel_survives_json(convolved):
    field = ChebyshevField(Box.of_shape(SHAPE), np.array([[1.0, 0.5], [0.25, 0.0]]))
    model = MatchingKernel(varying_kernel(), field, convolved)
    arrays, values = model.to_parts()

    again = MatchingKernel.from_parts(
        {name: np.array(from_json(to_json(array.tolist()))) for name, array in arrays.items()},
        from_json(to_json(values)),
    )

    assert again == model


def test_flux_scale_is_science_over_template_whichever_was_convolved():
    field = ChebyshevField.constant(0.0, box=Box.of_shape(SHAPE))
    kernel = SpatialKernel.constant(np.full((3, 3), 2.0 / 9.0), shape=SHAPE)

    assert MatchingKernel(kernel, field, "template").flux_scale == pytest.approx(2.0)
    assert MatchingKernel(kernel, field, "science").flux_scale == pytest.approx(0.5)


@pytest.mark.parametrize("components", [np.zeros((1, 4, 4)), np.zeros((2, 3, 3)), np.full((1, 3, 3), np.nan)])
def test_components_that_make_no_kernel_are_refused(components):
    with pytest.raises(ValueError, match=r"components|terms"):
        SpatialKernel(components, SHAPE)


def test_number_of_terms_tells_the_order():
    terms = chebyshev_terms(3, x=np.zeros(2), y=np.zeros(2), shape=SHAPE)

    assert chebyshev_order(terms.shape[1]) == 3

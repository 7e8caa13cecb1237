"""Galaxies against profiles drawn in real space."""

import numpy as np
import pytest
from scipy import special

from firstlight.simulation.galaxies import galaxy_stamp, moffat_transform, sersic_transform, stamp_size
from firstlight.simulation.point_spread import moffat_pixels

ROUND = np.array([4.657, 4.657, 0.0])
"""Scale matrix of a FWHM of 2.2 pixel at beta = 3."""


def test_a_galaxy_without_size_is_a_star():
    stamp = galaxy_stamp(
        96, dx=48.3, dy=47.8, half_light_radius=0, sersic_index=1.0, axis_ratio=1, angle=0, scale=ROUND, beta=3.0
    )
    star = moffat_pixels(dx=np.arange(96.0)[None] - 48.3, dy=np.arange(96.0)[None] - 47.8, scale=ROUND[None], beta=3.0)[
        0
    ]

    np.testing.assert_allclose(stamp, star, atol=1e-5 * star.max())


def test_an_exponential_disc_matches_a_convolution_in_real_space():
    fine, r50, angle, ratio = 5, 4.0, 0.6, 0.5
    dx, dy = np.meshgrid(*(2 * [(np.arange(96 * fine) + 0.5) / fine - 48.5]))
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    disc = np.exp(-special.gammaincinv(2, 0.5) * np.hypot(along, across / ratio) / r50)
    offsets = np.arange(-150, 151.0)[None] / fine
    kernel = moffat_pixels(dx=offsets, dy=offsets, scale=ROUND[None], beta=3.0, core_nodes=4)[0]
    convolved = _fft_convolve(disc, kernel)
    expected = convolved[fine // 2 :: fine, fine // 2 :: fine]
    expected /= expected.sum()

    stamp = galaxy_stamp(
        96, dx=48, dy=48, half_light_radius=r50, sersic_index=1.0, axis_ratio=ratio, angle=angle, scale=ROUND, beta=3.0
    )
    np.testing.assert_allclose(stamp, expected, atol=2e-3 * expected.max())


def _fft_convolve(image, kernel):
    shape = [a + b - 1 for a, b in zip(image.shape, kernel.shape, strict=True)]
    product = np.fft.irfft2(np.fft.rfft2(image, shape) * np.fft.rfft2(kernel, shape), shape)
    margin = kernel.shape[0] // 2
    return product[margin : margin + image.shape[0], margin : margin + image.shape[1]]


@pytest.mark.parametrize("index", [1.0, 4.0])
def test_half_of_the_light_of_a_large_galaxy_is_within_its_half_light_radius(index):
    r50, size = 12.0, 384
    stamp = galaxy_stamp(
        size, dx=192, dy=192, half_light_radius=r50, sersic_index=index, axis_ratio=1, angle=0, scale=ROUND, beta=3.0
    )
    offsets = np.arange(size) - 192.0

    assert stamp.sum() == pytest.approx(1)
    assert stamp[np.hypot(offsets, offsets[:, None]) <= r50].sum() == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize("k", [0.1, 1.0, 5.0, 30.0])
def test_the_de_vaucouleurs_transform_is_its_integral(k):
    u = np.linspace(0, 40, 400_001)
    b = special.gammaincinv(8, 0.5)
    r = (u / b) ** 4
    light = np.exp(-u) * r * (u / b) ** 3
    expected = np.trapezoid(light * special.j0(k * r), u) / np.trapezoid(light, u)

    assert sersic_transform(np.array([k]), index=4.0)[0] == pytest.approx(expected, abs=2e-5)


def test_transforms_start_at_the_total_flux():
    assert moffat_transform(np.array([0.0]), beta=3.0)[0] == 1
    assert sersic_transform(np.array([0.0]), index=1.0)[0] == 1
    assert sersic_transform(np.array([0.0]), index=4.0)[0] == pytest.approx(1, abs=1e-6)


def test_brighter_galaxies_get_larger_stamps():
    sizes = [
        stamp_size(flux=flux, half_light_radius=3, sersic_index=4.0, fwhm=2.2, beta=3, faintest=0.15)
        for flux in (50, 5e3, 5e5)
    ]

    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]

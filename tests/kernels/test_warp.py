"""The kernels that resample, against the same sums in plain numpy."""

import numpy as np
import pytest

from firstlight.algorithms.warp_kernels import overlap_kernel, warp_kernel
from firstlight.kernels import warp as warp_kernels
from firstlight.kernels.warp import BLOCK, touched_blocks, warp, warp_stamps

NO_DATA, EDGE = 1 << 8, 1 << 4
SHAPE = (23, 29)
STEP = 8


def weights_at(table, fraction):
    """Return the taps at a fraction of a pixel: linear between tabulated fractions."""
    places = np.linspace(0.0, 1.0, len(table))
    return np.array([np.interp(fraction, places, column) for column in table.T.astype(float)])


def reference_pixel(x, y, area, image, variance, mask, bad, tables):
    """Return value, variance, bits, and whether rounding decides which mean it is, from the good pixels of a window."""
    ny, nx = image.shape
    if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
        return np.nan, np.nan, NO_DATA, False
    column, row = int(np.floor(x)), int(np.floor(y))
    wx, wy = weights_at(tables[0], x - column), weights_at(tables[1], y - row)
    columns, rows = (np.arange(len(w)) + at - len(w) // 2 + 1 for w, at in ((wx, column), (wy, row)))
    weights = np.outer(wy, wx)
    inside = np.outer((rows >= 0) & (rows < ny), (columns >= 0) & (columns < nx))
    window = np.ix_(np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1))
    use = inside & ~bad[window]
    reach = max(0, max(len(wx), len(wy)) // 2 - 3)
    near = mask[max(0, row - reach) : row + reach + 2, max(0, column - reach) : column + reach + 2]
    bits = int(np.bitwise_or.reduce(near, axis=None)) | (0 if inside.all() else EDGE)
    if np.abs(weights[use]).sum() < 0.1:
        return np.nan, np.nan, bits | NO_DATA, False
    good = weights[use]
    fragile = abs(good.sum() - 0.5) < 1e-4
    good = np.abs(good) / np.abs(good).sum() if good.sum() < 0.5 else good / good.sum()
    return area * (good @ image[window][use]), area**2 * (good**2 @ variance[window][use]), bits, fragile


def reference_warp(image, variance, mask, bad, nodes, tables, shape):
    planes = np.empty((4, *shape))
    for row in range(shape[0]):
        for column in range(shape[1]):
            j, i = row // STEP, column // STEP
            t, s = row / STEP - j, column / STEP - i
            low = nodes[:, j, i] * (1 - s) + nodes[:, j, i + 1] * s
            high = nodes[:, j + 1, i] * (1 - s) + nodes[:, j + 1, i + 1] * s
            x, y, area = low * (1 - t) + high * t
            planes[:, row, column] = reference_pixel(x, y, area, image, variance, mask, bad, tables)
    return planes


def affine_nodes(matrix, offset, shape):
    """Return the nodes of a map; a little of its second order is in them too."""
    rows, columns = (-(-size // STEP) + 1 for size in shape)
    y, x = np.mgrid[:rows, :columns] * float(STEP)
    input_x = matrix[0][0] * x + matrix[0][1] * y + offset[0] + 1e-3 * x * y
    input_y = matrix[1][0] * x + matrix[1][1] * y + offset[1] - 5e-4 * x**2
    return np.stack([input_x, input_y, np.full_like(x, abs(np.linalg.det(matrix))) + 1e-3 * x])


@pytest.fixture
def scene():
    rng = np.random.default_rng(4)
    image = rng.normal(50.0, 20.0, SHAPE).astype(np.float32)
    variance = rng.uniform(0.5, 2.0, SHAPE).astype(np.float32)
    mask = np.where(rng.random(SHAPE) < 0.05, 1 << rng.integers(0, 4, SHAPE), 0).astype(np.int32)
    bad = rng.random(SHAPE) < 0.02
    bad[8:14, 10:15] = True
    image[bad] = np.nan
    return image, variance, mask, bad


KERNELS = {
    "lanczos-3": warp_kernel(3),
    "linear": warp_kernel(1),
    "stretched": warp_kernel(3, lengths=(1.6, 1.2)),
    "overlap": overlap_kernel((0.8, 1.3)),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("matrix", [((1.0, 0.0), (0.0, 1.0)), ((0.8, -0.5), (0.4, 0.9)), ((-1.1, 0.2), (0.3, 1.0))])
def test_every_plane_is_the_weighted_sum_of_the_reference(scene, name, matrix):
    image, variance, mask, bad = scene
    kernel, shape = KERNELS[name], (26, 31)
    offset = (25.3 if matrix[0][0] < 0 else -1.2, -0.4)
    nodes = affine_nodes(matrix, offset, shape)
    out = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.int32)

    touched = touched_blocks(bad, kernel.reach)
    flags = np.array([NO_DATA, EDGE], np.int32)
    warp(image, variance, mask, bad, touched, nodes, STEP, kernel.along_x, kernel.along_y, flags, *out)

    tables = kernel.along_x, kernel.along_y
    expected = reference_warp(image, variance, mask, bad, nodes, tables, shape)
    clear = expected[3] == 0
    assert np.isfinite(expected[0][clear]).sum() > 100
    np.testing.assert_allclose(out[0][clear], expected[0][clear], rtol=2e-5, atol=2e-3)
    np.testing.assert_allclose(out[1][clear], expected[1][clear], rtol=2e-4)
    np.testing.assert_array_equal(out[2], expected[2].astype(np.int32))


def test_the_image_alone_is_the_same_as_with_the_other_planes(scene):
    image, variance, mask, bad = scene
    kernel, nodes = KERNELS["lanczos-3"], affine_nodes(((0.9, 0.1), (-0.1, 0.9)), (0.0, 2.0), SHAPE)
    touched, flags = touched_blocks(bad, kernel.reach), np.array([NO_DATA, EDGE], np.int32)
    tables = kernel.along_x, kernel.along_y
    full, alone = np.empty(SHAPE, np.float32), np.empty(SHAPE, np.float32)
    others = np.empty(SHAPE, np.float32), np.empty(SHAPE, np.int32)
    none = np.empty((0, 0), np.float32), np.empty((0, 0), np.int32)
    unused = np.empty((1, 1), np.float32), np.empty((1, 1), np.int32)

    warp(image, variance, mask, bad, touched, nodes, STEP, *tables, flags, full, *others)
    warp(image, *none, bad, touched, nodes, STEP, *tables, np.zeros(2, np.int32), alone, *unused)

    np.testing.assert_array_equal(alone, full)


@pytest.mark.parametrize("reach", [1, 3, 11])
def test_touched_blocks_hold_every_pixel_near_a_bad_one(reach):
    rng = np.random.default_rng(reach)
    bad = rng.random((45, 61)) < 0.003
    near = np.zeros_like(bad)
    for y, x in np.argwhere(bad):
        near[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = True

    touched = touched_blocks(bad, reach)

    expected = np.zeros(touched.shape, bool)
    for y, x in np.argwhere(near):
        expected[y // BLOCK, x // BLOCK] = True
    np.testing.assert_array_equal(touched, expected)
    assert bad.any()


def test_stamps_are_resampled_as_images_on_an_empty_sky():
    rng = np.random.default_rng(8)
    stamps = rng.random((2, 11, 11)).astype(np.float32)
    jacobians = np.array([[[1.0, 0.2], [-0.1, 0.9]], [[-0.7, 0.1], [0.0, 1.2]]])
    starts = np.array([[-1.3, 0.4], [10.2, -2.6]])
    kernel, size = KERNELS["lanczos-3"], 13

    made = warp_stamps(stamps, starts, jacobians, kernel.along_x, kernel.along_y, size)

    for stamp, start, jacobian, found in zip(stamps, starts, jacobians, made, strict=True):
        sky = np.pad(stamp, 30).astype(float)
        nothing_bad, blank = np.zeros(sky.shape, bool), np.zeros(sky.shape, int)
        for row in range(size):
            for column in range(size):
                x, y = start + jacobian @ (column, row)
                near = -6 <= min(x, y) <= max(x, y) <= 16
                value = reference_pixel(
                    x + 30, y + 30, abs(np.linalg.det(jacobian)), sky, sky, blank, nothing_bad,
                    (kernel.along_x, kernel.along_y),
                )[0] if near else 0.0  # fmt: skip
                assert found[row, column] == pytest.approx(value, abs=2e-5)


def test_no_stamp_is_read_beyond_its_planes(monkeypatch):
    for name in ("_weights", "_whole", "_partial", "_bits_near", "_segment"):
        monkeypatch.setattr(warp_kernels, name, getattr(warp_kernels, name).py_func)
    stamps = np.random.default_rng(9).random((1, 7, 7)).astype(np.float32)
    kernel = KERNELS["lanczos-3"]
    given = stamps, np.array([[-6.3, -6.4]]), np.eye(2)[None] * 1.1, kernel.along_x, kernel.along_y, 18

    # Python, unlike what is compiled, refuses an index beyond an array.
    checked = warp_stamps.py_func(*given)

    np.testing.assert_allclose(checked, warp_stamps(*given), atol=1e-6)


@pytest.mark.parametrize("lobes", [2, 3, 4, 5])
@pytest.mark.parametrize("length", [0.7, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.3, 2.0])
def test_input_pixels_give_all_of_their_flux_to_larger_and_smaller_output_pixels(lobes, length):
    table = warp_kernel(lobes, lengths=(length, length)).along_x.astype(float)
    half, places = table.shape[1] // 2, np.linspace(0.0, 1.0, len(table))
    light = np.exp(-0.5 * (np.arange(-60, 61)[None, :] - np.linspace(-0.5, 0.5, 11)[:, None]) ** 2 / 0.9**2)

    sums = np.zeros(len(light))
    for position in np.arange(-45.0, 45.0, length) + 0.123:
        column = int(np.floor(position))
        weights = np.array([np.interp(position - column, places, tap) for tap in table.T])
        sums += length * light[:, 60 + column - half + 1 : 60 + column + half + 1] @ weights

    np.testing.assert_allclose(sums, light.sum(axis=1), rtol=2e-4 if lobes > 2 else 2.5e-3)


@pytest.mark.parametrize("lobes", [1, 2, 3, 4, 5])
def test_a_kernel_for_pixels_of_one_size_leaves_whole_pixels_alone(lobes):
    table = warp_kernel(lobes).along_x

    expected = np.zeros(table.shape[1])
    expected[table.shape[1] // 2 - 1] = 1.0
    np.testing.assert_allclose(table[0], expected, atol=1e-6)
    np.testing.assert_allclose(table.sum(axis=1), 1.0, atol=1e-6)

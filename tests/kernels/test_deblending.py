"""The deblending kernels against the same definitions in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.kernels.deblending import add_light, share_light, star_light, symmetric_templates

SHAPE = (40, 50)


def reference_template(image, usable, domain, twice_x, twice_y, box, half):
    """The template by its definition, pixel by pixel."""
    left, low, width, height = box
    template = np.zeros((height, width))
    for row in range(low, low + height):
        for col in range(left, left + width):
            y, x = twice_y - row, twice_x - col
            known = [image[row, col]] if usable[row, col] else []
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1] and usable[y, x]:
                known.append(image[y, x])
            if domain[row, col] and known:
                template[row - low, col - left] = max(0.0, min(known))
    if half:
        smooth = template.copy()
        for row, col in np.argwhere(template > 0):
            near = template[max(0, row - half) : row + half + 1, max(0, col - half) : col + half + 1]
            smooth[row, col] = np.median(near)
        template = smooth
    centre_row, centre_col = (twice_y + 1) // 2 - low, (twice_x + 1) // 2 - left
    rings = np.maximum(*np.abs(np.mgrid[:height, :width] - np.array([centre_row, centre_col])[:, None, None]))
    for row, col in sorted(np.argwhere(rings > 1), key=lambda at: rings[tuple(at)]):
        ring = rings[row, col]
        inner = [
            centre + round((at - centre) * (ring - 1) / ring) for at, centre in ((row, centre_row), (col, centre_col))
        ]
        template[row, col] = min(template[row, col], template[tuple(inner)])
    return template


def blend(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 3, SHAPE).astype(np.float32)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    centres = [(20.3, 18.8), (26.6, 21.0)]
    for k, (x, y) in enumerate(centres):
        image += (500 / (k + 1) * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / 2.2**2)).astype(np.float32)
    labels = np.where(image > 15, np.where(columns < 24, 1, 2), 0).astype(np.int32)
    usable = rng.random(SHAPE) > 0.03
    boxes = np.array([[10, 8, 22, 21], [15, 10, 24, 22]])
    return image, labels, usable, boxes, np.rint(2 * np.array(centres)).astype(np.int64)


def templates_of(image, labels, usable, boxes, twice, half):
    first = np.concatenate([[0], np.cumsum(boxes[:, 2] * boxes[:, 3])])
    own, family = np.array([1, 2]), np.array([0, 0])
    return first, symmetric_templates(image, usable, labels, family, own, twice[:, 0], twice[:, 1], boxes, first, half)


@pytest.mark.parametrize("half", [0, 1, 2])
def test_a_template_is_the_fainter_of_a_pixel_and_its_mirror_image_smoothed_and_falling(half):
    image, labels, usable, boxes, twice = blend(half)
    first, templates = templates_of(image, labels, usable, boxes, twice, half)

    for k in range(2):
        expected = reference_template(image, usable, labels > 0, *twice[k], boxes[k], half)
        found = templates[first[k] : first[k + 1]].reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_light_of_a_blend_is_given_out_once_and_none_is_lost():
    image, labels, usable, boxes, twice = blend(5)
    first, templates = templates_of(image, labels, usable, boxes, twice, 1)
    rest = image.copy()
    light = share_light(rest, labels, np.array([1, 2]), boxes, first, templates)
    total = rest.copy()
    for k in range(2):
        add_light(total, light[first[k] : first[k + 1]], boxes[k], 1.0)

    np.testing.assert_allclose(total, image, atol=1e-4)
    np.testing.assert_allclose(rest[labels > 0], 0.0, atol=1e-4)
    np.testing.assert_array_equal(rest[:8], image[:8])


def test_a_pixel_is_shared_in_the_ratio_of_the_templates():
    image, labels, usable, boxes, twice = blend(6)
    first, templates = templates_of(image, labels, usable, boxes, twice, 1)
    light = share_light(image.copy(), labels, np.array([1, 2]), boxes, first, templates)
    planes = np.zeros((2, 2, *SHAPE))
    for k, (left, low, width, height) in enumerate(boxes):
        cut = (k, slice(low, low + height), slice(left, left + width))
        planes[0][cut] = templates[first[k] : first[k + 1]].reshape(height, width)
        planes[1][cut] = light[first[k] : first[k + 1]].reshape(height, width)
    shared = planes[0].sum(axis=0) > 0
    expected = image * planes[0] / np.where(shared, planes[0].sum(axis=0), 1.0)

    np.testing.assert_allclose(planes[1][:, shared], expected[:, shared], rtol=1e-5, atol=1e-4)


def test_a_star_lies_in_its_box_where_it_was_drawn():
    rng = np.random.default_rng(1)
    stamps, boxes = rng.random((2, 7, 7)), np.array([[0, 2, 6, 9], [10, 10, 12, 12]])
    first = np.concatenate([[0], np.cumsum(boxes[:, 2] * boxes[:, 3])])
    light = np.zeros(first[-1], np.float32)
    star_light(
        stamps, np.array([2.0, 3.0]), np.array([1, 15]), np.array([6, 16]), boxes, first, np.array([0, 1]), light
    )
    found = [light[first[k] : first[k + 1]].reshape(boxes[k, 3], boxes[k, 2]) for k in range(2)]

    np.testing.assert_allclose(found[0][1:8, 0:5], 2 * stamps[0][:, 2:], rtol=1e-6)
    np.testing.assert_allclose(found[1][3:10, 2:9], 3 * stamps[1], rtol=1e-6)
    assert found[0].sum() == pytest.approx(2 * stamps[0][:, 2:].sum(), rel=1e-6)
    assert found[1].sum() == pytest.approx(3 * stamps[1].sum(), rel=1e-6)

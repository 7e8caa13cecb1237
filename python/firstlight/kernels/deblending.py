"""Symmetric templates of the sources of a blend, and the sharing of its light among them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firstlight.kernels.arrays import Whole

_WINDOW = 49


@njit(cache=True, nogil=True)
def _median(values: NDArray[np.float32], size: Whole) -> float:
    """Return the median of the first ``size`` values, which are sorted in place."""
    for i in range(1, size):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
    return float(values[size // 2]) if size % 2 else 0.5 * float(values[size // 2 - 1] + values[size // 2])


@njit(cache=True, nogil=True)
def _smooth(template: NDArray[np.float32], half: int) -> None:
    """Replace each pixel by the median of the square about it, in place; the brightest pixel keeps its value."""
    height, width = template.shape
    source = template.copy()
    window = np.empty(_WINDOW, dtype=np.float32)
    for row in range(height):
        for col in range(width):
            if source[row, col] <= 0.0:
                continue
            size = np.int64(0)
            for y in range(max(0, row - half), min(height, row + half + 1)):
                for x in range(max(0, col - half), min(width, col + half + 1)):
                    window[size] = source[y, x]
                    size += 1
            template[row, col] = _median(window, size)


@njit(cache=True, nogil=True)
def _make_monotone(template: NDArray[np.float32], centre_row: int, centre_col: int) -> None:
    """Let no pixel be brighter than the one next to it towards the centre, in place, from the centre outwards."""
    height, width = template.shape
    reach = max(max(centre_row, height - 1 - centre_row), max(centre_col, width - 1 - centre_col))
    for ring in range(2, reach + 1):
        for dy in range(-ring, ring + 1):
            row = centre_row + dy
            if row < 0 or row >= height:
                continue
            step = 1 if abs(dy) == ring else 2 * ring
            for dx in range(-ring, ring + 1, step):
                col = centre_col + dx
                if col < 0 or col >= width:
                    continue
                inner_row = centre_row + int(np.rint(dy * (ring - 1) / ring))
                inner_col = centre_col + int(np.rint(dx * (ring - 1) / ring))
                template[row, col] = min(template[row, col], template[inner_row, inner_col])


@njit(cache=True, nogil=True)
def symmetric_templates(
    image: NDArray[np.float32],
    usable: NDArray[np.bool_],
    labels: NDArray[np.int32],
    family: NDArray[np.int64],
    own: NDArray[np.int64],
    twice_x: NDArray[np.int64],
    twice_y: NDArray[np.int64],
    boxes: NDArray[np.int64],
    first: NDArray[np.int64],
    half: int,
) -> NDArray[np.float32]:
    """Return the template of each source: what it would look like if it were symmetric and fell outwards.

    Parameters
    ----------
    image : (ny, nx)
    usable : (ny, nx)
        False where a pixel is not known; then its mirror image counts alone.
    labels : (ny, nx)
        Regions of all sources; a template is 0 outside those of its blend.
    family : (n_labels,)
        Number of the blend of each label.
    own : (n,)
        Label of each source.
    twice_x, twice_y : (n,)
        Twice its centre, rounded: the centre to half a pixel, about which pixels mirror to pixels.
    boxes : (n, 4)
        First column, first row, width and height of the template.
    first : (n + 1,)
        The template of source i lies in ``[first[i]:first[i + 1]]``.
    half : [pixel]
        Half size of the median filter, at most 3; 0 for none.

    Returns
    -------
    templates : (first[-1],)
    """
    ny, nx = image.shape
    templates = np.zeros(first[-1], dtype=np.float32)
    for i in range(own.size):
        left, low, width, height = boxes[i]
        template = np.zeros((height, width), dtype=np.float32)
        blend = family[own[i] - 1]
        for row in range(low, low + height):
            for col in range(left, left + width):
                label = labels[row, col]
                if label == 0 or family[label - 1] != blend:
                    continue
                y, x = twice_y[i] - row, twice_x[i] - col
                mirrored = 0 <= y < ny and 0 <= x < nx and usable[y, x]
                value = np.float32(0.0)
                if usable[row, col]:
                    value = min(image[row, col], image[y, x]) if mirrored else image[row, col]
                elif mirrored:
                    value = image[y, x]
                template[row - low, col - left] = max(np.float32(0.0), value)
        if half > 0:
            _smooth(template, half)
        _make_monotone(template, (twice_y[i] + 1) // 2 - low, (twice_x[i] + 1) // 2 - left)
        for row in range(height):
            for col in range(width):
                templates[first[i] + row * width + col] = template[row, col]
    return templates


def share_light(
    image: NDArray[np.float32],
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    boxes: NDArray[np.int64],
    first: NDArray[np.int64],
    templates: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Share every pixel in the ratio of the templates, and take what was shared off ``image``, in place.

    A pixel that no template covers goes to the source whose region it is in.

    Parameters
    ----------
    image : (ny, nx)
    labels : (ny, nx)
    own : (n,)
    boxes : (n, 4)
    first : (n + 1,)
    templates : (first[-1],)
        As `symmetric_templates` returns them.

    Returns
    -------
    light : (first[-1],)
        What each source gets.
    """
    light, total = np.zeros(templates.size, dtype=np.float32), np.zeros(image.shape, dtype=np.float32)
    _share(image, labels, own, boxes, first, templates, total, light)
    return light


@njit(cache=True, nogil=True)
def _share(
    image: NDArray[np.float32],
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    boxes: NDArray[np.int64],
    first: NDArray[np.int64],
    templates: NDArray[np.float32],
    total: NDArray[np.float32],
    light: NDArray[np.float32],
) -> None:
    """Fill the result of `share_light` and the sum of the templates, both of which are zero."""
    for i in range(own.size):
        left, low, width, height = boxes[i]
        for row in range(height):
            for col in range(width):
                total[low + row, left + col] += templates[first[i] + row * width + col]
    for i in range(own.size):
        left, low, width, height = boxes[i]
        for row in range(height):
            for col in range(width):
                y, x, at = low + row, left + col, first[i] + row * width + col
                if total[y, x] > 0.0:
                    light[at] = image[y, x] * (templates[at] / total[y, x])
                elif labels[y, x] == own[i]:
                    light[at] = image[y, x]
    for i in range(own.size):
        add_light(image, light[first[i] : first[i + 1]], boxes[i], -1.0)


@njit(cache=True, nogil=True)
def add_light(image: NDArray[np.float32], light: NDArray[np.float32], box: NDArray[np.int64], factor: float) -> None:
    """Add the light of one source times ``factor`` to the pixels of its box, in place."""
    left, low, width, height = box
    scale = np.float32(factor)
    for row in range(height):
        for col in range(width):
            image[low + row, left + col] += scale * light[row * width + col]


@njit(cache=True, nogil=True)
def star_light(
    stamps: NDArray[np.float64],
    flux: NDArray[np.float64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
    boxes: NDArray[np.int64],
    first: NDArray[np.int64],
    which: NDArray[np.int64],
    light: NDArray[np.float32],
) -> None:
    """Fill the light of the sources ``which`` with ``flux`` times their unit ``stamps``, in place.

    Parameters
    ----------
    stamps : (m, s, s)
    flux : (m,)
    column, row : (m,)
        Middle pixels of the stamps.
    boxes : (n, 4)
    first : (n + 1,)
    which : (m,)
    light : (first[-1],)
    """
    side = stamps.shape[1]
    for k in range(which.size):
        left, low, width, height = boxes[which[k]]
        start = first[which[k]]
        from_row, from_col = row[k] - side // 2 - low, column[k] - side // 2 - left
        for i in range(max(0, -from_row), min(side, height - from_row)):
            for j in range(max(0, -from_col), min(side, width - from_col)):
                light[start + (from_row + i) * width + from_col + j] = flux[k] * stamps[k, i, j]

"""`Mask`: what is wrong, or known, about each pixel, in named planes.

The names are the contract; bit numbers may differ from file to file and are stored with it (``MP_<NAME>``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from firstlight.framework import ReadOnlyMapping, did_you_mean
from firstlight.kernels.arrays import BoolArray, IntArray

N_BITS = 31
"""Planes that fit into a 32-bit integer without its sign."""

BLOCK_ROWS = 16


class MaskPlane(NamedTuple):
    """One plane of a mask."""

    name: str
    bit: int
    meaning: str


PLANES = (
    MaskPlane("BAD", 0, "A known defect of the detector."),
    MaskPlane("SAT", 1, "Saturated, or filled by a saturated neighbour."),
    MaskPlane("INTRP", 2, "The value was interpolated from its neighbours, or is that of the other snap alone."),
    MaskPlane("CR", 3, "Hit by a cosmic ray."),
    MaskPlane("EDGE", 4, "Too near to the edge for a filter to be complete."),
    MaskPlane("DETECTED", 5, "Part of a detected source."),
    MaskPlane("DETECTED_NEGATIVE", 6, "Part of a source that is detected as negative."),
    MaskPlane("SUSPECT", 7, "Near saturation, or otherwise to be used with care."),
    MaskPlane("NO_DATA", 8, "No value was measured here."),
    MaskPlane("VIGNETTED", 9, "Shaded by the telescope."),
    MaskPlane("STREAK", 10, "Crossed by a satellite, an aircraft or a meteor."),
    MaskPlane("NOT_DEBLENDED", 11, "Part of a blend that was not taken apart."),
    MaskPlane("SPIKE", 12, "On a diffraction spike of a bright star."),
    MaskPlane("CROSSTALK", 13, "Affected by a bright source read out at the same time."),
    MaskPlane("UNMASKEDNAN", 14, "Not a finite number, although no other plane said so."),
    MaskPlane("INJECTED", 15, "Part of an artificial source."),
    MaskPlane("INJECTED_CORE", 16, "The centre of an artificial source."),
    MaskPlane("SAT_TEMPLATE", 17, "Saturated in the template."),
    MaskPlane("INJECTED_TEMPLATE", 18, "Part of an artificial source in the template."),
    MaskPlane("INJECTED_CORE_TEMPLATE", 19, "The centre of an artificial source in the template."),
    MaskPlane("HIGH_VARIANCE", 20, "Much noisier than its surroundings."),
    MaskPlane("INEXACT_PSF", 21, "The PSF here is that of other inputs than elsewhere."),
    MaskPlane("SENSOR_EDGE", 22, "At the edge of one of the sensors that were combined."),
    MaskPlane("CLIPPED", 23, "A value was left out as an outlier when images were combined."),
    MaskPlane("GHOST", 24, "On a reflection or a halo of a bright source."),
)
"""Every plane that firstlight sets: the one table behind code, FITS headers and documentation."""

BITS: Mapping[str, int] = ReadOnlyMapping({plane.name: plane.bit for plane in PLANES})
"""Plane name -> bit of a new mask."""


class Mask:
    """The planes of an image, one bit each; every operation returns a new mask.

    Parameters
    ----------
    array : (ny, nx)
        Integers whose bits are the planes; int32 is not copied, and not to be changed any more.
    planes
        Plane name -> bit.

    Raises
    ------
    ValueError
        If the array is not two-dimensional and whole, two planes share a bit, or a bit is not between 0 and 30.
    """

    __slots__ = ("array", "planes")

    array: NDArray[np.int32]
    planes: Mapping[str, int]

    def __init__(self, array: IntArray, *, planes: Mapping[str, int] = BITS) -> None:
        if array.ndim != 2 or array.dtype.kind not in "iu":
            raise ValueError(f"A mask needs whole numbers [y, x]; got {array.dtype} with shape {array.shape}.")
        bits = list(planes.values())
        if len(set(bits)) != len(bits) or not all(0 <= bit < N_BITS for bit in bits):
            raise ValueError(f"Each mask plane needs its own bit between 0 and {N_BITS - 1}; got {dict(planes)}.")
        self.array = np.ascontiguousarray(array, dtype=np.int32).view()
        self.array.setflags(write=False)
        self.planes = planes if isinstance(planes, ReadOnlyMapping) else ReadOnlyMapping(planes)

    @classmethod
    def empty(cls, shape: tuple[int, int], *, planes: Mapping[str, int] = BITS) -> Self:
        """Return a mask of ``shape`` (rows, columns) with nothing set."""
        return cls(np.zeros(shape, dtype=np.int32), planes=planes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.planes == other.planes and np.array_equal(self.array, other.array)

    __hash__ = None  # type: ignore[assignment]  # compared by its pixels, like an array

    def __repr__(self) -> str:
        set_somewhere = self.in_use()
        in_use = ", ".join(name for name in self.planes if name in set_somewhere)
        return f"Mask({self.shape[0]} x {self.shape[1]}, set: {in_use or 'nothing'})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.array, dict(self.planes))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape[0], self.array.shape[1]

    def bits(self, *names: str) -> int:
        """Return the integer with the bits of the named planes set.

        Raises
        ------
        KeyError
            If the mask has no plane of that name.
        """
        value = 0
        for name in names:
            if name not in self.planes:
                raise KeyError(_unknown(name, self.planes))
            value |= 1 << self.planes[name]
        return value

    def any_of(self, *names: str) -> BoolArray:
        """Return where at least one of the planes is set, bool [y, x]."""
        bits = np.int32(self.bits(*names))
        found = np.empty(self.shape, dtype=bool)
        for rows in _blocks(self.shape[0]):
            np.not_equal(self.array[rows] & bits, 0, out=found[rows])
        return found

    def fraction(self, *names: str) -> float:
        """Return the fraction of pixels in which at least one of the planes is set."""
        bits = np.int32(self.bits(*names))
        count = sum(int(np.count_nonzero(self.array[rows] & bits)) for rows in _blocks(self.shape[0]))
        return count / max(1, self.array.size)

    def in_use(self) -> frozenset[str]:
        """Return the names of the planes that are set somewhere."""
        found = int(np.bitwise_or.reduce(self.array, axis=None))
        return frozenset(name for name, bit in self.planes.items() if found >> bit & 1)

    def with_plane(self, name: str, where: BoolArray) -> Mask:
        """Return the mask with the plane set also where ``where`` is True."""
        return self._like(_with_bits(self.array, where, keep=-1, bits=self.bits(name)))

    def replaced(self, name: str, where: BoolArray) -> Mask:
        """Return the mask with the plane set exactly where ``where`` is True."""
        bit = self.bits(name)
        return self._like(_with_bits(self.array, where, keep=~bit, bits=bit))

    def without(self, *names: str) -> Mask:
        """Return the mask with the planes set nowhere."""
        return self._like(self.array & np.int32(~self.bits(*names))) if self.in_use().intersection(names) else self

    def with_new_planes(self, *names: str) -> Mask:
        """Return the mask with more planes, set nowhere; planes that it has already are left as they are.

        Raises
        ------
        ValueError
            If no bit is left.
        """
        planes = dict(self.planes)
        for name in names:
            if name not in planes:
                free = [bit for bit in range(N_BITS) if bit not in planes.values()]
                if not free:
                    raise ValueError(f"No bit is left for mask plane {name!r}; the mask has {len(planes)} planes.")
                planes[name] = free[0]
        return Mask(self.array, planes=planes)

    def with_edge(self, name: str, margin: int) -> Mask:
        """Return the mask with the plane set also on a border of ``margin`` pixels."""
        if margin <= 0:
            return self
        array, bit = self.array.copy(), np.int32(self.bits(name))
        for border in (np.s_[:margin], np.s_[-margin:], np.s_[:, :margin], np.s_[:, -margin:]):
            array[border] |= bit
        return self._like(array)

    def merged(self, other: Mask) -> Mask:
        """Return the planes of both masks: set where either has them set."""
        whole = self.with_new_planes(*other.planes)
        return Mask(whole.array | other.renumbered(whole.planes).array, planes=whole.planes)

    def copied_where(self, where: BoolArray, other: Mask) -> Mask:
        """Return this mask with the pixels of ``other`` where ``where`` is True."""
        whole = self.with_new_planes(*other.planes)
        return Mask(np.where(where, other.renumbered(whole.planes).array, whole.array), planes=whole.planes)

    def renumbered(self, planes: Mapping[str, int]) -> Mask:
        """Return the same planes on the bits of ``planes``.

        Raises
        ------
        KeyError
            If a plane that is set somewhere is not in ``planes``.
        """
        if planes == self.planes:
            return self
        if all(planes.get(name) == bit for name, bit in self.planes.items()):
            return Mask(self.array, planes=planes)
        array = np.zeros_like(self.array)
        for name in self.planes:
            where = self.any_of(name)
            if name in planes:
                array |= _as_bits(where, 1 << planes[name])
            elif where.any():
                raise KeyError(_unknown(name, planes))
        return Mask(array, planes=planes)

    def cutout(self, slices: tuple[slice, slice]) -> Mask:
        """Return the part of the mask inside row and column slices, as in `Box.slices`."""
        return self._like(self.array[slices])

    def _like(self, array: IntArray) -> Mask:
        return Mask(array, planes=self.planes)


def header_keyword(name: str) -> str:
    """Return the FITS keyword that holds the bit of a plane, as LSST writes it."""
    return f"MP_{name}"


def planes_from_header(keywords: Iterable[tuple[str, object]]) -> dict[str, int]:
    """Return plane name -> bit from the ``MP_<NAME>`` keywords among (keyword, value) pairs."""
    prefix = header_keyword("")
    return {key[len(prefix) :]: value for key, value in keywords if key.startswith(prefix) and isinstance(value, int)}


def _blocks(n_rows: int) -> Iterator[slice]:
    """Yield slices of few rows, so that what is computed from them stays in the cache of the processor."""
    return (slice(start, start + BLOCK_ROWS) for start in range(0, n_rows, BLOCK_ROWS))


def _with_bits(array: NDArray[np.int32], where: BoolArray, *, keep: int, bits: int) -> NDArray[np.int32]:
    """Return the bits ``keep`` of each pixel, and ``bits`` set where ``where`` is True."""
    where = np.broadcast_to(where, array.shape)
    result = np.empty_like(array)
    for rows in _blocks(len(array)):
        np.bitwise_or(array[rows] & np.int32(keep), _as_bits(where[rows], bits), out=result[rows])
    return result


def _as_bits(where: BoolArray, bits: int) -> NDArray[np.int32]:
    return np.multiply(where, np.int32(bits), dtype=np.int32)


def _unknown(name: str, planes: Iterable[str]) -> str:
    hint = did_you_mean(name, planes) or f"; it has {', '.join(planes)}."
    return f"The mask has no plane {name!r}{hint}"


def _rebuilt(cls: type[Mask], array: NDArray[np.int32], planes: dict[str, int]) -> Mask:
    return cls(array, planes=planes)

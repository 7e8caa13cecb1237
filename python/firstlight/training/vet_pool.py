"""The examples of many fields, made one field at a time by as many processes as are wanted."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import structlog

from firstlight.errors import AlgorithmError, InputError
from firstlight.training.vet_examples import VetExamples, make_examples
from firstlight.training.vet_fields import TrainingField, read_field, simulate_field

_LOG = structlog.get_logger()
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class FieldOrigin:
    """What a field is made from: a seed, or a pair of a user's exposures.

    Parameters
    ----------
    number
        Of the field.
    seed, side
        Of a simulated one; `side` in pixels.
    pair
        Science exposure and template of the user.
    hard
        Whether it is seen as one learns, see `make_examples`.
    """

    number: int
    seed: int = 0
    side: int = 0
    pair: tuple[Path, Path] | None = None
    hard: bool = False

    def field(self) -> TrainingField:
        """Simulate or read the field."""
        if self.pair is not None:
            return read_field(self.number, science=self.pair[0], template=self.pair[1])
        return simulate_field(self.number, seed=self.seed, side=self.side)


def gather_examples(origins: Sequence[FieldOrigin], *, seed: int, n_visits: int, jobs: int = 1) -> VetExamples:
    """Return the examples of fields in their order; the number of processes changes nothing but rounding.

    Parameters
    ----------
    origins
    seed, n_visits
        As in `make_examples`.
    jobs
        Processes.

    Raises
    ------
    InputError
        If no field could be calibrated and subtracted, or a user's exposure has no PSF or WCS.
    """
    parts = []
    for origin, made in zip(origins, _each(origins, seed, n_visits, min(jobs, len(origins))), strict=True):
        if isinstance(made, str):
            _LOG.warning("field left out", number=origin.number, reason=made)
            continue
        _LOG.info("field", number=origin.number, examples=len(made))
        parts.append(made)
    if not parts:
        raise InputError("None of the fields could be calibrated and subtracted; the log says why.")
    return VetExamples.joined(parts)


def _each(origins: Sequence[FieldOrigin], seed: int, n_visits: int, jobs: int) -> Iterator[VetExamples | str]:
    arguments = origins, repeat(seed), repeat(n_visits)
    if jobs <= 1:
        yield from map(_examples, *arguments)
        return
    for name in _THREAD_SETTINGS:
        os.environ.setdefault(name, "1")  # Each process has a core of its own.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_say_only_warnings) as pool:
        yield from pool.map(_examples, *arguments)


def _say_only_warnings() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _examples(origin: FieldOrigin, seed: int, n_visits: int) -> VetExamples | str:
    """Return the examples of a field, or why there are none."""
    try:
        return make_examples(origin.field(), seed=seed, n_visits=n_visits, hard=origin.hard)
    except AlgorithmError as error:
        return str(error)

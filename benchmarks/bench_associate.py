"""Associate a night of detections with a large store of objects, all writes included.

``python benchmarks/bench_associate.py [--objects 1000000] [--detections 10000] [--visits 1] [--database URL]``

Objects fill a square at the density that their number gives; a share of them has a neighbour 1 to 2" away. The night
shows some of them again, with errors, and a tenth as many new places. Right is what joined its own object or, if new,
none.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import structlog
from astropy.table import Table

from firstlight.execution.association import add_visit
from firstlight.repo.objects import VisitKey, make_tables, save_objects
from firstlight.repo.repo import Repo
from firstlight.tasks.associate import AssociateTask

ARCSEC = 1 / 3600
SIDE_DEG = 3.2
ERROR_ARCSEC, OBJECT_ERROR_ARCSEC = 0.1, 0.05


def sky(n: int, *, dec0: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return places in a square across right ascension 0, half of them neighbours of the other half."""
    half = n // 2
    east, north = rng.uniform(-SIDE_DEG / 2, SIDE_DEG / 2, (2, n - half))
    angle, distance = rng.uniform(0, 2 * np.pi, half), rng.uniform(1, 2, half) * ARCSEC
    east = np.append(east, east[:half] + distance * np.cos(angle))
    north = np.append(north, north[:half] + distance * np.sin(angle))
    dec = dec0 + north
    return east / np.cos(np.radians(dec)) % 360, dec


def fill(repo: Repo, ra: np.ndarray, dec: np.ndarray) -> None:
    n = len(ra)
    error = np.full(n, OBJECT_ERROR_ARCSEC * ARCSEC)
    table = Table({"id": np.arange(1, n + 1), "ra": ra, "dec": dec, "ra_err": error, "dec_err": error})
    table["n_detections"], table["first_mjd"], table["last_mjd"] = 1, 59999.0, 59999.0
    with repo.database.write() as connection:
        make_tables(connection)
        save_objects(connection, table)


def night(
    ra: np.ndarray, dec: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places with errors and the object of each; 0 for those at new places far from all objects."""
    again = rng.choice(len(ra), n - n // 10, replace=False)
    new_ra, new_dec = sky(n // 10, dec0=float(np.mean(dec)) + 2 * SIDE_DEG, rng=rng)
    truth = np.append(again + 1, np.zeros(n // 10, dtype=int))
    ra, dec = np.append(ra[again], new_ra), np.append(dec[again], new_dec)
    shift = rng.normal(0, np.hypot(ERROR_ARCSEC, OBJECT_ERROR_ARCSEC), (2, n)) * ARCSEC
    order = rng.permutation(n)
    dec = dec + shift[1]
    return ((ra + shift[0] / np.cos(np.radians(dec))) % 360)[order], dec[order], truth[order]


def measure(repo: Repo, *, n_objects: int, n_detections: int, n_visits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ra, dec = sky(n_objects, dec0=60.0, rng=rng)
    start = time.perf_counter()
    fill(repo, ra, dec)
    print(f"{n_objects} objects written in {time.perf_counter() - start:.1f} s")
    seen_ra, seen_dec, truth = night(ra, dec, n_detections, rng)
    task, right = AssociateTask(), 0
    wall, cpu = time.perf_counter(), time.process_time()
    for number, rows in enumerate(np.array_split(np.arange(n_detections), n_visits)):
        error = np.full(len(rows), ERROR_ARCSEC * ARCSEC)
        table = Table(
            {
                "id": np.arange(1, len(rows) + 1),
                "ra": seen_ra[rows],
                "dec": seen_dec[rows],
                "ra_err": error,
                "dec_err": error,
                "flux": np.ones(len(rows)),
                "snr": np.ones(len(rows)),
            }
        )
        add_visit(repo, task, table, key=VisitKey(60000.0 + number / 1000, "camera", number, 0), band="r")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    right = count_right(repo, truth, n_detections, n_visits)
    print(
        f"{n_detections} detections in {n_visits} visits: {wall:.2f} s, {cpu:.2f} CPU s; "
        f"{100 * right / n_detections:.3f} % right"
    )


def count_right(repo: Repo, truth: np.ndarray, n_detections: int, n_visits: int) -> int:
    from firstlight.repo.object_schema import detection
    from firstlight.repo.objects import select_rows

    with repo.database.read() as connection:
        seen = select_rows(connection, detection)
    right = 0
    for number, rows in enumerate(np.array_split(np.arange(n_detections), n_visits)):
        mine = seen[np.asarray(seen["visit"]) == number]
        found = np.where(np.asarray(mine["object_id"]) <= len(truth) * 1000, np.asarray(mine["object_id"]), 0)
        right += int(np.sum(truth[rows][np.asarray(mine["source_id"]) - 1] == found))
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--detections", type=int, default=10_000)
    parser.add_argument("--visits", type=int, default=1)
    parser.add_argument("--database", default=None)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with (
        tempfile.TemporaryDirectory() as folder,
        Repo.create(Path(folder) / "repo", database=given.database) as repo,
    ):
        measure(
            repo,
            n_objects=given.objects,
            n_detections=given.detections,
            n_visits=given.visits,
            seed=given.seed,
        )


if __name__ == "__main__":
    main()

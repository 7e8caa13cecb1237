"""Observe a simulated season through the commands, and print what was found of everything that changed.

``python benchmarks/bench_season.py --folder season [--nights 30] [--fields 4] [--seed 1] [--until 10] [--again]``

The folder is kept: what is done there already is not done again, so that a season can be made in pieces. Frames of
long before the season make the templates; those of each night are put into a folder that `firstlight watch` looks at
with `night.yaml`. `--again` does the whole twice more, with files that arrive in any order, and with `watch` killed
again and again, and compares everything that is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.time import Time

sys.path.insert(0, str(Path(__file__).parent))
import season_truth as truth

from firstlight.cli.main import run
from firstlight.execution.association import add_visit
from firstlight.images.alert_file import read_packets
from firstlight.images.catalog import read_catalog
from firstlight.repo.object_schema import detection, forced_flux, sky_object
from firstlight.repo.objects import VisitKey, select_rows
from firstlight.repo.repo import Repo
from firstlight.tasks.associate import AssociateTask


def call(*words: str, also: tuple[int, ...] = ()) -> str:
    """Run a command in this process and return what it printed."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = run(list(words))
    if code not in (0, *also):
        raise SystemExit(f"firstlight {' '.join(words)} ended with {code}:\n{errors.getvalue()}")
    return out.getvalue() + errors.getvalue()


N_TEMPLATES = 6
"""Frames of each field before the season."""


N_KILLS = 8
"""How often `watch` is killed at some moment before it may end."""


SURE_ARTEFACT = 0.02
"""Default of `ScoreCheckTask`."""


class Clock:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self._cpu, self._wall = self._now(), time.perf_counter()

    def tell(self, what: str) -> None:
        """Say how much CPU and time went since the last time."""
        cpu, wall = self._now(), time.perf_counter()
        print(f"{what}: {cpu - self._cpu:.1f} CPU s, {wall - self._wall:.0f} s", flush=True)
        self._cpu, self._wall = cpu, wall

    @staticmethod
    def _now() -> float:
        spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in spent)


def make_season(folder: Path, given: argparse.Namespace) -> Path:
    """Simulate the frames, unless they are there."""
    frames = folder / "frames"
    if not (frames / "season.json").exists():
        counts = {"supernovae": given.supernovae, "variables": given.variables, "movers": given.movers}
        words = [word for name, value in counts.items() for word in (f"--{name}", str(value))]
        call("simulate", "-o", str(frames), "--nights", str(given.nights), "--fields", str(given.fields),
             "--seed", str(given.seed), *words)  # fmt: skip
    return frames


def make_templates(folder: Path, frames: Path) -> None:
    """Make a repository with a template of each field, and a copy of it."""
    root = str(folder / "repo")
    if (folder / "start").exists():
        return
    if not Path(root).exists():
        call("repo", "create", root)
    call("ingest", "-b", root, *map(str, sorted(frames.glob("template/*.fits"))))
    if not (folder / "stars").exists():
        call("refcat", "ingest", str(folder / "stars"), str(frames / "refcat.parquet"))
    for name in ("astrometry_refcat", "photometry_refcat"):
        call("refcat", "register", "-b", root, str(folder / "stars"), "--name", name)
    call("run", "-b", root, "-p", "single_frame.yaml#stars", "-o", "before")
    call("skymap", "register", "-b", root, "fields", "-i", "before")
    call("run", "-b", root, "-p", "template.yaml", "-i", "before", "-i", "skymaps/fields", "-o", "templates")
    shutil.copytree(root, folder / "start")


def watch_words(folder: Path, frames: Path) -> list[str]:
    """Return the command that brings in what lies in ``incoming`` and finds what changed."""
    words = ["watch", str(folder / "incoming"), "-b", str(folder / "repo"), "-p", "night.yaml", "-o", "night"]
    words += ["-i", "templates", "-i", "raw/simulated", "-d", f"day_obs >= {first_day(frames)}"]
    words += ["-c", f"known.minor_planets={frames / 'minor_planets.parquet'}", "--once", "--settle", "0"]
    return [*words, "--mode", "link"]


def arrive(folder: Path, frame: Path) -> None:
    """Put a frame into the folder that is watched."""
    path = folder / "incoming" / f"{frame.parent.name}_{frame.name}"
    if not path.exists():
        shutil.copy(frame, path)


def observe(folder: Path, frames: Path, nights: Iterable[int]) -> None:
    """Watch night after night; tell what was ill."""
    (folder / "incoming").mkdir(exist_ok=True)
    for night in nights:
        new = sorted(frames.glob(f"night_{night:02}/*.fits"))
        for frame in new:
            arrive(folder, frame)
        if new:
            said = call(*watch_words(folder, frames), also=(1,))
            for line in said.splitlines():
                if "  failed  " in line or "set aside" in line:
                    print(f"night {night}: {line}")


def first_day(frames: Path) -> int:
    """Return a day between the templates and the season, as the repository counts days."""
    table = read_catalog(frames / "visits.parquet")
    first = float(np.min(table["mjd"][table["night"] >= 0]))
    return int(Time(first - 2.0, format="mjd", scale="tai").utc.strftime("%Y%m%d"))


def check_alerts(folder: Path, repo: Repo) -> tuple[int, int, int]:
    """Return how many detections are kept, how many of them have a true alert, and how many alerts have none."""
    with repo.database.read() as connection:
        kept = select_rows(connection, detection)
    files = sorted((folder / "repo/night/alerts").glob("*/*.avro"))
    packets = {int(packet["candid"]): packet for path in files for packet in read_packets(path)}
    right = sum(_is_told(packets.get(int(row["id"])), row) for row in kept)
    return len(kept), right, len(set(packets) - {int(number) for number in kept["id"]})


def _is_told(packet: dict | None, row: Table.Row) -> bool:
    if packet is None:
        return False
    stamps = all(packet[f"cutout{kind}"] for kind in ("Science", "Template", "Difference"))
    same = abs(packet["candidate"]["psfFlux"] - row["flux"]) <= 1e-6 * abs(row["flux"])
    return bool(stamps and same and (row["object_id"] == 0 or int(packet["objectId"]) == row["object_id"]))


def same_in_any_order(folder: Path, repo: Repo, *, seed: int) -> tuple[int, int]:
    """Associate the same images in another order in an empty repository; return objects, and how many differ."""
    with repo.database.read() as connection:
        kept, objects = (select_rows(connection, table) for table in (detection, sky_object))
    images = {}
    for row in kept:
        key = VisitKey(*(row[name].item() for name in VisitKey._fields))
        images.setdefault(key, []).append(row.index)
    keys = list(images)
    np.random.default_rng(seed).shuffle(keys)
    with Repo.create(folder) as other:
        for mjd, instrument, visit, number in keys:
            key = VisitKey(float(mjd), str(instrument), int(visit), int(number))
            table = kept[images[key]]
            moving = table["solar_system"] != ""
            bodies = table[moving]["solar_system", "ra", "dec"]
            bodies.rename_column("solar_system", "name")
            columns = ["source_id", "ra", "dec", "ra_err", "dec_err", "flux", "flux_err", "snr", "score", "is_negative"]
            candidates = table[columns]
            candidates.rename_column("source_id", "id")
            add_visit(other, AssociateTask(), candidates, key=key, band="r", solar_system=bodies)
        with other.database.read() as connection:
            again = select_rows(connection, sky_object)
    first, second = ({int(row["id"]): tuple(row) for row in table} for table in (objects, again))
    return len(first), sum(first.get(number) != second.get(number) for number in set(first) | set(second))


def tell(season: truth.Season, frames: Path) -> None:
    """Print the rows."""
    print("\nsupernovae and variables, by their largest S/N: there, found, found twice")
    for name, n, once, twice in truth.recall(season):
        print(f"  {name:>10}  {n:4d} {once:4d} {twice:4d}")
    for kind in ("supernova", "variable", "mover"):
        print(f"{kind} in single images, by S/N: there, detected")
        for name, n, seen in truth.completeness(season, kind):
            print(f"  {name:>10}  {n:4d} {seen:4d}")
    often, wrong = truth.purity(season)
    print(f"objects of two detections and more: {often}, of which {often - len(wrong)} are true")
    for row in wrong:
        print(f"  ra {row['ra']:.5f} dec {row['dec']:+.5f}: {row['n_detections']} detections of nothing")
    often, wrong = truth.purity(season, min_score=SURE_ARTEFACT)
    print(f"without candidates of a score below {SURE_ARTEFACT}: {often}, of which {often - len(wrong)} are true")
    print(f"true objects with several numbers: {truth.duplicates(season)}; objects of several: {truth.mixed(season)}")
    seen, right, others = truth.named(season, frames)
    print(f"detections of predicted bodies: {seen}, of which {right} have their name; {others} others have one")
    for kind in ("supernova", "variable"):
        for of in ("detection", "forced"):
            curves = truth.pulls(season, kind, of)
            all_pulls = np.concatenate([pull for _, pull, _ in curves] or [np.empty(0)])
            chi2 = [float(np.mean(pull**2)) for _, pull, _ in curves if len(pull)]
            print(
                f"{kind}, {of}: {len(chi2)} light curves, {len(all_pulls)} fluxes, mean pull {all_pulls.mean():+.3f}, "
                f"chi2 per point {np.mean(all_pulls**2):.2f}, median of curves {np.median(chi2):.2f}, "
                f"worst {np.max(chi2):.2f}"
            )


def kept_rows(root: str) -> dict[str, list[str]]:
    """Return all that is kept, in an order that does not depend on how it came there."""
    with Repo.open(root) as repo, repo.database.read() as connection:
        tables = {each.name: select_rows(connection, each) for each in (sky_object, detection, forced_flux)}
    return {name: sorted(str(tuple(row)) for row in table) for name, table in tables.items()}


def watch_again(folder: Path, frames: Path, start: Path, *, seed: int, kill: bool) -> dict[str, list[str]]:
    """Watch a season in a copy of a repository that has its templates alone; return all that is kept in the end."""
    folder.mkdir()
    shutil.copytree(start, folder / "repo")
    (folder / "incoming").mkdir()
    files = sorted(frames.glob("night_*/*.fits"))
    rng = np.random.default_rng(seed)
    if not kill:
        rng.shuffle(files)
        for some in np.array_split(np.array(files, dtype=object), max(len(files) // 3, 1)):
            for frame in some:
                arrive(folder, frame)
            call(*watch_words(folder, frames), also=(1,))
        return kept_rows(str(folder / "repo"))
    for frame in files:
        arrive(folder, frame)
    words = [sys.executable, "-c", "from firstlight.cli.main import main; main()", *watch_words(folder, frames)]
    for _ in range(N_KILLS):
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None  # noqa: S101 - it is a pipe
            process.stderr.readline()  # it has begun to watch
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 8.0))
            process.kill()
    call(*watch_words(folder, frames), also=(1,))
    return kept_rows(str(folder / "repo"))


def differing(first: dict[str, list[str]], second: dict[str, list[str]]) -> str:
    """Return how many rows of each kind are in one of two only."""
    counts = {name: len(set(rows) ^ set(second[name])) for name, rows in first.items()}
    return ", ".join(f"{n} of {len(first[name])} {name}" for name, n in counts.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--fields", type=int, default=4)
    parser.add_argument("--supernovae", type=int, default=50)
    parser.add_argument("--variables", type=int, default=50)
    parser.add_argument("--movers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until", type=int, help="Observe only the nights before this one; more can follow.")
    parser.add_argument("--again", action="store_true", help="Once more in any order, and once more with kills.")
    given = parser.parse_args()
    folder, clock = given.folder, Clock()
    folder.mkdir(parents=True, exist_ok=True)
    frames = make_season(folder, given)
    clock.tell("simulated")
    make_templates(folder, frames)
    clock.tell("templates")
    observe(folder, frames, range(given.nights if given.until is None else given.until))
    clock.tell("watched")
    with Repo.open(folder / "repo") as repo:
        season = truth.read_season(repo, frames, n_templates=N_TEMPLATES)
        tell(season, frames)
        truth.draw(season, folder / "light_curves.png")
        kept, right, surplus = check_alerts(folder, repo)
        print(f"alerts: {right} of {kept} detections have a true one; {surplus} alerts of nothing that is kept")
        n, differ = same_in_any_order(folder / f"order_{time.time_ns()}", repo, seed=given.seed)
        print(f"associated in another order: {differ} of {n} objects differ")
    clock.tell("scored")
    if given.again:
        first = kept_rows(str(folder / "repo"))
        for kill in (False, True):
            place = folder / f"again_{time.time_ns()}"
            second = watch_again(place, frames, folder / "start", seed=given.seed, kill=kill)
            clock.tell(f"{'killed' if kill else 'any order'}: {differing(first, second)} differ")


if __name__ == "__main__":
    main()

"""From two calibrated images to candidates, on pairs of known truth, with every method of ours and with peers.

python benchmarks/bench_subtract.py [--first 2001] [--pairs 20] [--only 0:5] [--methods AL ZOGY] [--keep FOLDER]

A pair is two exposures of one field as a telescope takes them: other pointing and rotation, seeing ratios 0.6 to 1.6,
fields sparse to crowded, cosmic rays, defects and saturated stars. Both are calibrated by ours, so that WCS, PSFs and
masks are none of the truth. In the science image 200 transients of ideal signal-to-noise ratios 2.5 to 60 are new, and
200 stars have changed by +50 or -40 %. CPU seconds are those of one thread with warm kernels, alignment, detection and
measurement included; those of peers leave out alignment and their imports. `S/N 50 %`, `> 6` and `pull` take all pairs
together, other numbers are medians. Peers: `$FIRSTLIGHT_PEER_PYTHON` names a Python that has sfft or properimage,
`$HOTPANTS` that program. With `--keep` the verdicts of several calls are summed up together.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import structlog
from subtraction.judge import judge
from subtraction.methods import Method, all_methods
from subtraction.pairs import Scene, make_pair, scenes

from firstlight.algorithms.injection import fit_completeness

NUMBERS = (
    "seconds",
    "masked",
    "sky std",
    "sky mad",
    "lag 1",
    "stars 14",
    "15.5-17",
    "17-18.5",
    "false +",
    "false -",
    "place",
)
POOLED = ("S/N 50 %", "+-", "> 6 %", "flux", "+-", "pull", "variables")


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=2001)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--only", default=":", help="slice of the pairs that this call makes")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--keep", type=Path, help="folder of the verdicts")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    methods = {name: method for name, method in all_methods().items() if not options.methods or name in options.methods}
    start, _, stop = options.only.partition(":")
    chosen = scenes(options.first, options.pairs, options.side)[int(start or 0) : int(stop) if stop else None]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if chosen:
            warm_up(methods)
            print(f"{'pair':>22}  {'method':>9}  " + "  ".join(f"{name:>8}" for name in NUMBERS))
        for scene in chosen:
            study(scene, methods, folder)
        summarize(folder)


def warm_up(methods: dict[str, Method]) -> None:
    """Compile and load what the methods need."""
    pair = make_pair(Scene(1, "default", 1.1, side=320))
    for method in methods.values():
        attempt(method, pair)


def attempt(method: Method, pair: object) -> object:
    """Return what a method makes of a pair, or the last line of its error."""
    try:
        return method(pair)
    except Exception as error:  # noqa: BLE001 - the table tells that a method failed, whatever it raised
        return (str(error).strip().splitlines() or [type(error).__name__])[-1][:100]


def study(scene: Scene, methods: dict[str, Method], folder: Path) -> None:
    """Judge all methods on one pair, and keep what came of it."""
    pair = make_pair(scene)
    title = f"{scene.seed} {scene.kind} {scene.ratio:.2f}"
    for name, method in methods.items():
        made = attempt(method, pair)
        if isinstance(made, str):
            print(f"{title:>22}  {name:>9}  {made}", flush=True)
            kept: dict[str, object] = {"error": made}
        else:
            verdict = judge(pair, made)
            print(f"{title:>22}  {name:>9}  {cells(verdict.numbers)}", flush=True)
            kept = verdict.to_json()
        path = folder / f"{scene.seed}_{name.replace(' ', '_')}.json"
        path.write_text(json.dumps({"method": name, "kind": scene.kind, "ratio": scene.ratio, **kept}) + "\n")


def cells(numbers: dict[str, float]) -> str:
    """Return the numbers of a row."""
    return "  ".join(f"{numbers[name]:8.3f}" for name in NUMBERS)


def summarize(folder: Path) -> None:
    """Print medians and what all pairs say together, for each method and each kind of field."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    print(f"\n{'method':>9}  {'fields':>8}  {'pairs':>5}  " + "  ".join(f"{name:>8}" for name in (*NUMBERS, *POOLED)))
    for method in dict.fromkeys(row["method"] for row in rows):
        for kind in ("all", "sparse", "default", "crowded"):
            chosen = [
                row for row in rows if row["method"] == method and kind in ("all", row["kind"]) and "numbers" in row
            ]
            if chosen:
                medians = {name: median([row["numbers"][name] for row in chosen]) for name in NUMBERS}
                print(f"{method:>9}  {kind:>8}  {len(chosen):>5}  {cells(medians)}  {pooled(chosen)}")


def median(values: list[float]) -> float:
    """Return the median of what is known."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else np.nan


def pooled(rows: list[dict[str, object]]) -> str:
    """Return completeness, flux ratio and pulls of the transients of all rows."""
    snr = np.concatenate([row["snr"] for row in rows])
    found = np.concatenate([row["found"] for row in rows]).astype(bool)
    fit = fit_completeness(snr, found)
    bright = np.concatenate([np.reshape(row["bright"], (-1, 3)) for row in rows])
    flux, error, pull = np.nan, np.nan, np.nan
    if len(bright) > 2:
        true, measured, stated = bright.T
        weight = 1 / stated**2
        flux = (weight * measured * true).sum() / (weight * true**2).sum()
        error = 1 / np.sqrt((weight * true**2).sum())
        pull = np.std((measured - true) / stated)
    seen, number = np.sum([row["variables"] for row in rows], axis=0)
    above = found[snr > 6].mean() if (snr > 6).any() else np.nan
    half = (np.nan, np.nan) if fit is None else (fit.half, fit.half_err)
    values = (*half, 100 * above, flux, error, pull)
    return "  ".join([*(f"{value:8.3f}" for value in values), f"{seen}/{number}".rjust(9)])


if __name__ == "__main__":
    main()

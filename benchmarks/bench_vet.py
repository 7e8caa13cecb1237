"""Judge the models that vet candidates on fields unlike those they were made from, and on real alerts.

python benchmarks/bench_vet.py --first 200 --fields 12 [--alerts $FIRSTLIGHT_TEST_DATA/alerts] [--plot vet.png]
    [--models FOLDER] [--hard]

Seeds, seeing, densities and rates of artefacts are drawn from wider ranges than in training. Candidates are those of
the detection with its default settings, but from 4.5 standard deviations on; those that it hands on have measured 5,
real or not. S/N bins are of the true S/N of real ones. Shares at 6 % and 50 % real are those of the same candidates
with other weights; their errors, and those of recall and false positives, are from drawing the fields again. Real
alerts have no labels: the ranking is compared with that of the classifier of each survey, which is no truth. Times are
CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import gzip
import io
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow.parquet as pq
import structlog
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from firstlight.errors import AlgorithmError
from firstlight.images.exposure import Exposure
from firstlight.images.mask import Mask
from firstlight.images.psf import MoffatPsf
from firstlight.tasks.vet import VetTask
from firstlight.tasks.vet_features import FeatureVetConfig, FeatureVetTask
from firstlight.tasks.vet_joint import JointVetConfig, JointVetTask
from firstlight.tasks.vet_models import FEATURE_MODEL, JOINT_MODEL, NETWORK_MODEL
from firstlight.tasks.vet_network import NetworkVetConfig, NetworkVetTask
from firstlight.training.vet import HANDED_ON
from firstlight.training.vet_examples import VetExamples, make_examples
from firstlight.training.vet_fields import simulate_field
from firstlight.training.vet_joint import scores_of_examples

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.algorithms.candidates import PSF, SIGMA, field_of

ZTF_GAIN = 6.2
"""Electrons per count of the ZTF camera; for the other cameras the photon noise of the sources is left out."""

FIRST_SEED = 900_000_000
SNR_EDGES = (5.0, 7.0, 10.0, 20.0, 100.0)
FAINT = (5.0, 10.0)
PRIORS = (0.06, 0.5)
N_DRAWS = 2000


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="number of the first field, so that others are judged")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--visits", type=int, default=2)
    parser.add_argument("--like-training", action="store_true", help="ranges of training, other seeds")
    parser.add_argument("--hard", action="store_true", help="as in training: residuals of stars, PSFs not quite right")
    parser.add_argument("--alerts", type=Path)
    parser.add_argument("--models", type=Path, help="folder of models in place of those of the package")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    tasks = models(options.models)
    examples = gathered(options)
    print(f"{options.fields} fields, {examples.real.sum()} real and {(~examples.real).sum()} false candidates")
    scores = {name: scores_of_examples(task, examples) for name, task in tasks.items()}
    for name, task in tasks.items():
        print(f"\n== {name}: threshold {task.model_threshold:.3f}, {speed(task):.0f} stamps per CPU second")
        judge(scores[name], examples, task)
    if options.alerts:
        for name, task in tasks.items():
            real_alerts(name, task, options.alerts)
    if options.plot:
        draw(scores, examples, options.plot)


def models(folder: Path | None) -> dict[str, FeatureVetTask | NetworkVetTask | JointVetTask]:
    """Return the tasks by name."""
    paths = [None if folder is None else str(folder / name) for name in (FEATURE_MODEL, NETWORK_MODEL, JOINT_MODEL)]
    return {
        "features": FeatureVetTask(FeatureVetConfig(model=paths[0])),
        "network": NetworkVetTask(NetworkVetConfig(model=paths[1])),
        "joint": JointVetTask(JointVetConfig(model=paths[2])),
    }


def gathered(options: argparse.Namespace) -> VetExamples:
    """Return the candidates of all fields that can be processed."""
    parts = []
    for number in range(options.first, options.first + options.fields):
        try:
            wild = not options.like_training
            field = simulate_field(number, seed=FIRST_SEED + number, side=options.side, wild=wild)
            parts.append(make_examples(field, seed=FIRST_SEED, n_visits=options.visits, hard=options.hard))
        except AlgorithmError as error:
            print(f"field {number} left out: {error}")
    return VetExamples.joined(parts)


def judge_shares(kept: NDArray[np.bool_], examples: VetExamples, which: str) -> None:
    """Print recall and false positives, and what follows at each share of real candidates."""
    real = examples.real
    faint = real & (examples.snr >= FAINT[0]) & (examples.snr < FAINT[1])
    _, field = np.unique(examples.number, return_inverse=True)
    n = field.max() + 1
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1.0 / n), size=N_DRAWS)
    counts = np.array(
        [np.bincount(field, rows, minlength=n) for group in (real, faint, ~real) for rows in (group & kept, group)]
    )
    found = counts.sum(axis=1), draws @ counts.T
    recall, of_faint, false = (np.append(*(each[..., k] / each[..., k + 1] for each in found)) for k in (0, 2, 4))
    print(
        f"  {which}: {n} fields, {real.sum()} real and {(~real).sum()} false, of which {(kept & ~real).sum()} believed"
    )
    print(f"    recall {drawn(recall)}   at S/N {FAINT[0]:.0f} to {FAINT[1]:.0f} {drawn(of_faint)} (of {faint.sum()})")
    print(f"    false positive rate {drawn(false)}")
    for prior in PRIORS:
        precision = prior * recall / np.maximum(prior * recall + (1 - prior) * false, 1e-12)
        accuracy = prior * recall + (1 - prior) * (1 - false)
        print(f"    at {prior:4.0%} real: accuracy {drawn(accuracy)}  precision {drawn(precision)}")


def drawn(values: NDArray[np.float64]) -> str:
    """Return the first of the values with the scatter of the rest."""
    return f"{values[0]:.4f} +- {np.nanstd(values[1:]):.4f}"


def judge(score: NDArray[np.float64], examples: VetExamples, task: VetTask) -> None:
    """Print every number of one model."""
    kept = score >= task.model_threshold
    judge_shares(kept, examples, f"from {examples.peak_snr.min():.1f}")
    handed = examples.peak_snr >= HANDED_ON
    examples, score, kept, real = examples[handed], score[handed], kept[handed], examples.real[handed]
    judge_shares(kept, examples, f"from {HANDED_ON:.1f}")
    low, high = task.fwhm_range
    known = (examples.fwhm >= low) & (examples.fwhm <= high)
    judge_shares(kept[known], examples[known], f"from {HANDED_ON:.1f}, FWHM of {low} to {high}")
    cut = np.quantile(score[~real], 0.99)
    print(f"  AUC {area(score, real):.4f}   missed at 1 % false positives: {np.mean(score[real] <= cut):.4f}")
    for low, high in pairwise(SNR_EDGES):
        inside = real & (examples.snr >= low) & (examples.snr < high)
        print(f"  S/N {low:5.1f}-{high:5.1f}: recall {share(kept[inside])}")
    for kind in np.unique(examples.kind[~real]):
        print(f"  {kind:12s} false positive rate {share(kept[examples.kind == kind])}")
    expected, seen, weight = reliability(score, real)
    error = np.nansum(weight * np.abs(expected - seen)) / weight.sum()
    print(f"  expected calibration error at equal shares {error:.4f}")
    print("  said   " + " ".join(f"{value:6.3f}" for value in expected))
    print("  is     " + " ".join(f"{value:6.3f}" for value in seen))


def share(kept: NDArray[np.bool_]) -> str:
    """Return a share with its standard error and the number it is of."""
    n = len(kept)
    if not n:
        return "   -   "
    value = kept.mean()
    return f"{value:.4f} +- {spread(value, n):.4f} (of {n})"


def spread(value: float, n: int) -> float:
    """Return the standard error of a share of n; where all are alike, as if half a one were not."""
    return float(np.sqrt(max(value * (1 - value), 0.25 / n) / n))


def area(score: NDArray[np.float64], real: NDArray[np.bool_]) -> float:
    """Return the area under the receiver operating characteristic."""
    ranks, n = rankdata(score), int(real.sum())
    return float((ranks[real].sum() - n * (n + 1) / 2) / (n * (len(real) - n)))


def reliability(score: NDArray[np.float64], real: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Return in ten bins of the score its mean, the share of real ones, and the weight, both classes equal."""
    weight = np.where(real, 0.5 / real.sum(), 0.5 / (~real).sum())
    place = np.clip((10 * score).astype(int), 0, 9)
    total = np.bincount(place, weight, minlength=10)
    with np.errstate(invalid="ignore"):
        said = np.bincount(place, weight * score, minlength=10) / total
        seen = np.bincount(place, weight * real, minlength=10) / total
    return said, seen, total


def speed(task: VetTask) -> float:
    """Return how many stamps a task judges in a CPU second, cutting and measuring included."""
    (science, template, difference), x, y = field_of("star", snr=20.0, n=400)
    images = [
        exposure(image, SIGMA**2 * factor, PSF)
        for image, factor in ((science, 0.5), (template, 0.5), (difference, 1.0))
    ]
    candidates = Table({"x": np.tile(x, 5), "y": np.tile(y, 5)})
    task.run(*images, candidates)
    start = time.process_time()
    task.run(*images, candidates)
    return len(candidates) / (time.process_time() - start)


def exposure(image: NDArray[np.floating[Any]], variance: Any, psf: MoffatPsf) -> Exposure:
    """Return an exposure without any mask but for what is not finite."""
    empty = ~np.isfinite(image)
    return Exposure(
        image=np.nan_to_num(image).astype(np.float32),
        mask=Mask.empty(image.shape).with_plane("NO_DATA", empty),
        variance=np.broadcast_to(variance, image.shape).astype(np.float32),
        psf=psf,
    )


def real_alerts(name: str, task: VetTask, folder: Path) -> None:
    """Compare the ranking of real alerts with that of each survey's own classifier."""
    rng = np.random.default_rng(0)
    for camera in ("ztf", "ztf parquet", "pgir", "wntr"):
        packets = list(alerts_of(folder, camera))
        widths = [float(packet["candidate"]["fwhm"]) for packet in packets]
        fwhm = float(np.median(widths))
        ours = np.array(
            [score_of(task, packet, fwhm, gain=ZTF_GAIN if "ztf" in camera else np.inf) for packet in packets]
        )
        theirs = np.array([float(survey_score(packet)) for packet in packets])
        known = np.isfinite(ours) & np.isfinite(theirs)
        text = f"{name} on {camera}: {len(packets)} alerts, FWHM {fwhm:.1f}, {np.isnan(ours).sum()} undefined, "
        text += f"{np.sum(ours >= task.model_threshold)} called real"
        if known.sum() > 5 and np.ptp(theirs[known]) > 0:
            draws = [rng.choice(np.flatnonzero(known), known.sum()) for _ in range(500)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                spread = np.nanstd([spearmanr(ours[rows], theirs[rows]).statistic for rows in draws])
            text += f", Spearman {spearmanr(ours[known], theirs[known]).statistic:+.2f} +- {spread:.2f}"
        print(text)


def alerts_of(folder: Path, camera: str) -> Iterator[dict[str, Any]]:
    """Yield the packets of a camera."""
    if camera == "ztf parquet":
        yield from pq.read_table(folder / "ztf_67_alerts.parquet").to_pylist()
        return
    for path in sorted((folder / camera).glob("*.avro")):
        with path.open("rb") as file:
            yield next(fastavro.reader(file))


def survey_score(packet: dict[str, Any]) -> float:
    """Return the score of the survey; ``rb`` where there is one, which is less saturated than ``drb``."""
    found = [packet["candidate"].get(key) for key in ("rb", "drb")]
    return next((value for value in found if value is not None), np.nan)


def score_of(task: VetTask, packet: dict[str, Any], fwhm: float, *, gain: float) -> float:
    """Return our score of an alert, with noise measured on its stamps."""
    psf = MoffatPsf(fwhm=max(fwhm - 0.2, 1.0), beta=3.0, radius=24)
    negative = str(packet["candidate"]["isdiffpos"]).lower() in ("f", "0", "false")
    images: list[Exposure] = []
    for key in ("Science", "Template", "Difference"):
        stamp = packet.get(f"cutout{key}") or packet.get(f"cutout_{key.lower()}")
        image = stamp_image(stamp["stampData"] if isinstance(stamp, dict) else stamp)
        image = image - np.nanmedian(image)
        if negative and key == "Difference":
            # ZTF cuts these from template minus science: all 40 of them are bright in the middle.
            image = -image
        sky = (1.4826 * np.nanmedian(np.abs(image))) ** 2
        # The difference carries the photons of the science image; templates are deep, so that theirs matter little.
        light = np.maximum(np.nan_to_num(image), 0.0) if key != "Difference" else images[0].image.clip(0.0)
        images.append(exposure(image, sky + light / gain, psf))
    middle = [(size - 1) / 2 for size in images[0].shape]
    candidates = Table({"x": [middle[1]], "y": [middle[0]], "is_negative": [negative]})
    return float(task.run(*images, candidates).scores[0])


def stamp_image(data: bytes) -> NDArray[np.float64]:
    """Return the pixels of a FITS stamp, packed or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)) as hdus:
            return np.asarray(next(hdu.data for hdu in hdus if hdu.data is not None), dtype=np.float64)


def draw(scores: dict[str, NDArray[np.float64]], examples: VetExamples, path: Path) -> None:
    """Draw the receiver operating characteristic and the reliability of both models."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for name, score in scores.items():
        cuts = np.quantile(score, np.linspace(0, 1, 1000))
        rates = [[np.mean(score[side] >= cut) for cut in cuts] for side in (~examples.real, examples.real)]
        left.plot(*rates, label=name)
        right.plot(*reliability(score, examples.real)[:2], "o-", label=name)
    left.set(xscale="log", xlim=(1e-3, 1), ylim=(0.8, 1.002), xlabel="false positive rate", ylabel="recall")
    right.plot([0, 1], [0, 1], color="0.7", zorder=0)
    right.set(xlabel="score", ylabel="share that is real (equal shares)")
    left.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

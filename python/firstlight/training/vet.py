"""Make the models of a `VetTask`: fields, rounds of hard negatives, fits, calibration, threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from scipy.special import expit

from firstlight.algorithms.boosted_trees import BoostedTrees, Calibration, fit_boosted_trees, fit_calibration
from firstlight.errors import InputError
from firstlight.kernels.arrays import FloatArray
from firstlight.tasks.detect_difference import DetectDifferenceConfig
from firstlight.tasks.vet_models import FEATURE_MODEL, FeatureModel
from firstlight.training.vet_examples import VetExamples
from firstlight.training.vet_pool import FieldOrigin, gather_examples

HANDED_ON = DetectDifferenceConfig().threshold
"""Significance from which the detection hands candidates on [standard deviation]; fainter ones only teach."""

_LOG = structlog.get_logger()
_EASY = 0.02
_HARD = 0.1
_KEPT_OF_EASY = 4
_FAINT = (5.0, 10.0)
_SEEDS_APART = 100_000


@dataclass(frozen=True, kw_only=True)
class VetRecipe:
    """How a model is made; the defaults are the full recipe."""

    seed: int = 1
    """Another seed, other fields and other injections."""

    n_fields: int = 300
    """Simulated fields, of which a fifth is for judging."""

    side: int = 640
    """Size of a simulated field [pixel]."""

    n_visits: int = 3
    """How often a field is seen, with other injections and registrations."""

    n_rounds: int = 2
    """Rounds in which new fields are searched for false candidates that the model so far believes."""

    hard_weight: float = 2.0
    """Importance of those when fitting."""

    n_trees: int = 400
    """Trees over the features."""

    depth: int = 5
    """Questions of a tree."""

    epochs: int = 15
    """How often the network sees every example."""

    recall: float = 0.99
    """Share of the real candidates at a significance of 5 to 10 that the threshold keeps."""

    @classmethod
    def smoke(cls, seed: int = 1) -> VetRecipe:
        """Return a recipe of seconds, which proves that everything runs and nothing more."""
        return cls(seed=seed, n_fields=6, side=384, n_visits=1, n_trees=30, epochs=1)


@dataclass(frozen=True)
class VetTraining:
    """Examples to learn from and to judge by, and the model of features.

    Parameters
    ----------
    learned
        With the importance that hard ones got.
    judged
        Of other fields, just as the detection hands them on.
    model
    n_fields
        That could be used.
    """

    learned: VetExamples
    judged: VetExamples
    model: FeatureModel
    n_fields: int


def train_features(recipe: VetRecipe, pairs: Sequence[tuple[Path, Path]] = (), *, jobs: int = 1) -> VetTraining:
    """Make examples round by round and fit trees to their features.

    Parameters
    ----------
    recipe
    pairs
        Science exposures and templates of the user, used besides the simulated fields.
    jobs
        Processes that make examples; their number changes nothing but rounding.

    Raises
    ------
    InputError
        If too few fields could be used, or they gave no false or no real candidates.
    """
    judged_by, groups = _divided(_origins(recipe, pairs), recipe)
    judged, learned = (_gathered(origins, recipe, jobs) for origins in (judged_by, groups[0]))
    judged = judged[judged.peak_snr >= HANDED_ON]
    _require_both(learned, "learn from")
    _require_both(judged, "judge by")
    trees = _fit(learned, recipe)
    for number, group in enumerate(groups[1:], start=1):
        learned = VetExamples.joined([learned, _mined(group, trees, recipe, jobs)])
        trees = _fit(learned, recipe)
        _LOG.info("round", number=number, examples=len(learned), real=int(learned.real.sum()))
    calibration, threshold, numbers = judged_model(trees.logits(judged.features.astype(np.float64)), judged, recipe)
    n_fields = len(np.unique(np.concatenate([learned.number, judged.number])))
    model = FeatureModel(
        trees=trees,
        calibration=calibration,
        threshold=threshold,
        fwhm_range=seen_range(learned),
        facts={"recipe": asdict(recipe), **sample_facts(learned, judged, n_fields), "judged": numbers},
    )
    return VetTraining(learned, judged, model, n_fields)


def judged_model(
    logits: FloatArray, judged: VetExamples, recipe: VetRecipe
) -> tuple[Calibration, float, dict[str, float]]:
    """Calibrate logits on the fields for judging, choose the threshold, and say how good it is there.

    Parameters
    ----------
    logits : (n,)
    judged
    recipe
    """
    calibration = fit_calibration(logits, judged.real)
    scores = calibration.probability(logits)
    faint = judged.real & (judged.snr >= _FAINT[0]) & (judged.snr < _FAINT[1])
    threshold = choose_threshold(scores[faint if faint.any() else judged.real], recall=recipe.recall)
    kept = scores >= threshold
    numbers = {
        "recall": float(kept[judged.real].mean()),
        "recall_snr_5_10": float(kept[faint].mean()) if faint.any() else float("nan"),
        "false_positive_rate": float(kept[~judged.real].mean()),
        "n_real": int(judged.real.sum()),
        "n_real_snr_5_10": int(faint.sum()),
        "n_false": int((~judged.real).sum()),
    }
    return calibration, threshold, {name: round(value, 5) for name, value in numbers.items()}


def choose_threshold(scores: FloatArray, *, recall: float) -> float:
    """Return the largest score, between 0.001 and 0.999, that keeps a share ``recall`` of real candidates.

    Parameters
    ----------
    scores : (n,)
        Of real candidates.
    recall
    """
    return float(np.clip(np.quantile(scores, 1.0 - recall, method="lower"), 0.001, 0.999))


def write_features(training: VetTraining, folder: Path) -> Path:
    """Write the model of features and return its path.

    Parameters
    ----------
    training
    folder
    """
    path = folder / FEATURE_MODEL
    path.write_text(training.model.to_text(), encoding="utf-8")
    return path


def balanced_weights(examples: VetExamples) -> NDArray[np.float64]:
    """Return (n,) weights under which real and false candidates count the same in all.

    Parameters
    ----------
    examples
    """
    weight = examples.weight.astype(np.float64)
    for side in (examples.real, ~examples.real):
        weight[side] /= weight[side].sum()
    return weight


def seen_range(examples: VetExamples) -> tuple[float, float]:
    """Return between which values the seeing of 98 % of the examples lies, to a tenth of a pixel.

    Parameters
    ----------
    examples
    """
    low, high = np.quantile(examples.fwhm, (0.01, 0.99))
    return round(float(low), 1), round(float(high), 1)


def sample_facts(learned: VetExamples, judged: VetExamples, n_fields: int) -> dict[str, Any]:
    """Return how many examples of which kind there are, as plain values.

    Parameters
    ----------
    learned, judged
    n_fields
    """
    kinds, counts = np.unique(learned.kind, return_counts=True)
    return {
        "n_fields": n_fields,
        "n_learned": len(learned),
        "n_judged": len(judged),
        "learned_kinds": {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)},
    }


def _origins(recipe: VetRecipe, pairs: Sequence[tuple[Path, Path]]) -> list[FieldOrigin]:
    simulated = [
        FieldOrigin(number, seed=recipe.seed * _SEEDS_APART + number, side=recipe.side)
        for number in range(recipe.n_fields)
    ]
    return simulated + [FieldOrigin(recipe.n_fields + k, pair=pair) for k, pair in enumerate(pairs)]


def _divided(origins: list[FieldOrigin], recipe: VetRecipe) -> tuple[list[FieldOrigin], list[list[FieldOrigin]]]:
    """Return the fields for judging, and those to learn from: half at first, the rest in rounds."""
    judging, learning = origins[::5], [replace(each, hard=True) for number, each in enumerate(origins) if number % 5]
    if len(learning) < recipe.n_rounds + 1:
        raise InputError(f"Training needs at least {recipe.n_rounds + 2} fields; got {len(origins)}.")
    first = max(1, len(learning) // 2) if recipe.n_rounds else len(learning)
    rest = learning[first:]
    return judging, [learning[:first], *(rest[k :: recipe.n_rounds] for k in range(recipe.n_rounds))]


def _gathered(origins: list[FieldOrigin], recipe: VetRecipe, jobs: int) -> VetExamples:
    return gather_examples(origins, seed=recipe.seed, n_visits=recipe.n_visits, jobs=jobs)


def _mined(origins: list[FieldOrigin], trees: BoostedTrees, recipe: VetRecipe, jobs: int) -> VetExamples:
    """Return the examples of more fields: all real ones, all false ones that are believed, a few of the rest."""
    found = _gathered(origins, recipe, jobs)
    score = expit(trees.logits(found.features.astype(np.float64)))
    easy = ~found.real & (score < _EASY)
    hard = ~found.real & (score >= _HARD)
    kept = ~easy | (np.cumsum(easy) % _KEPT_OF_EASY == 0)
    weight = np.where(easy, float(_KEPT_OF_EASY), np.where(hard, recipe.hard_weight, 1.0)).astype(np.float32)
    _LOG.info("hard negatives", hard=int(hard.sum()), of=int((~found.real).sum()))
    return replace(found, weight=weight)[kept]


def _fit(examples: VetExamples, recipe: VetRecipe) -> BoostedTrees:
    return fit_boosted_trees(
        examples.features.astype(np.float64),
        examples.real,
        weight=balanced_weights(examples),
        n_trees=recipe.n_trees,
        depth=recipe.depth,
        seed=recipe.seed,
    )


def _require_both(examples: VetExamples, what: str) -> None:
    n_real, n = int(examples.real.sum()), len(examples)
    if n_real < 2 or n - n_real < 2:
        raise InputError(f"The fields to {what} gave {n_real} real and {n - n_real} false candidates; use more fields.")

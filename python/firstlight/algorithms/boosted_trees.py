"""Small gradient-boosted trees that tell two classes apart, and the calibration of their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from firstlight.kernels.arrays import BoolArray, FloatArray

_BINS = 64
_ROWS = 256
"""Rows that all trees look at together: what they answer stays in the cache."""


@dataclass(frozen=True)
class BoostedTrees:
    """A sum of symmetric trees: all nodes of a level ask the same question, so that a leaf is a binary number.

    Parameters
    ----------
    features : (n_trees, depth)
        Column that each level asks about.
    thresholds : (n_trees, depth)
        A value above it is a 1.
    leaves : (n_trees, 2 ** depth)
        What each leaf adds to the logit; the first level is the highest binary digit.
    bias
        Logit before any tree.
    """

    features: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    leaves: NDArray[np.float64]
    bias: float

    def logits(self, table: FloatArray) -> NDArray[np.float64]:
        """Return (n,) logits of the positive class.

        Parameters
        ----------
        table : (n, n_features)
        """
        parts = [self._logits(table[start : start + _ROWS]) for start in range(0, len(table), _ROWS)]
        return np.concatenate([*parts, np.zeros(0)])

    def _logits(self, table: FloatArray) -> NDArray[np.float64]:
        """Return the logits of a few rows, all trees at once."""
        columns = np.ascontiguousarray(table.T)
        tree = np.arange(len(self.leaves))[:, None]
        leaf = np.zeros((len(self.leaves), len(table)), dtype=np.int64)
        for features, thresholds in zip(self.features.T, self.thresholds.T, strict=True):
            leaf = 2 * leaf + (columns[features] > thresholds[:, None])
        return np.asarray(self.bias + self.leaves[tree, leaf].sum(axis=0))


def fit_boosted_trees(
    table: FloatArray,
    positive: BoolArray,
    *,
    weight: FloatArray,
    n_trees: int = 300,
    depth: int = 4,
    rate: float = 0.1,
    ridge: float = 5.0,
    share: float = 0.7,
    seed: int = 0,
) -> BoostedTrees:
    """Fit trees one after the other to the gradient of the logistic loss (Friedman 2001, Ann. Stat. 29, 1189).

    Leaves are Newton steps with a ridge (Chen & Guestrin 2016, section 2); the trees are symmetric as those of CatBoost
    (Prokhorenkova et al. 2018), which makes them quick and hard to overfit.

    Parameters
    ----------
    table : (n, n_features)
        Finite.
    positive : (n,)
    weight : (n,)
        Importance of each row.
    n_trees, depth
    rate
        Share of each step that is taken.
    ridge
        Added to the curvature of a leaf, in units of rows of mean weight.
    share
        Of the rows, drawn anew for each tree.
    seed
    """
    rng = np.random.default_rng(seed)
    borders = [np.unique(np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1])) for column in table.T]
    binned = np.stack([np.searchsorted(b, column) for b, column in zip(borders, table.T, strict=True)])
    weight = np.asarray(weight, dtype=np.float64) / np.mean(weight)
    mean = float(np.clip(np.average(positive, weights=weight), 1e-6, 1.0 - 1e-6))
    total = np.full(len(table), float(logit(mean)))
    chosen, cuts, leaves = [], [], []
    for _ in range(n_trees):
        rows = np.flatnonzero(rng.random(len(table)) < share)
        chance = expit(total)
        gradient, curvature = weight * (positive - chance), weight * chance * (1.0 - chance)
        features, bins = _grown(binned, borders, gradient, curvature, rows, depth=depth, ridge=ridge)
        leaf = np.zeros(len(table), dtype=np.int64)
        for feature, level in zip(features, bins, strict=True):
            leaf = 2 * leaf + (binned[feature] > level)
        up = np.bincount(leaf[rows], gradient[rows], minlength=2**depth)
        down = np.bincount(leaf[rows], curvature[rows], minlength=2**depth)
        step = rate * up / (down + ridge)
        total += step[leaf]
        chosen.append(features)
        cuts.append([borders[feature][level] for feature, level in zip(features, bins, strict=True)])
        leaves.append(step)
    return BoostedTrees(np.array(chosen), np.array(cuts), np.array(leaves), float(logit(mean)))


def _grown(
    binned: NDArray[np.int64],
    borders: list[NDArray[np.float64]],
    gradient: FloatArray,
    curvature: FloatArray,
    rows: NDArray[np.int64],
    *,
    depth: int,
    ridge: float,
) -> tuple[list[int], list[int]]:
    """Return the feature and the bin of the best question of each level."""
    node = np.zeros(len(rows), dtype=np.int64)
    up, down = gradient[rows], curvature[rows]
    features, bins = [], []
    for level in range(depth):
        best, question = -np.inf, (0, 0)
        for feature, border in enumerate(borders):
            if not len(border):
                continue
            place = node * _BINS + binned[feature, rows]
            sums = [
                np.bincount(place, each, minlength=2**level * _BINS).reshape(-1, _BINS).cumsum(axis=1)
                for each in (up, down)
            ]
            low = sums[0] ** 2 / (sums[1] + ridge)
            high = (sums[0][:, -1:] - sums[0]) ** 2 / (sums[1][:, -1:] - sums[1] + ridge)
            gain = (low + high).sum(axis=0)[: len(border)]
            if gain.max() > best:
                best, question = float(gain.max()), (feature, int(gain.argmax()))
        features.append(question[0])
        bins.append(question[1])
        node = 2 * node + (binned[question[0], rows] > question[1])
    return features, bins


@dataclass(frozen=True)
class Calibration:
    """Turns the logit of a classifier into a probability: ``expit(scale * logit + offset)`` at equal priors.

    Parameters
    ----------
    scale, offset
    """

    scale: float = 1.0
    offset: float = 0.0

    def probability(self, logits: FloatArray, *, prior: float = 0.5) -> NDArray[np.float64]:
        """Return the probability of the positive class where its share is ``prior``.

        Parameters
        ----------
        logits : (n,)
        prior
            Between 0 and 1.
        """
        return np.asarray(expit(self.scale * logits + self.offset + logit(prior)))


def fit_calibration(logits: FloatArray, positive: BoolArray) -> Calibration:
    """Fit the calibration to examples that were not trained on, both classes counting the same (Platt 1999).

    Parameters
    ----------
    logits : (n,)
    positive : (n,)
        With both classes.
    """
    signs = np.where(positive, 1.0, -1.0)
    weight = np.where(positive, 0.5 / max(positive.sum(), 1), 0.5 / max((~positive).sum(), 1))

    def cost(values: FloatArray) -> float:
        scale, offset = np.exp(values[0]), values[1]
        # A weak pull to no change keeps perfectly separated examples finite.
        return float((weight * np.logaddexp(0.0, -signs * (scale * logits + offset))).sum() + 1e-4 * (values**2).sum())

    found = minimize(cost, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10})
    return Calibration(float(np.exp(found.x[0])), float(found.x[1]))

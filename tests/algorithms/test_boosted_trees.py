"""Trees learn what no single question tells, and calibrated scores are probabilities."""

import numpy as np
import pytest
from scipy.special import expit, logit

from firstlight.algorithms.boosted_trees import BoostedTrees, Calibration, fit_boosted_trees, fit_calibration


def fitted(table, positive, **settings):
    return fit_boosted_trees(table, positive, weight=np.ones(len(table)), **settings)


def test_trees_learn_what_takes_two_questions():
    rng = np.random.default_rng(2)
    table = rng.uniform(-1, 1, (3000, 3))
    positive = table[:, 0] * table[:, 1] > 0

    trees = fitted(table[:2000], positive[:2000], n_trees=120, depth=3)

    # 64 bins place each border to a sixty-fourth: about 3 % of the squares lie within it.
    assert np.mean((trees.logits(table[2000:]) > 0) == positive[2000:]) > 0.95


def test_trees_do_not_find_what_is_not_there():
    rng = np.random.default_rng(3)
    table, positive = rng.normal(size=(3000, 4)), rng.random(3000) < 0.5

    trees = fitted(table[:2000], positive[:2000], n_trees=50, depth=3)

    right = np.mean((trees.logits(table[2000:]) > 0) == positive[2000:])
    assert right == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(1000))


def test_the_same_seed_gives_the_same_trees():
    rng = np.random.default_rng(5)
    table = rng.normal(size=(500, 3))
    one, two = (fitted(table, table[:, 0] > 0, n_trees=10, seed=7) for _ in range(2))

    np.testing.assert_array_equal(one.leaves, two.leaves)
    np.testing.assert_array_equal(one.thresholds, two.thresholds)


def test_each_tree_adds_the_leaf_that_its_answers_number():
    rng = np.random.default_rng(8)
    trees = BoostedTrees(rng.integers(0, 4, (7, 3)), rng.normal(size=(7, 3)), rng.normal(size=(7, 8)), bias=0.5)
    table = rng.normal(size=(600, 4))

    expected = [
        0.5
        + sum(
            leaves[
                sum(int(row[f] > cut) << 2 - level for level, (f, cut) in enumerate(zip(features, cuts, strict=True)))
            ]
            for features, cuts, leaves in zip(trees.features, trees.thresholds, trees.leaves, strict=True)
        )
        for row in table
    ]
    np.testing.assert_allclose(trees.logits(table), expected, rtol=1e-12, atol=1e-12)
    assert trees.logits(table[:0]).shape == (0,)


def test_a_column_that_is_constant_does_no_harm():
    table = np.column_stack([np.zeros(200), np.linspace(-1, 1, 200)])

    trees = fitted(table, table[:, 1] > 0, n_trees=20, depth=2)

    assert np.mean((trees.logits(table) > 0) == (table[:, 1] > 0)) > 0.97


def test_calibration_finds_the_scale_that_was_taken_away():
    rng = np.random.default_rng(6)
    true = rng.normal(0, 2.0, 20_000)
    positive = rng.random(len(true)) < expit(true)

    found = fit_calibration(true / 3.0 + 0.5, positive)

    # Classes are equally many, so that the offset is that of the shift alone.
    assert found.scale == pytest.approx(3.0, abs=0.15)
    assert found.offset == pytest.approx(-1.5, abs=0.15)


def test_another_prior_is_bayes_rule():
    logits = np.array([-1.0, 0.0, 2.0])
    even = Calibration().probability(logits)

    rare = Calibration().probability(logits, prior=0.06)

    np.testing.assert_allclose(rare, even * 0.06 / (even * 0.06 + (1 - even) * 0.94))
    assert logit(rare[1]) == pytest.approx(logit(0.06))

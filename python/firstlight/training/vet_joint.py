"""Join the two models of a `VetTask`: what each says of examples, and the calibration and threshold of their mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firstlight.tasks.vet_features import FeatureVetConfig, FeatureVetTask
from firstlight.tasks.vet_joint import JointVetTask, mean_logit
from firstlight.tasks.vet_models import FEATURE_MODEL, JOINT_MODEL, NETWORK_MODEL, JointModel, checksum
from firstlight.tasks.vet_network import NetworkVetConfig, NetworkVetTask
from firstlight.training.vet import VetRecipe, judged_model
from firstlight.training.vet_examples import VetExamples


def join_models(folder: Path, judged: VetExamples, recipe: VetRecipe) -> JointModel:
    """Calibrate the mean of the two models in a folder, and choose its threshold.

    Parameters
    ----------
    folder
        With the files of both.
    judged
        Examples that neither has learned from, as the detection hands them on.
    recipe

    Raises
    ------
    ConfigError
        If one of the two is missing, or onnxruntime is not installed.
    """
    tasks = (
        FeatureVetTask(FeatureVetConfig(model=str(folder / FEATURE_MODEL))),
        NetworkVetTask(NetworkVetConfig(model=str(folder / NETWORK_MODEL))),
    )
    logits = mean_logit(*(scores_of_examples(task, judged) for task in tasks))
    calibration, threshold, numbers = judged_model(logits, judged, recipe)
    ranges = [task.fwhm_range for task in tasks]
    return JointModel(
        sha256={name: checksum((folder / name).read_bytes()) for name in (FEATURE_MODEL, NETWORK_MODEL)},
        calibration=calibration,
        threshold=threshold,
        fwhm_range=(max(low for low, _ in ranges), min(high for _, high in ranges)),
        facts={"n_judged": len(judged), "judged": numbers},
    )


def write_joint(model: JointModel, folder: Path) -> Path:
    """Write the model beside the two and return its path.

    Parameters
    ----------
    model
    folder
    """
    path = folder / JOINT_MODEL
    path.write_text(model.to_text(), encoding="utf-8")
    return path


def scores_of_examples(
    task: FeatureVetTask | NetworkVetTask | JointVetTask, examples: VetExamples
) -> NDArray[np.float64]:
    """Return (n,) the probability at equal shares that a task gives to each example.

    Parameters
    ----------
    task
    examples
    """
    if isinstance(task, JointVetTask):
        logits = mean_logit(*(scores_of_examples(each, examples) for each in (task.features, task.network)))
    elif isinstance(task, FeatureVetTask):
        logits = task.model.trees.logits(examples.features.astype(np.float64))
    else:
        logits = task.logits(examples.channels[:, :, 1:-1, 1:-1].astype(np.float32))
    return task.model.calibration.probability(logits)

"""Models of a `VetTask`, as they lie in the package or in a file of the user's own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from firstlight.algorithms.boosted_trees import BoostedTrees, Calibration
from firstlight.algorithms.candidate_features import FEATURES
from firstlight.errors import ConfigError

FEATURE_KIND = "firstlight vet features 1"
NETWORK_KIND = "firstlight vet network 1"
JOINT_KIND = "firstlight vet joint 1"
FEATURE_MODEL = "vet_features.json"
NETWORK_MODEL = "vet_network.json"
JOINT_MODEL = "vet_joint.json"


@dataclass(frozen=True, kw_only=True)
class VetModel:
    """What every model says of its scores.

    Parameters
    ----------
    calibration
        From its logit to a probability.
    threshold
        Probability at equal shares from which a candidate counts as real.
    fwhm_range : [pixel]
        Seeing of the images it was made from.
    facts
        How it was made.
    """

    calibration: Calibration
    threshold: float
    fwhm_range: tuple[float, float]
    facts: dict[str, Any]

    def _as_values(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "fwhm_range": list(self.fwhm_range),
            "calibration": [self.calibration.scale, self.calibration.offset],
            "facts": self.facts,
        }


class JudgesByModel:
    """What a `VetTask` with a model says of its scores."""

    model: VetModel
    """By which it judges."""

    @property
    def model_threshold(self) -> float:
        """Probability at equal shares from which the model calls a candidate real."""
        return self.model.threshold

    @property
    def fwhm_range(self) -> tuple[float, float]:
        """Full widths at half maximum that the model was made for [pixel]."""
        return self.model.fwhm_range


@dataclass(frozen=True, kw_only=True)
class FeatureModel(VetModel):
    """Trees over the features of candidates.

    Parameters
    ----------
    trees
    """

    trees: BoostedTrees

    def to_text(self) -> str:
        """Return the text of a model file, with seven digits of every number."""
        values = {
            "kind": FEATURE_KIND,
            "features": list(FEATURES),
            **self._as_values(),
            "bias": self.trees.bias,
            "trees": [
                [features.tolist(), _rounded(thresholds), _rounded(leaves)]
                for features, thresholds, leaves in zip(
                    self.trees.features, self.trees.thresholds, self.trees.leaves, strict=True
                )
            ],
        }
        return json.dumps(values, separators=(",", ":")) + "\n"


@dataclass(frozen=True, kw_only=True)
class NetworkModel(VetModel):
    """A network over stamps of candidates, in ONNX.

    Parameters
    ----------
    network
        Bytes of the ONNX file: ``stamps`` (n, 8, s, s) to ``logit`` (n,).
    half : [pixel]
        Half size of the stamps.
    """

    network: bytes
    half: int

    def to_text(self, name: str) -> str:
        """Return the text of the file beside the network ``name``."""
        values = {
            "kind": NETWORK_KIND,
            "network": name,
            "sha256": checksum(self.network),
            "half": self.half,
            **self._as_values(),
        }
        return json.dumps(values, indent=1) + "\n"


@dataclass(frozen=True, kw_only=True)
class JointModel(VetModel):
    """The mean of the logits of a `FeatureModel` and a `NetworkModel` that lie beside it.

    Parameters
    ----------
    sha256
        File name -> checksum of each of the two.
    """

    sha256: dict[str, str]

    def to_text(self) -> str:
        """Return the text of a model file."""
        values = {
            "kind": JOINT_KIND,
            "sha256": self.sha256,
            **self._as_values(),
        }
        return json.dumps(values, indent=1) + "\n"


def read_feature_model(path: str | None = None) -> FeatureModel:
    """Read a model of features.

    Parameters
    ----------
    path
        None: the one of the package.

    Raises
    ------
    ConfigError
        If there is none, or it was made for other features.
    """
    file = _file(path, FEATURE_MODEL)
    values = _values(file, FEATURE_KIND)
    if tuple(values["features"]) != FEATURES:
        raise ConfigError(f"{file}: made for other features than this version measures; train it again.")
    columns = [np.array([tree[part] for tree in values["trees"]]) for part in range(3)]
    return FeatureModel(
        trees=BoostedTrees(columns[0].astype(np.int64), columns[1], columns[2], float(values["bias"])),
        **_of_scores(values),
    )


def read_network_model(path: str | None = None) -> NetworkModel:
    """Read a network and the file beside it that says how to use it.

    Parameters
    ----------
    path
        The JSON file; None: the one of the package.

    Raises
    ------
    ConfigError
        If one of the two is not there, or the network is not the one that was written.
    """
    file = _file(path, NETWORK_MODEL)
    values = _values(file, NETWORK_KIND)
    return NetworkModel(
        network=_beside(file, path, values["network"], values["sha256"]),
        half=int(values["half"]),
        **_of_scores(values),
    )


def read_joint_model(path: str | None = None) -> JointModel:
    """Read how trees and a network are joined.

    Parameters
    ----------
    path
        None: the one of the package.

    Raises
    ------
    ConfigError
        If it is not there, or the models beside it are not those that it was made with.
    """
    file = _file(path, JOINT_MODEL)
    values = _values(file, JOINT_KIND)
    for name, expected in values["sha256"].items():
        _beside(file, path, name, expected)
    return JointModel(
        sha256=dict(values["sha256"]),
        **_of_scores(values),
    )


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file by which a model knows those that belong to it."""
    return hashlib.sha256(content).hexdigest()


def _folder(path: str | None) -> Traversable:
    return resources.files("firstlight") / "models" if path is None else Path(path).parent


def _file(path: str | None, name: str) -> Traversable:
    return _folder(path).joinpath(name if path is None else Path(path).name)


def _bytes(file: Traversable) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}.") from error


def _beside(file: Traversable, path: str | None, name: str, expected: str) -> bytes:
    """Return what is in a file beside that of a model; it must be the one that the model was made with."""
    beside = _folder(path).joinpath(name)
    content = _bytes(beside)
    if checksum(content) != expected:
        raise ConfigError(f"{beside}: not the one that {file} was made with; its checksum differs.")
    return content


def _values(file: Traversable, kind: str) -> dict[str, Any]:
    try:
        values = json.loads(_bytes(file))
    except ValueError as error:
        raise ConfigError(f"{file}: no model, it is not JSON.") from error
    found = values.get("kind") if isinstance(values, dict) else None
    if found != kind:
        raise ConfigError(f"{file}: a model of kind {kind!r} is needed; this is {found!r}.")
    return dict(values)


def _of_scores(values: dict[str, Any]) -> dict[str, Any]:
    """Return what a file says of the scores of its model, as arguments of a `VetModel`."""
    narrowest, widest = (float(each) for each in values["fwhm_range"])
    return {
        "calibration": Calibration(*values["calibration"]),
        "threshold": float(values["threshold"]),
        "fwhm_range": (narrowest, widest),
        "facts": dict(values["facts"]),
    }


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.7g}") for value in values]

"""Fit the network of a `NetworkVetTask` to labelled stamps, and write it as ONNX; needs torch."""

from __future__ import annotations

import io
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firstlight.algorithms.network_channels import CHANNELS
from firstlight.errors import ConfigError
from firstlight.tasks.vet_models import NETWORK_MODEL, NetworkModel
from firstlight.training.vet import (
    VetRecipe,
    VetTraining,
    balanced_weights,
    judged_model,
    sample_facts,
    seen_range,
)
from firstlight.training.vet_examples import NETWORK_HALF, VetExamples

try:
    import onnx
    import torch
except ImportError:
    onnx = torch = None

NETWORK_FILE = "vet_network.onnx"
WIDTHS = (16, 16, 32, 32, 64)
DENSE = 64
OPSET = 17
_BATCH = 128
_RATE = 2e-3
_DECAY = 1e-2
_AVERAGED_FROM = 0.6
_CHUNK = 1024


def require_torch(device: str = "cpu") -> None:
    """Say what is missing before anything long is begun.

    Raises
    ------
    ConfigError
        If torch or onnx is not installed, or torch cannot work on the device.
    """
    if torch is None:
        raise ConfigError("A network is trained with torch and onnx; 'pip install firstlight[train]' brings them.")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"torch cannot work on the device {device!r}: {reason}") from error


def train_network(training: VetTraining, recipe: VetRecipe, *, device: str = "cpu") -> NetworkModel:
    """Fit the network: AdamW along a cosine, turned, mirrored and shifted stamps, the mean of the last weights.

    The weights of the last two fifths of the steps are averaged (Izmailov et al. 2018, arXiv:1803.05407).
    On the processor the same recipe gives the same weights; an accelerator adds up in another order.

    Parameters
    ----------
    training
        With the examples to learn from and to judge by.
    recipe
    device
        Where torch works: ``cpu``, ``cuda``, ...

    Raises
    ------
    ConfigError
        If torch or onnx is not installed, or torch cannot work there.
    """
    require_torch(device)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    examples = training.learned
    network = _network().to(device)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    steps = recipe.epochs * max(1, len(examples) // _BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.1 * _RATE)
    share = np.cumsum(balanced_weights(examples))
    rng = np.random.default_rng([recipe.seed, 29])
    for step in range(steps):
        rows = np.searchsorted(share, share[-1] * rng.random(min(_BATCH, len(examples))), side="right")
        logits = network(torch.from_numpy(augmented(examples.channels[rows], rng)).to(device))
        target = torch.from_numpy(examples.real[rows].astype(np.float32)).to(device)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step >= _AVERAGED_FROM * steps:
            averaged.update_parameters(network)
    # Statistics of the normalising layers belong to the averaged weights.
    batches = [torch.from_numpy(augmented(examples.channels[k : k + _CHUNK], rng)) for k in range(0, 8192, _CHUNK)]
    torch.optim.swa_utils.update_bn([batch for batch in batches if len(batch)], averaged, device=device)
    return _model(averaged.module.eval().cpu(), training, recipe)


def augmented(channels: NDArray[np.float16], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return stamps of the size of the network, each shifted by up to a pixel, turned and mirrored by chance.

    Parameters
    ----------
    channels : (n, c, s + 2, s + 2)
    rng
    """
    size = channels.shape[2] - 2
    shown = np.empty((*channels.shape[:2], size, size), dtype=np.float32)
    shifts = np.clip(np.rint(rng.normal(0.0, 0.5, (len(channels), 2))), -1, 1).astype(int) + 1
    turns, mirrored = rng.integers(0, 4, len(channels)), rng.random(len(channels)) < 0.5
    for row, ((down, right), turn, mirror) in enumerate(zip(shifts, turns, mirrored, strict=True)):
        cut = np.rot90(channels[row, :, down : down + size, right : right + size], turn, axes=(1, 2))
        shown[row] = cut[:, :, ::-1] if mirror else cut
    return shown


def write_network(model: NetworkModel, folder: Path) -> Path:
    """Write the network and the file that says how to use it; return the path of the latter.

    Parameters
    ----------
    model
    folder
    """
    (folder / NETWORK_FILE).write_bytes(model.network)
    path = folder / NETWORK_MODEL
    path.write_text(model.to_text(NETWORK_FILE), encoding="utf-8")
    return path


def _network() -> Any:
    """Return convolutions of 3 x 3 in three sizes, a dense layer, and one logit."""
    nn = torch.nn
    layers: list[Any] = []
    before = len(CHANNELS)
    for level, width in enumerate(WIDTHS):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        if level in (1, 3, 4):
            layers.append(nn.MaxPool2d(2))
        before = width
    side = (2 * NETWORK_HALF + 1) // 8
    layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(before * side**2, DENSE), nn.ReLU(), nn.Linear(DENSE, 1)]
    return nn.Sequential(*layers, nn.Flatten(0))


def _model(network: Any, training: VetTraining, recipe: VetRecipe) -> NetworkModel:
    calibration, threshold, numbers = judged_model(_logits(network, training.judged), training.judged, recipe)
    parameters = sum(each.numel() for each in network.parameters())
    return NetworkModel(
        network=_exported(network),
        half=NETWORK_HALF,
        calibration=calibration,
        threshold=threshold,
        fwhm_range=seen_range(training.learned),
        facts={
            "recipe": asdict(recipe),
            "n_parameters": parameters,
            **sample_facts(training.learned, training.judged, training.n_fields),
            "judged": numbers,
        },
    )


def _logits(network: Any, examples: VetExamples) -> NDArray[np.float64]:
    inner = examples.channels[:, :, 1:-1, 1:-1]
    with torch.no_grad():
        parts = [
            network(torch.from_numpy(inner[k : k + _CHUNK].astype(np.float32))).numpy()
            for k in range(0, len(inner), _CHUNK)
        ]
    return np.concatenate(parts).astype(np.float64)


def _exported(network: Any) -> bytes:
    size = 2 * NETWORK_HALF + 1
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs one more package and is not needed for a graph as plain as this one.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(2, len(CHANNELS), size, size),),
            buffer,
            input_names=["stamps"],
            output_names=["logit"],
            dynamic_axes={"stamps": {0: "n"}, "logit": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    # Read and written once more without the places of the code that the exporter notes down.
    model = onnx.load_model_from_string(buffer.getvalue())
    for node in model.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())

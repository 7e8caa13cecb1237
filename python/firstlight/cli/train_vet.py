"""``firstlight train vet``: make a model that tells real changes from artefacts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "-o", "--output", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to fill."
)
@click.option(
    "--model",
    "kind",
    type=click.Choice(["both", "features", "network"]),
    default="both",
    show_default=True,
    help="What to fit; a network needs 'firstlight[train]'.",
)
@click.option("--fields", "n_fields", type=click.IntRange(min=0), help="Simulated fields.  [default: 300]")
@click.option("--epochs", type=click.IntRange(min=1), help="How often the network sees each example.  [default: 15]")
@click.option("--trees", "n_trees", type=click.IntRange(min=1), help="Trees over the features.  [default: 400]")
@click.option(
    "--pair",
    "pairs",
    type=(Path, Path),
    multiple=True,
    metavar="SCIENCE TEMPLATE",
    help="Exposures of your own from 'firstlight process'; repeatable.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed, other examples.")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that make examples."
)
@click.option("--device", default="cpu", show_default=True, help="Where torch fits the network: cpu, cuda, mps.")
@click.option("--smoke", is_flag=True, help="A few small fields: proves that it runs, makes no useful model.")
@log_options
def vet(
    folder: Path,
    kind: str,
    pairs: tuple[tuple[Path, Path], ...],
    seed: int,
    jobs: int,
    device: str,
    smoke: bool,
    **changes: int | None,
) -> None:
    """Inject sources, align, subtract, detect, and learn to tell what was injected from everything else that is found.

    Fields are simulated with many cosmic rays, defects, trails and imperfect registrations; your own pairs join them.
    Every fifth field is kept back to calibrate the scores and to choose the threshold.

    \b
    OUTPUT gets:
        vet_features.json    for FeatureVetTask, setting 'model'
        vet_network.onnx     the network, and
        vet_network.json     for NetworkVetTask, setting 'model'
        vet_joint.json       for JointVetTask, setting 'model', if both were fitted
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    # Heavy modules load here, so that --help stays quick.
    from firstlight.errors import OutputError
    from firstlight.training.vet import VetRecipe, train_features, write_features
    from firstlight.training.vet_joint import join_models, write_joint
    from firstlight.training.vet_network import require_torch, train_network, write_network

    if kind != "features":
        require_torch(device)
    start = VetRecipe.smoke(seed) if smoke else VetRecipe(seed=seed)
    recipe = replace(start, **{name: value for name, value in changes.items() if value is not None})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write into {folder}: {error.strerror}.") from error
    training = train_features(recipe, pairs, jobs=jobs)
    written = []
    if kind != "network":
        written.append((write_features(training, folder), training.model.facts["judged"]))
    if kind != "features":
        model = train_network(training, recipe, device=device)
        written.append((write_network(model, folder), model.facts["judged"]))
    if kind == "both":
        joint = join_models(folder, training.judged, recipe)
        written.append((write_joint(joint, folder), joint.facts["judged"]))
    for path, judged in written:
        click.echo(
            f"wrote {path}: recall {judged['recall']:.4f} ({judged['recall_snr_5_10']:.4f} at S/N 5 to 10),"
            f" false positives {judged['false_positive_rate']:.4f} on {judged['n_real']} + {judged['n_false']}"
        )

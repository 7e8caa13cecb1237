"""``firstlight demo``: simulate a field, process it, and compare with the truth."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "-o",
    "--output",
    default=Path("demo"),
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the field and the results.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed, another field.")
@log_options
def demo(output: Path, seed: int) -> int:
    """Simulate a field, process it, and compare with the truth.

    A 1024 x 1024 image of about 2,000 stars with cosmic rays, distortion and a seeing that changes over the field
    goes through the same steps as 'firstlight process'. The table at the end says how far the results are from what
    the simulation knows; the exit code is 1 if one of them misses its limit.

    \b
    DIR gets:
      field/           image, reference catalogue and truth
      epoch_0*         results of the processing
      epoch_0.html     the page to look at first
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    # Everything heavy loads here, so that --help stays quick.
    from firstlight.cli.run_demo import run_demo

    return run_demo(output, seed=seed)

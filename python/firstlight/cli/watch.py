"""``firstlight watch``: images as they arrive, from a folder to results."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SettingsOptions, settings_options
from firstlight.execution.startup import loading


@click.command(context_settings={"max_content_width": 110})
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-b", "--repo", "root", required=True, type=click.Path(path_type=Path), metavar="REPO", help="Repository."
)
@click.option("-p", "--pipeline", required=True, metavar="FILE", help="Pipeline; after '#' the part to run.")
@click.option("-o", "--output", required=True, metavar="NAME", help="Collection for the results.")
@click.option(
    "-i", "--input", "inputs", multiple=True, metavar="NAME", help="Where else inputs are, as a template; repeatable."
)
@click.option("-d", "--data-query", "where", default="", metavar="QUERY", help="Which data.")
@click.option("-j", "--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Processes.")
@click.option(
    "--mode",
    type=click.Choice(["copy", "link", "direct"]),
    default="copy",
    show_default=True,
    help="Copy the files into the repository, link them, or leave them where they are.",
)
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds between looks.")
@click.option(
    "--settle", default=2.0, show_default=True, type=click.FloatRange(min=0), help="Seconds a file must be at rest."
)
@click.option("--once", is_flag=True, help="Do what is there, and end.")
@settings_options
@log_options
def watch(
    folder: Path,
    root: Path,
    pipeline: str,
    output: str,
    inputs: tuple[str, ...],
    where: str,
    jobs: int,
    mode: str,
    every: float,
    settle: float,
    given: SettingsOptions,
    *,
    once: bool,
) -> int:
    """Process the images of a night as they arrive in a folder.

    A file is taken when it is whole and at rest, in whatever order files come; masks that lie beside their image then
    go in with it. One that is damaged is set aside with its reason, and taken when it is replaced. Each image is told
    with its seeing, zero point, depth, and the time from its arrival to its results. Ctrl-C finishes the exposure in
    work, of -j N up to 2 N, and ends the night, a second one stops at once. Stopped or killed, the same command goes on
    where it was.

    \b
      firstlight watch incoming/ -b repo -p single_frame.yaml -o 2026-01-03
      firstlight watch incoming/ -b repo -p single_frame.yaml -o 2026-01-03 --once
      firstlight watch incoming/ -b repo -p night.yaml -i templates -d "day_obs >= 20260103" -o survey
      firstlight report -b repo 2026-01-03

    With 'night.yaml' the candidates of each image become objects and alerts. After each image REPO/NAME/pages shows the
    night and its candidates; REPO/NAME/night.json tells what became of each file.

    Exit code: 0 all is well, 1 an image failed or was set aside, 3 nothing to run on (--once), 130 stopped at once.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    with loading():
        from firstlight.cli.watch_folder import WatchJob, watch_folder

    return watch_folder(
        WatchJob(
            folder=folder.absolute(),
            root=root,
            pipeline=pipeline,
            output=output,
            inputs=inputs,
            where=where,
            jobs=jobs,
            mode=mode,
            every_s=every,
            settle_s=settle,
            once=once,
            given=given,
        )
    )

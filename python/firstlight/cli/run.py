"""``firstlight run``: a pipeline over a repository."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SettingsOptions, settings_options
from firstlight.execution.startup import loading


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "-b", "--repo", "root", required=True, type=click.Path(path_type=Path), metavar="REPO", help="Repository."
)
@click.option("-p", "--pipeline", metavar="FILE", help="Pipeline; after '#' the part to run.")
@click.option("-o", "--output", required=True, metavar="NAME", help="Collection for the results.")
@click.option("-i", "--input", "inputs", multiple=True, metavar="NAME", help="Where inputs are; repeatable.")
@click.option("-d", "--data-query", "where", default="", metavar="QUERY", help='Which data: "visit in (1..5)".')
@click.option("-j", "--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Processes.")
@click.option("--site", type=click.Path(path_type=Path), metavar="FILE", help="Site file: run on a cluster.")
@click.option("--resume", "mode", flag_value="resume", default=True, help="Do what is not done yet.  [default]")
@click.option("--new", "mode", flag_value="new", help="Do everything again, in another run in front.")
@click.option("--redo", multiple=True, metavar="LABEL", help="Do this and what hangs on it again; repeatable.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and why the rest would not.")
@click.option("--save-plan", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan into a file.")
@click.option("--load-plan", type=click.Path(path_type=Path), metavar="FILE", help="Run a saved plan, without -p.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Longest time of one piece.")
@click.option("--memory", type=click.FloatRange(min=0, min_open=True), metavar="MB", help="Most memory of a process.")
@click.option("--retries", default=2, show_default=True, type=click.IntRange(min=0), help="New tries for lost work.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--pdb", "debug", is_flag=True, help="Open a debugger where a bug is met; one process.")
@click.option("--profile", type=click.Path(path_type=Path), metavar="FILE", help="Write a profile; one process.")
@settings_options
@log_options
def run(
    root: Path,
    pipeline: str | None,
    output: str,
    inputs: tuple[str, ...],
    where: str,
    jobs: int,
    site: Path | None,
    mode: str,
    redo: tuple[str, ...],
    dry_run: bool,
    save_plan: Path | None,
    load_plan: Path | None,
    timeout: float | None,
    memory: float | None,
    retries: int,
    fail_fast: bool,
    debug: bool,
    profile: Path | None,
    given: SettingsOptions,
) -> int:
    """Run a pipeline over the data of a repository.

    Work that was done with the same settings on the same inputs is not done again: the same command goes on after
    Ctrl-C or a crash, and does nothing when everything is done. A failure of one image stops what hangs on it, and
    nothing else. Nothing is ever overwritten: NAME is a chain of runs NAME/1, NAME/2, ..., the newest in front.

    \b
      firstlight run -b repo -p single_frame.yaml -o night -j 2
      firstlight run -b repo -p single_frame.yaml -o night --dry-run -d "band = 'r' and visit in (1..50)"
      firstlight run -b repo -p single_frame.yaml -o night --redo calibrate -c calibrate:psf.order=2
      firstlight report -b repo night

    A plan that was saved names its own inputs and settings; it is refused when an input has gone or changed since.

    \b
      firstlight run -b repo -p single_frame.yaml -o night --dry-run --save-plan night.plan
      firstlight run -b repo -o night --load-plan night.plan

    Exit code: 0 done, 1 something failed on its data, 2 a mistake, 3 nothing to run on.
    """  # noqa: D301 - click needs the real backspace character
    if (debug or profile) and jobs > 1:
        raise click.UsageError("--pdb and --profile need one process; leave -j out.")
    if redo and mode == "new":
        raise click.UsageError("--new does everything again; leave --redo out.")
    if (pipeline is None) == (load_plan is None):
        raise click.UsageError("Name a pipeline with -p, or a saved plan with --load-plan.")
    if load_plan is not None and (inputs or where or given.is_given):
        raise click.UsageError("A saved plan has its own inputs, condition and settings; leave -i, -d, -c and -C out.")
    configure_logging()
    with loading():
        from firstlight.cli.run_pipeline import RunJob, run_job

    return run_job(
        RunJob(
            root=root,
            pipeline=pipeline,
            output=output,
            inputs=inputs,
            where=where,
            jobs=jobs,
            site=site,
            mode="redo" if redo else mode,
            redo=redo,
            dry_run=dry_run,
            save_plan=save_plan,
            load_plan=load_plan,
            timeout_s=timeout,
            memory_bytes=None if memory is None else int(memory * 1e6),
            retries=retries,
            fail_fast=fail_fast,
            debug=debug,
            profile=profile,
            given=given,
        )
    )

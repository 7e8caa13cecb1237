"""The command ``firstlight``: finds the subcommand, and turns whatever happens into words and an exit code.

Only click is imported here: a command's module is loaded when the command is called, and loads what is heavy when it
does its work.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import click

from firstlight import __version__
from firstlight.cli.exit_codes import DONE, INTERRUPTED, USER_MISTAKE, exit_code_of
from firstlight.cli.lazy_group import LazyCommand, LazyGroup
from firstlight.cli.logs import LogSettings, log_options
from firstlight.cli.messages import complain, report_bug
from firstlight.errors import FirstlightError

COMMANDS: Mapping[str, LazyCommand] = {
    "process": LazyCommand("firstlight.cli.process", "Calibrate images: from pixels to a star catalogue."),
    "difference": LazyCommand("firstlight.cli.difference", "Subtract one image from another, list what changed."),
    "align": LazyCommand("firstlight.cli.align", "Bring images onto the pixels of another."),
    "simulate": LazyCommand("firstlight.cli.simulate", "Make telescope images of a sky that is known exactly."),
    "demo": LazyCommand("firstlight.cli.demo", "Simulate a field, process it, compare with the truth."),
    "repo": LazyCommand("firstlight.cli.repo", "Make a repository and look after it."),
    "ingest": LazyCommand("firstlight.cli.ingest", "Bring images of a telescope into a repository."),
    "refcat": LazyCommand("firstlight.cli.refcat", "Keep reference catalogues, and make them known."),
    "skymap": LazyCommand("firstlight.cli.skymap", "Divide the sky into tracts."),
    "run": LazyCommand("firstlight.cli.run", "Run a pipeline over the data of a repository."),
    "watch": LazyCommand("firstlight.cli.watch", "Process the images of a night as they arrive."),
    "train": LazyCommand("firstlight.cli.train", "Make the models that judge what was found."),
    "report": LazyCommand("firstlight.cli.report_command", "Say what became of a run, and why."),
    "associate": LazyCommand("firstlight.cli.associate", "Tell which candidates are one object."),
    "lightcurve": LazyCommand("firstlight.cli.lightcurve", "Show how bright an object was at each time."),
    "objects": LazyCommand("firstlight.cli.objects", "Bring objects into another repository."),
    "alerts": LazyCommand("firstlight.cli.alerts", "Write alerts of a night, and look at them."),
    "pages": LazyCommand("firstlight.cli.pages", "Write the pages of a night: exposures, candidates, objects."),
    "qa": LazyCommand("firstlight.cli.qa", "Draw the pages of processed images again."),
    "query": LazyCommand("firstlight.cli.query", "List datasets, exposures, visits, collections."),
    "collections": LazyCommand("firstlight.cli.collections", "Chain collections, remove them, delete datasets."),
    "certify": LazyCommand("firstlight.cli.certify", "Say from when until when calibrations hold."),
    "decertify": LazyCommand("firstlight.cli.decertify", "Take back that calibrations hold."),
    "export": LazyCommand("firstlight.cli.export", "Copy part of a repository into a folder."),
    "import": LazyCommand("firstlight.cli.import_command", "Take in what was exported.", "import_"),
    "provenance": LazyCommand("firstlight.cli.provenance", "Tell how a file of a repository came to be."),
    "config": LazyCommand("firstlight.cli.config", "Look at settings: values, history, differences, schemas."),
    "pipeline": LazyCommand("firstlight.cli.pipeline", "Look at pipelines: tasks, datasets, checks, graphs."),
    "tasks": LazyCommand("firstlight.cli.tasks", "Look at tasks: what there is, and what fits into which slot."),
}
"""Name -> module; the module has a click command of the same name."""


@click.group(
    cls=LazyGroup,
    commands_there=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="firstlight", message="%(prog)s %(version)s")
@log_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Optical images, from pixels to calibrated catalogues.

    \b
    Start here:
      firstlight process image.fits -o results/
      firstlight process image.fits -o results/ --refcat gaia.parquet
      firstlight demo -o demo/

    'firstlight COMMAND --help' explains one command.
    """  # noqa: D301 - click needs the real backspace character
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    code = run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; what went wrong is one line on stderr."""
    logs = LogSettings()
    try:
        code = cli.main(args=arguments, prog_name="firstlight", standalone_mode=False, obj=logs)
    except click.ClickException as error:
        return complain(_usage_line(error), USER_MISTAKE)
    except (click.Abort, KeyboardInterrupt):
        return complain("interrupted.", INTERRUPTED)
    except FirstlightError as error:
        return complain(str(error), exit_code_of(error))
    except OSError as error:
        return _environment_failed(error)
    except Exception as error:  # noqa: BLE001 - the outermost place: a bug becomes one line, and with -v a traceback
        return report_bug(error, verbose=logs.verbosity > 0)
    return code if isinstance(code, int) else DONE


def _usage_line(error: click.ClickException) -> str:
    """Return a mistake on the command line as one line, with the way to the help."""
    message = " ".join(error.format_message().split())
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} See '{ctx.command_path} --help'." if ctx is not None else message


def _environment_failed(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        _silence_stdout()
        return DONE
    place = f": {error.filename}" if error.filename else ""
    return complain(f"{error.strerror or error}{place}.", USER_MISTAKE)


def _silence_stdout() -> None:
    """Send what is still buffered for a closed pipe to nowhere, so that nothing complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

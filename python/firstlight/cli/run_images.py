"""Process images one after the other, and say how each went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from firstlight.cli.exit_codes import DONE
from firstlight.cli.image_job import ImageFiles, ImageJob, ImageOutcome
from firstlight.cli.logs import current_settings
from firstlight.cli.messages import complain, report_bug
from firstlight.cli.process_image import ImageProcessor
from firstlight.cli.progress import pass_lines
from firstlight.cli.report import print_report, report_console
from firstlight.errors import FirstlightError, InputError
from firstlight.execution.startup import keep_freed_memory


def run_images(images: Sequence[ImageFiles], *, job: ImageJob) -> int:
    """Process the images, print progress on stderr and a summary on stdout, and return the exit code.

    An image that fails does not stop the others; the largest exit code counts.

    Raises
    ------
    UserError
        For what concerns all images alike: a setting, a reference table, a folder that cannot be written.
    """
    _require_own_names(images)
    keep_freed_memory()
    processor = ImageProcessor(job)
    console = Console(stderr=True)
    outcomes = []
    for files in images:
        console.print(f"[bold]{escape(files.path.name)}[/]", highlight=False, soft_wrap=True)
        with pass_lines(console):
            outcome = _process(processor, files)
        if outcome.error is not None:
            where = f"{files.path.name}: {outcome.step} failed: " if outcome.status == "failed" else ""
            complain(f"{where}{outcome.error}", outcome.exit_code)
        outcomes.append(outcome)
    print_report(report_console(), outcomes)
    return max((outcome.exit_code for outcome in outcomes), default=DONE)


def _process(processor: ImageProcessor, files: ImageFiles) -> ImageOutcome:
    try:
        return processor.process(files)
    except (FirstlightError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - here a bug that one image meets becomes its outcome; the others go on
        return ImageOutcome(files, "failed", exit_code=report_bug(error, verbose=current_settings().verbosity > 0))


def _require_own_names(images: Sequence[ImageFiles]) -> None:
    stems = Counter(files.stem for files in images)
    shared = [stem for stem, count in stems.items() if count > 1]
    if shared:
        raise InputError(
            f"{stems[shared[0]]} images are called {shared[0]!r}, and their results would overwrite each other; "
            "process them into different folders."
        )

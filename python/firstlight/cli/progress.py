"""What is shown while a command works: a line for every pass, a bar for many files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status

from firstlight.errors import Fact
from firstlight.framework import PassEvent, observe_passes

MARKS = {"done": "[green]ok[/]", "failed": "[red]FAILED[/]"}


@contextmanager
def pass_lines(console: Console) -> Iterator[None]:
    """Print a line on ``console`` for every pass that ends inside the block; on a terminal also show what runs now."""
    with console.status("reading") as status, observe_passes(_PassPrinter(console, status)):
        yield


@contextmanager
def file_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr while files are worked on, where that is a terminal; give what to call for each file.

    The call says what is done now, for how many files it has been done, and how many there are.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)

        def tell(what: str, done: int, total: int) -> None:
            if done == 0:
                bar.reset(task, description=what, total=total)
            bar.update(task, completed=done)

        yield tell


class _PassPrinter:
    """Observer of passes; those that consist of other passes are shown by these."""

    def __init__(self, console: Console, status: Status) -> None:
        self.console = console
        self.status = status

    def __call__(self, event: PassEvent) -> None:
        if event.status == "started":
            self.status.update(escape(event.path))
        elif not event.nested:
            facts = escape(facts_text(event.facts))
            line = f"  {escape(event.path):<32} {event.wall_s:6.2f} s  {MARKS[event.status]}  {facts}"
            self.console.print(line.rstrip(), highlight=False, soft_wrap=True)


def facts_text(facts: Mapping[str, Fact]) -> str:
    """Return facts as ``name=value`` in a few characters; those that are not known are left out."""
    return "  ".join(f"{name}={_short(value)}" for name, value in facts.items() if value is not None)


def _short(value: Fact) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

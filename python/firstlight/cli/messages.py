"""What goes wrong, as one line on stderr."""

from __future__ import annotations

import click

from firstlight.cli.exit_codes import BUG


def complain(message: str, code: int) -> int:
    """Print ``firstlight: message`` on stderr, each line of it, and return ``code``."""
    for line in message.splitlines():
        click.echo(f"firstlight: {line}", err=True)
    return code


def report_bug(error: Exception, *, verbose: bool) -> int:
    """Say that an error is a bug, in one line or with its traceback, and return the exit code for it."""
    if verbose:
        import traceback

        traceback.print_exception(error)
        return complain("this is a bug in firstlight; please report it with the lines above.", BUG)
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return complain(f"this is a bug in firstlight ({said}); please report it with what 'firstlight -v' prints.", BUG)

"""How much the command line says while it works: warnings only, more with ``-v``, JSON lines with ``--log-json``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@dataclass
class LogSettings:
    """What the logging options said, before and after the command's name together; lives in the click context."""

    verbosity: int = 0
    as_json: bool = False


def log_options(command: FunctionT) -> FunctionT:
    """Add ``-v`` and ``--log-json`` to a command."""
    verbose = click.option(
        "-v", "--verbose", count=True, expose_value=False, callback=_keep_verbosity, help="Log facts; twice: details."
    )
    as_json = click.option(
        "--log-json", is_flag=True, expose_value=False, callback=_keep_format, help="Log as JSON, one line per event."
    )
    return verbose(as_json(command))


def current_settings() -> LogSettings:
    """Return what the options of the command that runs now said."""
    ctx = click.get_current_context(silent=True)
    return (ctx and ctx.find_object(LogSettings)) or LogSettings()


def configure_logging() -> None:
    """Set up structlog for this process: to stderr, at the level that the options of the current command ask for."""
    import logging

    import structlog

    settings = current_settings()
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(settings.verbosity, 2)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if settings.as_json else "%H:%M:%S", utc=settings.as_json),
            structlog.processors.JSONRenderer(default=str)
            if settings.as_json
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _keep_verbosity(ctx: click.Context, _parameter: click.Parameter, count: int) -> None:
    ctx.ensure_object(LogSettings).verbosity += count


def _keep_format(ctx: click.Context, _parameter: click.Parameter, chosen: bool) -> None:
    ctx.ensure_object(LogSettings).as_json |= chosen

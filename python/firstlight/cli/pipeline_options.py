"""The options with which commands name a pipeline and further settings, and the pipeline that they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from firstlight.framework import BuiltPipeline, ClassOverrides, Layer, Pipeline

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
SINGLE_FRAME = "single_frame.yaml"


@dataclass(frozen=True)
class SettingsOptions:
    """What the options of a command say about settings."""

    config_files: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    instrument: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether any option says something."""
        return bool(self.config_files or self.settings or self.instrument)


def settings_options(command: FunctionT) -> FunctionT:
    """Add ``--instrument``, ``-C`` and ``-c`` to a command; they reach it as the argument ``given``."""

    def gathered(
        *args: Any, config_files: tuple[str, ...], settings: tuple[str, ...], instrument: str | None, **kwargs: Any
    ) -> Any:
        return command(*args, given=SettingsOptions(config_files, settings, instrument), **kwargs)

    gathered.__doc__ = command.__doc__
    gathered.__name__ = command.__name__
    gathered.__dict__.update(command.__dict__)
    one = click.option(
        "-c", "settings", multiple=True, metavar="LABEL:PATH=VALUE", help="One setting; may be repeated."
    )
    file = click.option(
        "-C", "config_files", multiple=True, metavar="FILE", help="YAML file with settings; repeatable."
    )
    camera = click.option("--instrument", metavar="NAME|FILE", help="Camera whose settings lie below all others.")
    return cast("FunctionT", camera(file(one(gathered))))


pipeline_option = click.option(
    "-p", "--pipeline", default=SINGLE_FRAME, show_default=True, metavar="FILE", help="The pipeline that is meant."
)


def layers_of(config_files: Sequence[str | Path], settings: Sequence[str]) -> list[Layer]:
    """Return the layers of files and of single settings, in this order.

    Raises
    ------
    ConfigError
        With every file that cannot be read and every text that is no setting.
    """
    from firstlight.errors import ConfigError
    from firstlight.framework import Layer

    layers, problems = [], []
    readers = (
        *(partial(Layer.from_file, path) for path in config_files),
        *(partial(Layer.from_assignment, text) for text in settings),
    )
    for read in readers:
        try:
            layers.append(read())
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return layers


def overrides_of(pipeline: Pipeline, instrument: str | None) -> ClassOverrides | None:
    """Return the settings for task classes of the camera that the option, or else the pipeline, names."""
    from firstlight.instruments import get_instrument

    name = instrument or pipeline.instrument
    return None if name is None else get_instrument(name).overrides()


def built_pipeline(location: str, given: SettingsOptions) -> BuiltPipeline:
    """Return the pipeline at ``location`` with the settings that the options give.

    Raises
    ------
    UserError
        If anything does not fit.
    """
    from firstlight.framework import Pipeline

    pipeline = Pipeline.load(location)
    layers = layers_of(given.config_files, given.settings)
    return pipeline.build(*layers, class_overrides=overrides_of(pipeline, given.instrument))

"""What is done with the candidates of images in a repository: the settings, and the tasks that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator

from firstlight.errors import ConfigError, InputError, ReferenceCatalogError
from firstlight.execution.follow import Check, CheckedCandidates
from firstlight.framework import BuiltPipeline, Config, Subtask, did_you_mean, plugins_of, subtask
from firstlight.framework.connection_check import is_kind
from firstlight.framework.connections import Connections
from firstlight.images.catalog import read_catalog
from firstlight.images.exposure import Exposure
from firstlight.refcats.known_objects import (
    GEOCENTRE,
    MINOR_PLANETS,
    FirstKnownObjects,
    KnownObjects,
    LocalKnownObjects,
    OnlineKnownObjects,
)
from firstlight.tasks.associate import AssociateTask
from firstlight.tasks.candidate_checks import (
    FlagsCheckTask,
    KnownGalaxiesCheckTask,
    KnownStarsCheckTask,
    VariableStarsCheckTask,
)
from firstlight.tasks.filter_candidates import FilterCandidatesTask, region_of
from firstlight.tasks.measure_place import MeasurePlaceTask


class AssociateImagesConfig(Config):
    """Settings of ``firstlight associate``, one label for each task."""

    filter: Subtask[FilterCandidatesTask] | None = subtask(
        FilterCandidatesTask,
        checks=plugins_of(
            flags=subtask(FlagsCheckTask),
            variable_stars=subtask(VariableStarsCheckTask, radius=2.0),
            stars=subtask(KnownStarsCheckTask),
            galaxies=subtask(KnownGalaxiesCheckTask, rejects=False),
        ),
    )
    """Says which candidates are worth associating; empty to take all. Bodies of the solar system are not rejected but
    kept under their names, without objects."""

    observatory: str = GEOCENTRE
    """Code of the Minor Planet Center of the telescope; from the geocentre an asteroid is off by arcseconds."""

    associate: Subtask[AssociateTask] = subtask(AssociateTask)
    """Finds objects."""

    forced_fluxes: Subtask[MeasurePlaceTask] = subtask(MeasurePlaceTask, aperture_fwhm=None)
    """Measures images at the places of objects."""


class AlertSettings(Config):
    """What the alerts of a night contain."""

    size: int = Field(default=63, ge=5, le=301)
    """Side of the stamps, odd, so that the candidate is on the middle pixel [pixel]."""

    history_days: NonNegativeFloat = 365.0
    """How far back earlier detections and fluxes are told [d]."""

    @field_validator("size")
    @classmethod
    def _is_odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError(f"must be odd; got {size}")
        return size


class AfterwardsConfig(AssociateImagesConfig):
    """Settings of what follows the tasks of a pipeline, image by image (``afterwards`` in its file)."""

    known: Mapping[str, str] = {}
    """Kind (``stars``, ``galaxies``, ``variable_stars``, ``minor_planets``) -> file of a table with ``ra``, ``dec``."""

    online: bool = False
    """Whether VSX and SkyBoT are asked for what no table knows."""

    forced: str | None = "difference_image"
    """Dataset type of images, made by the pipeline, that are measured at the places of all objects; empty for none."""

    forced_days: PositiveFloat = 30.0
    """At the end of a night, images of so many days are measured at the objects that were found after them [d]."""

    alerts: AlertSettings | None = AlertSettings()
    """What alerts contain; empty to write none."""


def settled_afterwards(pipeline: BuiltPipeline) -> AfterwardsConfig | None:
    """Return the settings of what follows the tasks of a pipeline; None where nothing does.

    Raises
    ------
    ConfigError
        If a setting does not fit, or what is to be measured is no image that the pipeline makes.
    """
    if pipeline.afterwards is None:
        return None
    config = pipeline.afterwards.settled(AfterwardsConfig)
    if config.forced is not None:
        made = images_made(pipeline)
        if config.forced not in made:
            hint = did_you_mean(config.forced, made) or f"; it makes {', '.join(made) or 'none'}"
            origin = config.origin("forced")
            raise ConfigError(f"forced: the pipeline makes no image {config.forced!r}{hint} (from {origin})")
    return config


def images_made(pipeline: BuiltPipeline) -> list[str]:
    """Return the dataset types of the images that all tasks of a pipeline, selected or not, make of each detector."""
    found = []
    for slot in pipeline.settings.tasks.values():
        connections = Connections.of(slot.task, slot.config)
        if {"visit", "detector"} <= set(connections.dimensions):
            found += [each.name for each in connections.outputs.values() if is_kind(each.type, Exposure)]
    return found


def known_objects(given: Sequence[str], *, online: bool) -> KnownObjects:
    """Return what ``KIND=FILE`` and the network tell.

    Raises
    ------
    InputError
        If a text has another form, or a file cannot be read.
    """
    paths: dict[str, str] = {}
    for text in given:
        kind, sign, path = text.partition("=")
        if not (kind and sign and path):
            raise InputError(f"--known takes KIND=FILE, such as stars=gaia.parquet; got {text!r}.")
        paths[kind] = path
    return known_in(paths, online=online)


def known_in(paths: Mapping[str, str], *, online: bool) -> KnownObjects:
    """Return what the tables in files and the network tell.

    Parameters
    ----------
    paths
        Kind -> file.
    online
        Whether the network is asked for what no table knows.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    local = LocalKnownObjects({kind: read_catalog(Path(path)) for kind, path in paths.items()})
    return FirstKnownObjects([local, OnlineKnownObjects()]) if online else local


def candidate_check(config: AssociateImagesConfig, known: KnownObjects) -> Check:
    """Return what checks the candidates of an image, and looks for bodies of the solar system around them."""
    task = config.filter and config.filter.make()

    def check(candidates: Table, mjd: float) -> CheckedCandidates:
        bodies, why = _bodies(candidates, known, mjd=mjd, observatory=config.observatory)
        missing = {MINOR_PLANETS: why} if why else {}
        if task is None:
            return CheckedCandidates(candidates, np.ones(len(candidates), dtype=bool), bodies, missing)
        filtered = task.run(candidates, mjd=mjd, known=known)
        return CheckedCandidates(filtered.candidates, filtered.kept, bodies, {**filtered.not_done, **missing})

    return check


def _bodies(candidates: Table, known: KnownObjects, *, mjd: float, observatory: str) -> tuple[Table | None, str]:
    """Return the bodies of the solar system that are known around candidates, or None and why they are not known."""
    try:
        return known.find(MINOR_PLANETS, region_of(candidates, mjd=mjd, observatory=observatory)), ""
    except ReferenceCatalogError as error:
        return None, str(error)

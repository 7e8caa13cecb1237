"""Dataset types: what a dataset is called, what tells it from others of its type, and how it is kept in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from firstlight.errors import ConfigError, RepoError
from firstlight.framework.dimensions import DIMENSIONS, Value, completed
from firstlight.repo.names import dataset_path, require_type_name, require_values
from firstlight.repo.storage import find_storage


@dataclass(frozen=True)
class DatasetType:
    """One kind of dataset.

    Parameters
    ----------
    name
        Letters, digits and underscores.
    dimensions
        What tells its datasets apart; those that they require are added.
    storage
        Name of a storage, as `firstlight.repo.storage.find_storage` knows it.

    Raises
    ------
    RepoError
        If the name is not allowed, or there is no such dimension or storage.
    """

    name: str
    dimensions: tuple[str, ...]
    storage: str

    def __post_init__(self) -> None:
        require_type_name(self.name)
        find_storage(self.storage)
        try:
            object.__setattr__(self, "dimensions", completed(self.dimensions))
        except ConfigError as error:
            raise RepoError(f"Dataset type {self.name!r}: {error}{'' if str(error).endswith('?') else '.'}") from error

    @cached_property
    def known_dimensions(self) -> frozenset[str]:
        """Its own dimensions and those that follow from them."""
        implied = {implied for name in self.dimensions for implied in DIMENSIONS[name].implies}
        return frozenset(self.dimensions) | implied

    def path(self, run: str, data_id: Mapping[str, Value]) -> PurePosixPath:
        """Return where the file of a dataset lies below the root of the repository.

        Raises
        ------
        RepoError
            If the run cannot be called so, or a value is missing from ``data_id``.
        """
        suffix = find_storage(self.storage).suffix
        return dataset_path(run, self.name, self.dimensions, data_id, suffix=suffix)

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.dimensions) or 'no dimensions'}; {self.storage})"


def data_key(data_id: Mapping[str, Value], dimensions: tuple[str, ...]) -> str:
    """Return a data id as one text, ``instrument=ztf,exposure=1,detector=3``; different ids give different texts.

    Parameters
    ----------
    data_id
        Has a value of each dimension.
    dimensions
        Those that are part of the key.

    Raises
    ------
    RepoError
        If a value is missing.
    """
    require_values(data_id, dimensions)
    return ",".join(f"{name}={_escaped(data_id[name])}" for name in DIMENSIONS if name in dimensions)


def _escaped(value: Value) -> str:
    return value.replace("%", "%25").replace(",", "%2C").replace("=", "%3D") if isinstance(value, str) else str(value)

"""Where the YAML files of firstlight are: in the package when installed, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

import firstlight
from firstlight.errors import ConfigError


def config_folder() -> Path:
    """Return the folder that holds ``instruments/`` and the other configuration that comes with firstlight.

    Raises
    ------
    ConfigError
        If the installation has none.
    """
    package = Path(firstlight.__file__).parent
    for folder in (package / "config", package.parents[1] / "config"):
        if (folder / "instruments").is_dir():
            return folder
    raise ConfigError(f"The installation of firstlight in {package} has no 'config' folder; install it again.")

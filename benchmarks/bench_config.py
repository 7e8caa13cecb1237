"""Time merging, validating, saving and loading a config of 50 fields, beside lsst.pex.config where it is installed.

Run it as ``python benchmarks/bench_config.py``. Times are the best of several rounds on one core. Saving here writes
documentation and history and waits for the disk; pex_config writes neither, and does not wait.
"""

from __future__ import annotations

import importlib.util
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path

from pydantic import PositiveFloat

from firstlight.framework import Config, Layer, build_config, load_config, save_config

FIELDS, OVERRIDES = 50, 20
KINDS: tuple[tuple[object, object, object], ...] = (
    (int, 1, 3),
    (PositiveFloat, 1.5, 2.5),
    (str, "a", "b"),
    (tuple[int, ...], (1, 2), (3, 4)),
    (bool, True, False),
)
"""Annotation, default and other value of every fifth field."""

BUILD_GOAL, FILE_GOAL = 60.0, 2000.0
"""Goals [microseconds]."""


def best_time(call: Callable[[], object], *, number: int) -> float:
    """Return the time of one call [microseconds]."""
    return min(timeit.repeat(call, number=number, repeat=7)) / number * 1e6


def fifty_fields() -> type[Config]:
    """Return a config class with a field of each kind in turn."""
    kinds = {f"field_{index}": KINDS[index % len(KINDS)] for index in range(FIELDS)}
    annotations = {name: annotation for name, (annotation, _, _) in kinds.items()}
    defaults = {name: default for name, (_, default, _) in kinds.items()}
    return type("FiftyConfig", (Config,), {"__annotations__": annotations, "__module__": __name__, **defaults})


def twenty_overrides() -> dict[str, object]:
    """Return other values for fields of every kind."""
    return {f"field_{index}": KINDS[index % len(KINDS)][2] for index in range(0, 2 * OVERRIDES, 2)}


def ours(folder: Path) -> list[tuple[str, float, float]]:
    """Return what was timed, its time and its goal [microseconds]."""
    config_class, values = fifty_fields(), twenty_overrides()
    layer = Layer.from_mapping(values, origin="night.yaml:1")
    config, path = build_config(config_class, [layer]), folder / "config.yaml"
    save_config(config, path)
    return [
        ("merge and validate", best_time(lambda: build_config(config_class, [layer]), number=2000), BUILD_GOAL),
        ("write YAML with history", best_time(lambda: config.to_yaml(history=True), number=200), FILE_GOAL),
        ("save", best_time(lambda: save_config(config, path), number=50), FILE_GOAL),
        ("load", best_time(lambda: load_config(config_class, path), number=100), FILE_GOAL),
    ]


def theirs(folder: Path) -> list[tuple[str, float]]:
    """Return what was timed with lsst.pex.config, and its time [microseconds]."""
    from lsst.pex import config as pex

    made = {
        int: lambda default: pex.Field("doc", int, default=default),
        PositiveFloat: lambda default: pex.RangeField("doc", float, default=default, min=0.0),
        str: lambda default: pex.Field("doc", str, default=default),
        tuple[int, ...]: lambda default: pex.ListField("doc", int, default=list(default)),
        bool: lambda default: pex.Field("doc", bool, default=default),
    }
    kinds = [KINDS[index % len(KINDS)] for index in range(FIELDS)]
    fields = {f"field_{index}": made[annotation](default) for index, (annotation, default, _) in enumerate(kinds)}
    config_class = type("FiftyConfig", (pex.Config,), fields)
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in twenty_overrides().items()}
    path = str(folder / "config.py")

    def built() -> pex.Config:
        config = config_class()
        for name, value in values.items():
            setattr(config, name, value)
        config.validate()
        return config

    config = built()
    # The name of the class is looked up again when a file is loaded.
    globals()["FiftyConfig"] = config_class
    config.save(path)
    return [
        ("merge and validate", best_time(built, number=100)),
        ("save", best_time(lambda: config.save(path), number=50)),
        ("load", best_time(lambda: config_class().load(path), number=50)),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        timed = ours(Path(folder))
        installed = importlib.util.find_spec("lsst") and importlib.util.find_spec("lsst.pex.config")
        peer = dict(theirs(Path(folder))) if installed else {}
    print(f"{FIELDS} fields, {OVERRIDES} overrides; lsst.pex.config is {'' if peer else 'not '}installed")
    print(f"{'':32}{'value [us]':>11}{'goal [us]':>11}{'ratio':>7}{'pex_config [us]':>17}")
    for what, time, goal in timed:
        other = f"{peer[what]:17.0f}" if what in peer else f"{'-':>17}"
        print(f"{what:32}{time:11.1f}{goal:11.0f}{time / goal:7.2f}{other}")


if __name__ == "__main__":
    main()

"""Difference imaging on real images: what was measured, its target, and whether it is met.

FIRSTLIGHT_TEST_DATA=... python benchmarks/validate_difference.py [hatp32] [isis] [ztf] [--plots DIR] [--json FILE]

hatp32: a night of raw frames that drift, through the commands. isis: a crowded field without WCS, gain or dates.
ztf: an undersampled survey image and a second epoch made of it. Each runs for minutes.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import logging
import os
import time
from pathlib import Path

import structlog

PARTS = ("hatp32", "isis", "ztf")


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all when left out")
    parser.add_argument("--plots", type=Path, help="draw pictures into this folder")
    parser.add_argument("--json", type=Path, help="write every row there")
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"There is no part {unknown[0]!r}; there are {', '.join(PARTS)}.")
    if "FIRSTLIGHT_TEST_DATA" not in os.environ:
        parser.error("FIRSTLIGHT_TEST_DATA must name the folder of the real images.")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    told = []
    for name in options.parts or PARTS:
        begun = time.time()
        measure = importlib.import_module(f"real_difference.{name}").rows
        more = {"plots": options.plots} if "plots" in inspect.signature(measure).parameters else {}
        rows = measure(Path(os.environ["FIRSTLIGHT_TEST_DATA"]), **more)
        print(f"{name}, {time.time() - begun:.0f} s")
        for what, value, target, passed in rows:
            verdict = "" if not target else "pass" if passed else "FAIL"
            print(f"  {what:<74} {value:>10.4g}  {target:<16} {verdict}", flush=True)
            told.append({"part": name, "what": what, "value": value, "target": target, "passed": bool(passed)})
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()

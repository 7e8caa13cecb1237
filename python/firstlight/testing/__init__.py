"""Helpers for the tests of tasks: run one piece of work, check that a class is well made, install a package for a test.

`firstlight.testing.arithmetic` and `firstlight.testing.arithmetic_pipeline` have tasks that calculate with numbers, to
try things out without images.
"""

from firstlight.testing.packages import installed_package
from firstlight.testing.run_task import make_task, run_task
from firstlight.testing.well_made import assert_same_config, assert_well_made

__all__ = ["assert_same_config", "assert_well_made", "installed_package", "make_task", "run_task"]

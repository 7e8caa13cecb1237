"""What the exit code of ``firstlight`` says.

====  =======================================================================================
code  meaning
====  =======================================================================================
0     done
1     something failed on its data
2     a mistake in a setting, a file or an argument, or a place that cannot be used
3     nothing to do
70    a bug in firstlight
130   interrupted
====  =======================================================================================
"""

from __future__ import annotations

from firstlight.errors import FirstlightError, NoWorkFound, UserError

DONE = 0
FAILED_ON_DATA = 1
USER_MISTAKE = 2
NOTHING_TO_DO = 3
BUG = 70
INTERRUPTED = 130


def exit_code_of(error: FirstlightError) -> int:
    """Return whose fault an error is, as an exit code."""
    if isinstance(error, UserError):
        return USER_MISTAKE
    return NOTHING_TO_DO if isinstance(error, NoWorkFound) else FAILED_ON_DATA

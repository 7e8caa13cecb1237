"""`StopRequest`: whether somebody has asked for the end, after what is in work or at once."""

from __future__ import annotations

import threading


class StopRequest:
    """Asked once, what is in work is finished; asked again, nothing is."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.is_waiting = False
        """Whether nothing is in work."""

        self.at_once = False
        """Whether it was asked for again."""

    def ask(self) -> None:
        """Ask for the end, the first time or again."""
        self.at_once = self.is_asked()
        self._asked.set()

    def is_asked(self) -> bool:
        """Tell whether the end was asked for."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> None:
        """Do nothing for a while [s], until the end is asked for."""
        self.is_waiting = True
        self._asked.wait(seconds)
        self.is_waiting = False

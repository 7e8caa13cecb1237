"""A line for every pass, on a terminal and in a file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from firstlight.cli.progress import facts_text, pass_lines
from firstlight.errors import AlgorithmError, PartialResult
from firstlight.framework import Pass, PipelineTask


@dataclass
class Counted:
    done: list[str] = field(default_factory=list)

    def products(self):
        return {}


class InnerTask(PipelineTask):
    def passes(self) -> Sequence[Pass[Counted]]:
        return (Pass("first", lambda state: {"stars": 7, "fwhm": 2.34567, "band": None}), Pass("second", self._fail))

    def _fail(self, state: Counted) -> None:
        raise AlgorithmError("Nothing [here].", found=0)

    def run(self) -> None:
        self.run_passes(Counted())


class OuterTask(PipelineTask):
    def __init__(self) -> None:
        super().__init__()
        self.inner = InnerTask()

    def passes(self) -> Sequence[Pass[Counted]]:
        return (Pass("inner", lambda state: self.inner.run(), inside=self.inner),)

    def run(self) -> None:
        self.run_passes(Counted())


@pytest.mark.parametrize("terminal", [True, False])
def test_every_pass_has_one_line(terminal):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, color_system=None, width=100)
    with pytest.raises(PartialResult), pass_lines(console):
        OuterTask().run()

    lines = [line for line in text.getvalue().splitlines() if " s  " in line]
    assert len(lines) == 2
    assert "inner.first" in lines[0]
    assert lines[0].endswith("ok  stars=7  fwhm=2.346")
    assert "inner.second" in lines[1]
    assert "FAILED  found=0" in lines[1]


def test_in_a_file_there_is_nothing_but_the_lines():
    text = io.StringIO()
    with pytest.raises(PartialResult), pass_lines(Console(file=text)):
        OuterTask().run()

    assert len(text.getvalue().splitlines()) == 2
    assert "\x1b" not in text.getvalue()


def test_facts_are_short():
    assert facts_text({"n": 3, "rms": 0.0123456, "missing": None, "how": "pattern"}) == "n=3  rms=0.01235  how=pattern"

"""The mistakes that users make, and the line that each one gets: ``doc/reference/mistakes.md`` comes from here.

``FIRSTLIGHT_WRITE_DOCS=1`` writes the page anew.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest

from firstlight.cli.main import run

PAGE = Path(__file__).resolve().parents[2] / "doc" / "reference" / "mistakes.md"
SHOW = "firstlight config show calibrate"
CHECK = "firstlight pipeline check"
INTRODUCTION = """# Mistakes, and what they are answered with

Each of these ends with exit code 2 and nothing done. All mistakes of a call are told at once, one line each, with the
place where the mistake stands. A test makes every mistake on this page and writes down the answer.
"""


@dataclass(frozen=True)
class Mistake:
    """One thing that goes wrong, and how to make it."""

    what: str
    command: str
    files: Mapping[str, str] = field(default_factory=dict)


def setting(what: str, *texts: str) -> Mistake:
    return Mistake(what, " ".join([SHOW, *(f"-c {shlex.quote(text)}" for text in texts)]))


def settings_file(what: str, text: str) -> Mistake:
    return Mistake(what, f"{SHOW} -C team.yaml", {"team.yaml": text})


def pipeline(what: str, text: str, *, selection: str = "") -> Mistake:
    return Mistake(what, f"{CHECK} night.yaml{selection}", {"night.yaml": text})


IMPORT = "imports: [single_frame.yaml]\n"
SECTIONS: Mapping[str, tuple[Mistake, ...]] = {
    "Settings": (
        setting("A misspelt field", "calibrate:psf.oder=2"),
        setting("A misspelt label", "calibarte:psf.order=2"),
        setting("A misspelt slot", "calibrate:pfs.order=2"),
        setting("A wrong type", "calibrate:psf.order=two"),
        setting("A value out of bounds", "calibrate:psf.order=-1"),
        setting("A choice that is none", "calibrate:background.method=splines"),
        setting("A text without a value", "calibrate:psf.order"),
        setting("A step left out that cannot be", "calibrate:psf=null"),
        setting("A setting of a step that was left out", "calibrate:cosmic_rays=null", "calibrate:cosmic_rays.sigma=5"),
        setting("A plug-in that is not there", "calibrate:star_measurement.plugins.psf_flx=null"),
        settings_file("Several mistakes in one file", "calibrate:\n  psf:\n    oder: 2\n  aperture_fwhm: wide\n"),
        settings_file("A key given twice", "calibrate:\n  psf: {order: 2}\n  psf: {order: 3}\n"),
        settings_file("Text that is not YAML", "calibrate:\n  psf: {order: 2\n"),
        Mistake("A file that is not there", f"{SHOW} -C taem.yaml"),
    ),
    "Tasks": (
        setting("A misspelt task", "calibrate:psf.task=PixlePsfTask"),
        setting("A task of another family", "calibrate:psf.task=MeshBackgroundTask"),
        setting("An interface in place of a task", "calibrate:psf.task=firstlight.tasks.psf:PsfTask"),
        setting("Something that is no task", "calibrate:psf.task=pathlib:Path"),
        setting("A package that is not installed", "calibrate:psf.task=theirs.psf:TheirPsfTask"),
        Mistake(
            "A file in the working directory in place of a package",
            f"{SHOW} -c calibrate:psf.task=my_psf:MyPsfTask",
            {"my_psf.py": "raise RuntimeError('this must not run')\n"},
        ),
        setting("A setting that only the former task had", "calibrate:psf={task: GaussianPsfTask, order: 2}"),
    ),
    "Pipelines": (
        Mistake("A pipeline file that is not there", f"{CHECK} singel_frame.yaml"),
        pipeline("A misspelt part", f"{IMPORT}task:\n  calibrate: {{config: {{aperture_fwhm: 2}}}}\n"),
        pipeline("A label that is not there", IMPORT, selection="#calibrat"),
        pipeline("A label that names no class", f"{IMPORT}tasks:\n  calibrat:\n    config: {{aperture_fwhm: 2}}\n"),
        pipeline("A task that cannot stand in a pipeline", "tasks:\n  psf: PixelPsfTask\n"),
        pipeline(
            "An import of a label that is not there", "imports:\n  - {location: single_frame.yaml, exclude: [mesure]}\n"
        ),
        pipeline("A pipeline that imports itself", "imports: [night.yaml]\n"),
        pipeline(
            "A parameter that is not there",
            f"{IMPORT}parameters: {{order: 2}}\ntasks:\n  calibrate:\n    config: {{psf.order: parameters.odrer}}\n",
        ),
        pipeline(
            "Code in a pipeline", f"{IMPORT}tasks:\n  calibrate:\n    config:\n      python: config.psf.order = 2\n"
        ),
        pipeline(
            "A broken contract",
            f"{IMPORT}contracts:\n  - contract: calibrate:psf.order <= 2\n    msg: our field is too sparse for more\n",
        ),
        pipeline("A contract that is none", f"{IMPORT}contracts:\n  - contract: calibrate:psf.order <\n"),
        pipeline(
            "A misspelt connection",
            f"{IMPORT}tasks:\n  measure:\n    config: {{connections.calibratd: other_image}}\n",
        ),
        pipeline(
            "A dataset that nobody makes",
            f"{IMPORT}tasks:\n  measure:\n    config: {{connections.calibrated: preliminary_visit_imag}}\n",
        ),
        pipeline(
            "Two tasks that make the same",
            f"{IMPORT}tasks:\n  again:\n    class: MeasureImageTask\n"
            "    config: {connections.background: b, connections.sources: s}\n",
        ),
        pipeline(
            "Tasks that wait for each other",
            f"{IMPORT}tasks:\n  calibrate:\n    config: {{connections.post_isr: visit_image}}\n",
        ),
    ),
    "Commands": (
        Mistake("A misspelt command", "firstlight proces image.fits -o out"),
        Mistake("A misspelt option", "firstlight process image.fits -o out --refact gaia.csv"),
        Mistake("A file that is not FITS", "firstlight process notes.fits -o out", {"notes.fits": "seeing was bad\n"}),
        Mistake(
            "A pass that is not there",
            "firstlight process notes.fits -o out --stop-after astromety",
            {"notes.fits": "seeing was bad\n"},
        ),
        Mistake("An instrument that is not there", f"{CHECK} single_frame.yaml --instrument zft"),
        Mistake("A family that is not there", "firstlight tasks list PfsTask"),
    ),
}
MISTAKES = [mistake for section in SECTIONS.values() for mistake in section]


def answer(mistake: Mistake, folder: Path) -> tuple[int, list[str]]:
    """Make the mistake in ``folder``; return the exit code and what stderr says, without progress."""
    for name, text in mistake.files.items():
        (folder / name).write_text(text)
    before = Path.cwd()
    os.chdir(folder)
    try:
        with redirect_stderr(StringIO()) as said, redirect_stdout(StringIO()):
            code = run(shlex.split(mistake.command)[1:])
    finally:
        os.chdir(before)
    return code, [line for line in said.getvalue().splitlines() if line.startswith("firstlight: ")]


def section_of(mistake: Mistake, lines: list[str]) -> str:
    shown = [f"# {name}\n{text.rstrip()}" for name, text in mistake.files.items() if name.endswith(".yaml")]
    files = "".join(f"\n```yaml\n{text}\n```\n" for text in shown)
    call = "\n".join([f"$ {mistake.command}", *lines])
    return f"\n### {mistake.what}\n{files}\n```text\n{call}\n```\n"


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[int, list[str]]]:
    return {mistake.what: answer(mistake, tmp_path_factory.mktemp("mistake")) for mistake in MISTAKES}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_is_answered_with_exit_code_2_and_lines_that_help(answers, mistake):
    code, lines = answers[mistake.what]

    assert code == 2
    assert 1 <= len(lines) <= (2 if "Several" in mistake.what else 1)
    assert "Traceback" not in "".join(lines)
    assert all(len(line) <= 400 for line in lines)


def test_the_page_of_mistakes_shows_these_answers(answers):
    page = INTRODUCTION
    for title, section in SECTIONS.items():
        page += f"\n## {title}\n" + "".join(section_of(each, answers[each.what][1]) for each in section)
    if os.environ.get("FIRSTLIGHT_WRITE_DOCS"):
        PAGE.write_text(page)

    assert PAGE.read_text() == page


def test_there_are_enough_mistakes_on_the_page():
    assert len({mistake.what for mistake in MISTAKES}) == len(MISTAKES) >= 15

"""The mistakes that users make, and the line that each one gets: ``doc/reference/mistakes.md`` comes from here.

``FIRSTLIGHT_WRITE_DOCS=1`` writes the page anew.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from firstlight.cli.main import run
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.repo import Repo

PAGE = Path(__file__).resolve().parents[2] / "doc" / "reference" / "mistakes.md"
SHOW = "firstlight config show calibrate"
CHECK = "firstlight pipeline check"
INTRODUCTION = """# Mistakes, and what they are answered with

Each of these ends with nothing done and exit code 2, unless another one is written below it. All mistakes of a call are
told at once, one line each, with the place where the mistake stands. A test makes every mistake on this page and writes
down the answer.
"""


@dataclass(frozen=True)
class Mistake:
    """One thing that goes wrong, and how to make it."""

    what: str
    command: str
    files: Mapping[str, str] = field(default_factory=dict)
    repository: bool = False
    """Whether it is made where there is a repository R with an image and the output of a run."""

    code: int = 2
    """The exit code."""

    told: tuple[str, ...] = ()
    """What the answer must say."""


def setting(what: str, *texts: str) -> Mistake:
    return Mistake(what, " ".join([SHOW, *(f"-c {shlex.quote(text)}" for text in texts)]))


def settings_file(what: str, text: str) -> Mistake:
    return Mistake(what, f"{SHOW} -C team.yaml", {"team.yaml": text})


def pipeline(what: str, text: str, *, selection: str = "") -> Mistake:
    return Mistake(what, f"{CHECK} night.yaml{selection}", {"night.yaml": text})


def in_repository(
    what: str, command: str, *told: str, code: int = 2, files: Mapping[str, str] | None = None
) -> Mistake:
    return Mistake(what, f"firstlight {command}", files or {}, repository=True, code=code, told=told)


RUN = "run -b R -p single_frame.yaml -o first"
CORRECTED = "-c isr:bias.task=SubtractBiasTask -c isr:dark.task=SubtractDarkTask -c isr:flat.task=DivideFlatTask"
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
    "Repositories": (
        in_repository(
            "A misspelt field in a run", f"{RUN} -c calibrate:psf.oder=2", "did you mean 'order'?", "from -c"
        ),
        in_repository(
            "A misspelt label in a run", f"{RUN} -c calibarte:psf.order=2", "did you mean 'calibrate'?", "from -c"
        ),
        in_repository("A wrong type in a run", f"{RUN} -c calibrate:psf.order=two", "valid integer", "got 'two'"),
        in_repository(
            "A misspelt dimension in a query", "query datasets -b R raw -d 'vist = 1'", "did you mean 'visit'?"
        ),
        in_repository(
            "A collection that is not there", f"{RUN} -i raw/genric", "There is no collection", "'raw/generic'?"
        ),
        in_repository(
            "Calibrations that are missing",
            f"{RUN} {CORRECTED}".replace(".yaml", ".yaml#isr"),
            *("no bias is certified", "no dark is certified", "no flat is certified"),
            code=3,
        ),
        in_repository(
            "An output that was made with other settings",
            "run -b R -p single_frame.yaml#isr -o night -c isr:saturation.task=MarkSaturatedTask",
            *("night: was made with other settings", "--new", "--redo isr"),
        ),
        in_repository(
            "A visit that is not there",
            f"{RUN} -d 'visit = 77'".replace(".yaml", ".yaml#isr"),
            *("no raw", "where visit = 77", "which step found nothing"),
            code=3,
        ),
        in_repository(
            "A file that is not FITS among images",
            "ingest -b R page.fits",
            *("page.fits is not a FITS file.",),
            code=1,
            files={"page.fits": "<html>404 Not Found</html>\n"},
        ),
        in_repository("A repository that is not there", "query visits -b S", "There is no repository", "repo create"),
        in_repository("A dataset type that is not there", "query datasets -b R rwa", "did you mean 'raw'?"),
    ),
}
MISTAKES = [mistake for section in SECTIONS.values() for mistake in section]


def make_repository(folder: Path) -> None:
    """Make a repository R with one image, types of calibrations, and the output ``night`` of a run."""
    header = fits.Header({"DATE-OBS": "2026-01-02T03:04:05", "EXPTIME": 30.0, "FILTER": "r", "GAIN": 2.0})
    pixels = np.random.default_rng(1).normal(100, 10, (20, 30)).astype("f4")
    fits.PrimaryHDU(pixels, header=header).writeto(folder / "image.fits")
    commands = ("repo create R", "ingest -b R image.fits", "run -b R -p single_frame.yaml#isr -o night")
    before = Path.cwd()
    os.chdir(folder)
    try:
        with redirect_stderr(StringIO()) as said, redirect_stdout(StringIO()):
            assert [run(shlex.split(command)) for command in commands] == [0, 0, 0], said.getvalue()
    finally:
        os.chdir(before)
    with Repo.open(folder / "R") as repo:
        for name in ("bias", "dark", "flat"):
            more = ("physical_filter",) if name == "flat" else ()
            repo.register_type(DatasetType(name, ("instrument", "detector", *more), "exposure"))
        repo.make_calibration("calib")


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
    lines = [line.replace(f"{folder}/", "/data/") for line in said.getvalue().splitlines()]
    own = [line for line in lines if line.startswith("firstlight: ")]
    return code, own or [line for line in lines if line.strip()]


def section_of(mistake: Mistake, lines: list[str]) -> str:
    shown = [f"# {name}\n{text.rstrip()}" for name, text in mistake.files.items() if name.endswith(".yaml")]
    files = "".join(f"\n```yaml\n{text}\n```\n" for text in shown)
    call = "\n".join([f"$ {mistake.command}", *lines])
    code = "" if mistake.code == 2 else f"\nExit code {mistake.code}.\n"
    return f"\n### {mistake.what}\n{files}\n```text\n{call}\n```\n{code}"


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[int, list[str]]]:
    prepared = tmp_path_factory.mktemp("prepared")
    make_repository(prepared)
    found = {}
    for mistake in MISTAKES:
        folder = tmp_path_factory.mktemp("mistake")
        if mistake.repository:
            shutil.copytree(prepared, folder, dirs_exist_ok=True)
        found[mistake.what] = answer(mistake, folder)
    return found


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_is_answered_with_its_exit_code_and_lines_that_help(answers, mistake):
    code, lines = answers[mistake.what]

    assert code == mistake.code
    assert len(lines) >= 1
    assert len(lines) <= (2 if "Several" in mistake.what else 1) or mistake.code == 3
    assert [text for text in mistake.told if text not in "\n".join(lines)] == []
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

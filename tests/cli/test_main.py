"""Whatever happens becomes an exit code and at most one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types

import click
import pytest

from firstlight.cli import main
from firstlight.cli.logs import configure_logging, current_settings, log_options
from firstlight.errors import AlgorithmError, ConfigError, NoWorkFound, PartialResult, PsfError

CAUSE = PsfError("No star is left of 12 candidates.", n_candidates=12)
ENDS = [
    (ConfigError("calibrate:psf.oder: no such field; did you mean 'order'? (from -c)"), 2),
    (AlgorithmError("Nothing stands above 5 sigma."), 1),
    (PartialResult("psf_pass_1", CAUSE, {}), 1),
    (NoWorkFound("There is no image."), 3),
    (OSError(errno.ENOSPC, "No space left on device", "out/a.fits"), 2),
    (KeyboardInterrupt(), 130),
    (ZeroDivisionError("division by zero"), 70),
]


@pytest.fixture
def command(monkeypatch):
    """Return a function that makes ``firstlight try`` do something."""

    def install(action):
        module = types.ModuleType("firstlight_test_command")
        setattr(module, "try", click.command(name="try")(log_options(lambda: action())))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(main.COMMANDS, "try", main.LazyCommand(module.__name__, "Test."))

    return install


def raiser(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(("error", "code"), ENDS, ids=lambda value: type(value).__name__)
def test_every_error_is_one_line_and_says_whose_fault_it_is(command, capsys, error, code):
    command(raiser(error))

    assert main.run(["try"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("firstlight: ")


def test_several_mistakes_in_settings_are_one_line_each(command, capsys):
    command(raiser(ConfigError("first\nsecond")))

    assert main.run(["try"]) == 2
    assert capsys.readouterr().err == "firstlight: first\nfirstlight: second\n"


def test_the_traceback_of_a_bug_is_shown_with_v(command, capsys):
    command(raiser(ZeroDivisionError("division by zero")))

    main.run(["try"])
    assert "Traceback" not in capsys.readouterr().err
    main.run(["-v", "try"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["proces"], "did you mean 'process'?"),
        (["--vrsion"], "--version"),
        (["process", "--refcta", "t.csv"], "--refcat"),
        (["process"], "IMAGE"),
        (["process", "a.fits"], "--output"),
        (["process", "a.fits", "-o", "x", "--ra", "10"], "--ra and --dec"),
        (["process", "a.fits", "-o", "x", "--ra", "400", "--dec", "0"], "400"),
        (["process", "a.fits", "b.fits", "-o", "x", "--snap", "c.fits"], "--snap"),
        (["process", "a.fits", "-o", "x", "--scale-low", "2", "--scale-high", "1"], "--scale-low"),
    ],
    ids=" ".join,
)
def test_a_mistake_on_the_command_line_is_one_line_with_a_hint(capsys, arguments, hint):
    assert main.run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert hint in said.err
    assert "--help'" in said.err


@pytest.mark.parametrize("arguments", [["-v", "try"], ["try", "-v"]])
def test_verbosity_counts_before_and_after_the_name_of_the_command(command, arguments):
    seen = []
    command(lambda: seen.append(current_settings().verbosity))

    assert main.run(arguments) == 0
    assert seen == [1]


@pytest.mark.parametrize(("options", "shown"), [([], []), (["-v"], ["told"]), (["-vv"], ["told", "detail"])])
def test_logs_go_to_stderr_and_are_quiet_unless_asked(command, capsys, options, shown):
    def action():
        import structlog

        configure_logging()
        structlog.get_logger().info("told", n=3)
        structlog.get_logger().debug("detail")

    command(action)
    main.run(["try", *options])
    said = capsys.readouterr()

    assert said.out == ""
    assert [word for word in ("told", "detail") if word in said.err] == shown


def test_without_a_command_the_help_is_shown(capsys):
    assert main.run([]) == 0
    assert capsys.readouterr().out.startswith("Usage: firstlight")


def test_a_closed_pipe_is_silent():
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = "from firstlight.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)

    assert done.stderr == ""

"""Runs through Parsl, with its real workers on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from .numbers import call, command, expected, leftovers, make_repo, numbers_of

pytest.importorskip("parsl")

pytestmark = pytest.mark.slow

SITE = "provider: local\nworkers_per_node: 2\n"
VISITS = 8


@pytest.fixture
def folder(tmp_path) -> Path:
    make_repo(tmp_path, visits=VISITS)
    (tmp_path / "local.yaml").write_text(SITE)
    return tmp_path


def files_of(folder: Path, output: str) -> dict[str, bytes]:
    root = folder / "repo" / output / "1"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*_number*.json")
        if ".quanta" not in path.parts
    }


def marked(mark: str) -> dict[int, str]:
    """Return process -> command line of everything that was started with ``mark`` in its environment."""
    found: dict[int, str] = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (place / "environ").read_bytes():
                found[int(place.name)] = (place / "cmdline").read_text().replace("\0", " ")
    return found


def started(mark: str) -> dict[int, str]:
    """Return the processes of a driver, once the workers of Parsl are among them."""
    for _ in range(150):
        found = marked(mark)
        if any("process_worker_pool" in line for line in found.values()):
            return found
        time.sleep(0.1)
    raise AssertionError("no worker of Parsl was started")


def test_parsl_makes_the_same_bytes_as_one_process(folder):
    one = call(folder, output="one")
    many = call(folder, "--site", folder / "local.yaml", "--timeout", 60, output="many")

    assert (one.returncode, many.returncode) == (0, 0), many.stderr
    assert numbers_of(folder, "many") == expected(VISITS)
    assert files_of(folder, "one") == files_of(folder, "many")
    assert leftovers(folder) == []


def heed_ctrl_c():
    """Undo that shells let what they start in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("victim", ["driver", "workers"])
def test_parsl_ends_cleanly_when_something_is_stopped_and_the_same_command_goes_on(folder, victim):
    words = command(folder, "--site", folder / "local.yaml")
    mark = f"FIRSTLIGHT_MARK={folder}"
    environment = os.environ | dict([mark.split("=", 1)])
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_ctrl_c) as driver:
        there = started(mark)
        if victim == "driver":
            time.sleep(1.0)
            driver.send_signal(signal.SIGINT)
        else:
            for pid, line in there.items():
                if "process_worker_pool" in line:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        _, said = driver.communicate(timeout=120)
    time.sleep(1.0)
    left = marked(mark)
    done = call(folder)

    assert "Traceback" not in said
    assert driver.returncode in ((130,) if victim == "driver" else (0, 1)), said
    assert left == {}
    assert done.returncode == 0, done.stderr
    assert numbers_of(folder) == expected(VISITS)
    assert leftovers(folder) == []

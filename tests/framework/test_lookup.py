"""Tasks are found by name in installed packages only, and imported only when used."""

import subprocess
import sys

import pytest

from firstlight.errors import ConfigError
from firstlight.framework import did_you_mean, find_class, known_tasks
from firstlight.framework.families import list_tasks, members
from firstlight.framework.lookup import name_of
from firstlight.testing.arithmetic import AddTask


def test_a_path_names_a_class_of_an_installed_package():
    assert find_class("firstlight.testing.arithmetic:AddTask") is AddTask


def test_a_class_is_written_so_that_it_is_found_again():
    assert find_class(name_of(AddTask)) is AddTask


def test_nothing_is_imported_before_a_task_is_used(installed):
    installed("eager", "import nothing_of_that_name", {"EagerTask": "EagerTask"})

    assert "EagerTask" in known_tasks()
    with pytest.raises(ConfigError, match=r"'eager:EagerTask' cannot be imported: No module named"):
        find_class("EagerTask")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise RuntimeError('no licence\\nfound')", "RuntimeError: no licence"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyError", "KeyError"),
        ("x ==", "SyntaxError: invalid syntax"),
    ],
)
def test_a_package_that_breaks_in_any_way_is_one_line_and_hides_no_other_task(installed, source, told):
    installed("broken", source, {"BrokenTask": "BrokenTask"})

    listed = {each.name: each for each in list_tasks()}

    assert listed["BrokenTask"].problem.startswith(f"'broken:BrokenTask' cannot be imported: {told}")
    assert "\n" not in listed["BrokenTask"].problem
    assert [each.name for each in members("PsfTask") if each.name.endswith("PsfTask")]


def test_a_clash_of_short_names_lists_both(installed):
    installed("one_package", "class SameTask: ...", {"SameTask": "SameTask"})
    installed("two_package", "class SameTask: ...", {"SameTask": "SameTask"})

    with pytest.raises(ConfigError) as raised:
        find_class("SameTask")

    assert "one_package (one_package:SameTask) and two_package (two_package:SameTask)" in str(raised.value)
    assert find_class("two_package:SameTask").__module__ == "two_package"


def test_a_class_with_a_clashing_name_is_written_by_its_path(installed):
    installed("one_package", "class SameTask: ...", {"SameTask": "SameTask"})
    installed("two_package", "class SameTask: ...", {"SameTask": "SameTask"})

    assert name_of(find_class("one_package:SameTask")) == "one_package:SameTask"


@pytest.mark.parametrize("invocation", [["-c"], ["-m", "probe"]])
def test_a_module_of_the_working_directory_is_refused(tmp_path, invocation):
    (tmp_path / "mine.py").write_text("raise SystemExit('imported')")
    probe = "from firstlight.framework import find_class; find_class('mine:MyTask')"
    (tmp_path / "probe.py").write_text(probe)
    run = subprocess.run(
        [sys.executable, *(["-c", probe] if invocation == ["-c"] else invocation)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "ConfigError" in run.stderr
    assert "'mine' is only in the working directory; install the package first" in run.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_package:Task", "no package 'no_such_package' is installed"),
        ("__main__:Task", "no package '__main__' is installed"),
        ("os.path/../x:Task", "is not of the form package.module:Class"),
        (":Task", "is not of the form package.module:Class"),
        ("firstlight.testing.arithmetic:subtask", "is not a class but a function"),
        ("firstlight.testing.no_such:Task", "cannot be imported"),
    ],
)
def test_a_path_that_leads_nowhere_says_why(path, words):
    with pytest.raises(ConfigError, match=words):
        find_class(path)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("oder", "; did you mean 'order'?"),
        ("ORDER", "; did you mean 'order'?"),
        ("xyz", ""),
        ("sise", "; did you mean 'size'?"),
    ],
)
def test_the_nearest_name_is_suggested_only_when_it_is_near(word, hint):
    assert did_you_mean(word, ["order", "size"]) == hint


def test_the_framework_loads_neither_numpy_nor_astropy():
    probe = "import sys, firstlight.framework; print([m for m in ('numpy', 'astropy', 'scipy') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"

"""``firstlight run``: what it does once, what it does again, and what it refuses."""

from __future__ import annotations

import pytest

from firstlight.execution.plan import Plan
from firstlight.repo.repo import Repo

from .numbers import about, call, command, expected, firstlight, leftovers, make_repo, numbers_of, statuses

VISITS, NEGATIVE = 6, (2,)


@pytest.fixture
def folder(tmp_path):
    make_repo(tmp_path, visits=VISITS, negative=NEGATIVE)
    return tmp_path


def test_a_run_makes_everything_it_can_and_says_what_it_could_not(folder):
    done = call(folder)

    assert done.returncode == 1
    assert "correct (instrument=x visit=2 detector=0) failed: A number below its bias means nothing" in done.stderr
    assert numbers_of(folder) == expected(VISITS, negative=NEGATIVE)
    assert statuses(folder, "night/1") == {"blocked": 2, "done": 20, "failed": 2}
    assert about(folder, "night/1")["status"] == "finished"
    assert leftovers(folder) == []


def test_the_same_command_again_does_nothing(folder):
    call(folder)
    again = call(folder)

    assert (again.returncode, again.stderr.splitlines()[-1]) == (0, "night: everything is done (24 quanta).")
    with Repo.open(folder / "repo") as repo:
        assert [each.name for each in repo.collections("night/*")] == ["night/1"]


@pytest.mark.parametrize("jobs", [2, 3])
def test_the_number_of_processes_changes_nothing(folder, jobs):
    call(folder, output="one")
    call(folder, "-j", jobs, output="many")

    assert numbers_of(folder, "one") == numbers_of(folder, "many")
    files = {
        output: {
            path.name: path.read_bytes()
            for path in (folder / "repo" / output).rglob("*_number*.json")
            if ".quanta" not in path.parts
        }
        for output in ("one", "many")
    }
    assert files["one"] == files["many"]


def test_other_settings_into_the_same_output_are_refused_with_the_way_out(folder):
    call(folder)
    done = call(folder, "-c", "correct:step.amount=2")

    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("firstlight: ")]
    assert "night: was made with other settings" in line
    assert "--new" in line


def test_redo_does_a_task_and_what_hangs_on_it_in_another_run_in_front(folder):
    call(folder)
    done = call(folder, "--redo", "total", "-c", "total:least=1")

    assert done.returncode == 1, done.stderr
    assert statuses(folder, "night/2") == {"blocked": 2, "done": 10}
    with Repo.open(folder / "repo") as repo:
        assert [each for each in repo.collections("night")[0].members if each.startswith("night/")] == [
            "night/2",
            "night/1",
        ]
    assert numbers_of(folder) == expected(VISITS, negative=NEGATIVE)


def test_new_does_everything_again_and_overwrites_nothing(folder):
    call(folder)
    before = {path: path.read_bytes() for path in (folder / "repo" / "night" / "1").rglob("*_number*.json")}
    done = call(folder, "--new", "-c", "correct:step.amount=2.5")

    assert done.returncode == 1
    assert {path: path.read_bytes() for path in before} == before
    assert numbers_of(folder)["corrected_number", 0, 0] == 2.5


def test_new_data_go_into_another_run_and_the_rest_stays(folder):
    call(folder)
    with Repo.open(folder / "repo") as repo:
        for detector in (0, 1):
            repo.put(1.0, "raw_number", run="raw/x", instrument="x", visit=99, detector=detector)
    done = call(folder)

    assert done.returncode == 0, done.stderr
    assert statuses(folder, "night/2") == {"done": 4}
    assert numbers_of(folder)["total_number", 99, None] == 5.0


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(folder):
    done = call(folder, "--dry-run", "-d", "visit in (1..3)")

    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "correct: 6 found -> 6 quanta",
        "total: 3 found -> 3 quanta",
        "compare: 3 found -> 3 quanta",
        "12 to do in night/1",
    ]
    with Repo.open(folder / "repo") as repo:
        assert repo.collections("night*") == []


def test_an_empty_plan_says_which_step_emptied_it(folder):
    done = call(folder, "-d", "visit = 77")

    assert done.returncode == 3
    assert "no raw_number: none is in raw/x where visit = 77" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-d", "vist = 1"), "did you mean 'visit'"),
        (("-i", "rwa/x"), "did you mean 'raw/x'"),
        (("--redo", "totl"), "did you mean 'total'"),
        (("-c", "totl:least=1"), "did you mean 'total'"),
    ],
)
def test_a_mistake_is_one_line_with_a_suggestion(folder, options, words):
    done = call(folder, *options)

    lines = [line for line in done.stderr.splitlines() if line.startswith("firstlight: ")]
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    assert words in lines[0]


def test_a_saved_plan_is_loaded_without_importing_a_task(folder):
    path = folder / "plan.gz"
    call(folder, "--dry-run", "--save-plan", path)
    plan = Plan.load(path)

    assert plan.counts() == {"correct": 12, "total": 6, "compare": 6}
    assert next(iter(plan.ledger())) == "correct: 12 found -> 12 quanta"
    plan.save(folder / "again.gz")
    assert (folder / "again.gz").read_bytes() == path.read_bytes()


@pytest.fixture
def planned(folder):
    """A plan that was saved before anything was run."""
    path = folder / "night.plan"
    assert call(folder, "--dry-run", "--save-plan", path, "-d", "visit in (0..3)").returncode == 0
    return path


def load_plan(folder, path, *options):
    """Call ``firstlight run`` with a saved plan in the place of a pipeline."""
    words = command(folder)
    place = words.index("-p")
    return firstlight([*words[:place], *words[place + 2 :], "--load-plan", str(path), *map(str, options)])


def test_a_saved_plan_is_run_as_it_was_planned_and_goes_on_like_any_other(folder, planned):
    (folder / "night.yaml").write_text("this is no pipeline any more")
    done = load_plan(folder, planned, "-j", 2)
    again = load_plan(folder, planned)

    assert done.returncode == 1, done.stderr
    assert numbers_of(folder) == expected(4, negative=NEGATIVE)
    assert (again.returncode, again.stderr.splitlines()[-1]) == (0, "night: everything is done (16 quanta).")
    assert about(folder, "night/1")["where"] == "visit in (0..3)"


def test_a_saved_plan_whose_inputs_are_gone_or_changed_is_refused_in_one_line(folder, planned):
    with Repo.open(folder / "repo") as repo:
        row = repo.find("raw_number", collections="raw/x", instrument="x", visit=1, detector=1)
        row.path.rename(folder / "elsewhere")
        gone = load_plan(folder, planned)
        repo.prune("raw_number", collections="raw/x", where="visit = 1 and detector = 1")
        repo.put(7.0, "raw_number", run="raw/x", instrument="x", visit=1, detector=1)
    changed = load_plan(folder, planned)

    for done, words in ((gone, "1 of 8 inputs are not there"), (changed, "1 of 8 inputs are not in the repository as")):
        [line] = [line for line in done.stderr.splitlines() if line.startswith("firstlight: ")]
        assert done.returncode == 2
        assert words in line
        assert "such as raw_number (instrument=x visit=1 detector=1" in line


@pytest.mark.parametrize("options", [("-d", "visit = 1"), ("-c", "total:least=1"), ("-p", "night.yaml")])
def test_a_saved_plan_is_not_run_with_other_choices(folder, planned, options):
    done = load_plan(folder, planned, *options)

    assert done.returncode == 2
    assert "saved plan" in done.stderr


def test_a_vanished_file_fails_the_work_that_needs_it_and_nothing_else(folder):
    with Repo.open(folder / "repo") as repo:
        row = repo.find("raw_number", collections="raw/x", instrument="x", visit=4, detector=1)
    row.path.unlink()
    done = call(folder, "-j", 2)

    assert done.returncode == 1
    assert "correct (instrument=x visit=4 detector=1) error" in done.stderr
    shown = numbers_of(folder)
    assert ("corrected_number", 4, 1) not in shown
    assert shown["total_number", 4, None] == 41.5
    row.path.write_text("41.0")


def test_a_repository_that_was_moved_goes_on_and_redoes_on_what_lies_there_now(folder, tmp_path_factory):
    call(folder)
    moved = tmp_path_factory.mktemp("moved")
    (folder / "repo").rename(moved / "repo")
    (moved / "night.yaml").write_text((folder / "night.yaml").read_text())
    done = call(moved, "--redo", "total")

    assert statuses(moved, "night/2") == {"blocked": 2, "done": 10}, done.stderr
    assert numbers_of(moved) == expected(VISITS, negative=NEGATIVE)


def test_what_was_pruned_is_made_again_when_it_is_needed(folder):
    call(folder)
    with Repo.open(folder / "repo") as repo:
        repo.prune("corrected_number", collections="night/1")
    done = call(folder, "--redo", "total")

    assert done.returncode == 1, done.stderr
    assert statuses(folder, "night/2")["done"] == 20
    assert numbers_of(folder) == expected(VISITS, negative=NEGATIVE)

"""What is kept of the images of a night depends on the images, and not on when each of them came."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain, repeat

import numpy as np
import pytest

from firstlight.cli.pipeline_options import SettingsOptions, built_pipeline
from firstlight.execution.alerts import AlertSource
from firstlight.execution.driver import DriverOptions
from firstlight.execution.executor import InProcessExecutor
from firstlight.execution.follow import LATE, CheckedCandidates, Follower, FollowSettings
from firstlight.execution.follow_log import FollowLog
from firstlight.execution.inbox import Inbox
from firstlight.execution.night_log import NightLog
from firstlight.execution.stopping import StopRequest
from firstlight.execution.watch import Watcher, WatchSettings
from firstlight.instruments.translation import translate_file
from firstlight.repo.dataset_types import DatasetType
from firstlight.repo.object_schema import detection, forced_flux, sky_object
from firstlight.repo.objects import select_rows
from firstlight.tasks.associate import AssociateTask
from firstlight.tasks.measure_place import MeasurePlaceTask

from .difference_nights import DIMENSIONS, RUN, add_images, make_repo


def take_all(candidates, mjd):
    return CheckedCandidates(candidates, np.ones(len(candidates), dtype=bool))


def follower_in(repo, *, forced="difference_image"):
    settings = FollowSettings(
        AssociateTask(), take_all, AlertSource((RUN,)), MeasurePlaceTask(), forced=forced, alerts=False
    )
    return Follower(repo, RUN, settings, FollowLog.open(repo.root / "objects.json"))


def kept(repo):
    with repo.database.read() as connection:
        tables = {each.name: select_rows(connection, each) for each in (sky_object, detection, forced_flux)}
    return {name: sorted(str(tuple(row)) for row in table) for name, table in tables.items()}


@pytest.fixture(scope="module")
def in_time(tmp_path_factory):
    """All that is kept when each image is followed as it comes, and the night ends once."""
    with make_repo(tmp_path_factory.mktemp("in_time") / "repo", visits=()) as repo:
        follower = follower_in(repo)
        for visit in range(3):
            add_images(repo, visit)
            follower.follow()
        follower.finish()
        return kept(repo)


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("ends", ["often", "once"])
def test_objects_and_fluxes_at_their_places_do_not_depend_on_the_order_of_arrival(tmp_path, in_time, order, ends):
    with make_repo(tmp_path / "repo", visits=()) as repo:
        for visit in order:
            add_images(repo, visit)
            follower = follower_in(repo)
            follower.follow()
            if ends == "often":
                follower.finish()
        follower.finish()

        assert len(in_time["forced_flux"]) == 3 * len(in_time["sky_object"])
        assert kept(repo) == in_time


def test_a_night_that_has_ended_needs_nothing_more(tmp_path):
    with make_repo(tmp_path / "repo") as repo:
        follower = follower_in(repo)

        assert len(follower.follow()) == 3
        assert len(follower.finish()) > 0
        assert follower.finish() == []
        assert follower_in(repo).follow() == []
        assert follower_in(repo).finish() == []


def test_the_end_of_a_night_can_be_done_image_by_image(tmp_path, in_time):
    with make_repo(tmp_path / "repo") as repo:
        follower_in(repo).follow()
        before = kept(repo)
        assert follower_in(repo).finish(stop=lambda: True) == []
        assert kept(repo) == before

        measured = []
        for n_images in (1, 2, 3):
            asked = chain(repeat(False, n_images), repeat(True))
            measured.append(len(follower_in(repo).finish(stop=partial(next, asked))))

        assert max(measured) == 1
        assert kept(repo) == in_time


def watcher_in(repo, folder, *, stop):
    pipeline = built_pipeline("single_frame.yaml#isr", SettingsOptions())
    settings = WatchSettings(pipeline, "night", (), "", "", DriverOptions())
    return Watcher(
        repo,
        Inbox(folder, settle_s=1e6),
        NightLog.open(folder / "night.json"),
        settings,
        translate_file,
        InProcessExecutor,
        print,
        follower=follower_in(repo),
        stop=stop,
    )


def test_what_is_left_when_the_end_is_asked_for_is_done_by_the_next_start_while_nothing_arrives(tmp_path, in_time):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    with make_repo(tmp_path / "repo") as repo:
        follower_in(repo).follow()
        before, asked = kept(repo), StopRequest()
        asked.ask()
        watcher_in(repo, incoming, stop=asked).close()
        assert kept(repo) == before

        watcher = watcher_in(repo, incoming, stop=StopRequest())
        (incoming / "arrives.fits").write_text("a part")
        watcher.look()
        assert kept(repo) == before
        (incoming / "arrives.fits").unlink()
        watcher.look()
        assert kept(repo) == in_time != before


def test_an_image_that_cannot_be_read_at_the_end_of_a_night_holds_up_no_other_one(tmp_path, in_time):
    with make_repo(tmp_path / "repo") as repo:
        follower = follower_in(repo)
        follower.follow()
        row = repo.find("difference_image", collections=RUN, instrument="camera", visit=0, detector=0)
        whole = row.path.read_bytes()
        row.path.chmod(0o644)
        row.path.write_bytes(whole[: len(whole) // 3])

        ended = {image.visit: image for image in follower.finish()}
        assert "is cut off" in ended[0].late_error
        assert ended[0].late_error.startswith(LATE)
        assert {number for number, image in ended.items() if image.late_error} == {0}
        assert FollowLog.open(follower.log.path).entries["camera_0_0"].late_error == ended[0].late_error

        row.path.write_bytes(whole)
        assert [image.late_error for image in follower_in(repo).finish()] == [""]
        assert kept(repo) == in_time


def test_the_images_that_are_measured_at_once_are_those_that_are_measured_in_the_end(tmp_path):
    def fluxes(repo):
        with repo.database.read() as connection:
            rows = select_rows(connection, forced_flux)
        return {(int(row["object_id"]), int(row["visit"])): float(row["flux"]) for row in rows}

    found = []
    for name in ("difference_image", "brighter_image"):
        with make_repo(tmp_path / name) as repo:
            repo.register_type(DatasetType("brighter_image", DIMENSIONS, "exposure"))
            for row in repo.datasets("difference_image", collections=RUN):
                image = repo.read(row)
                brighter = replace(image, image=2 * image.image, variance=4 * image.variance)
                repo.put(brighter, "brighter_image", run=RUN, **row.data_id)
            follower = follower_in(repo, forced=name)
            follower.follow()
            at_once = fluxes(repo)
            follower.finish()
            found.append((at_once, fluxes(repo)))

    (at_once, in_the_end), (brighter_at_once, brighter_in_the_end) = found
    assert brighter_at_once == pytest.approx({key: 2 * flux for key, flux in at_once.items()}, rel=1e-5)
    assert brighter_in_the_end == pytest.approx({key: 2 * flux for key, flux in in_the_end.items()}, rel=1e-5)
    assert len(at_once) > 1

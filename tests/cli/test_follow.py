"""What is kept of the images of a night depends on the images, and not on when each of them came."""

from __future__ import annotations

import numpy as np
import pytest

from firstlight.execution.alerts import AlertSource
from firstlight.execution.follow import CheckedCandidates, Follower, FollowSettings
from firstlight.execution.follow_log import FollowLog
from firstlight.repo.object_schema import detection, forced_flux, sky_object
from firstlight.repo.objects import select_rows
from firstlight.tasks.associate import AssociateTask

from .difference_nights import RUN, add_images, make_repo


def take_all(candidates, mjd):
    return CheckedCandidates(candidates, np.ones(len(candidates), dtype=bool))


def follower_in(repo):
    settings = FollowSettings(AssociateTask(), take_all, AlertSource((RUN,)), forced="difference_image", alerts=False)
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
        assert follower.finish() > 0
        assert follower.finish() == 0
        assert follower_in(repo).follow() == []
        assert follower_in(repo).finish() == 0

"""What follows the tasks of a pipeline in a repository, as its ``afterwards`` says."""

from __future__ import annotations

from functools import partial

from firstlight.cli.candidate_steps import AfterwardsConfig, candidate_check, known_in
from firstlight.cli.night_stamps import FOLDER, draw_stamps
from firstlight.execution import follow_log
from firstlight.execution.alerts import AlertSource
from firstlight.execution.follow import Follower, FollowSettings
from firstlight.execution.follow_log import FollowLog
from firstlight.framework import BuiltPipeline
from firstlight.images.alert_file import require_writer
from firstlight.repo.repo import Repo


def follower_of(repo: Repo, pipeline: BuiltPipeline, output: str) -> Follower | None:
    """Return what follows the tasks of a pipeline; None where its file has no ``afterwards``.

    Parameters
    ----------
    repo, pipeline
    output
        The chain that shows the results.

    Raises
    ------
    UserError
        If a setting does not fit, a table cannot be read, alerts cannot be written, or the objects of the repository
        were found with other settings.
    """
    if pipeline.afterwards is None:
        return None
    config = pipeline.afterwards.settled(AfterwardsConfig)
    source = AlertSource((output,))
    if config.alerts is not None:
        require_writer()
        source = AlertSource((output,), size=config.alerts.size, history=config.alerts.history_days)
    settings = FollowSettings(
        associate=config.associate.make(),
        check=candidate_check(config, known_in(config.known, online=config.online)),
        source=source,
        forced=config.forced,
        forced_days=config.forced_days,
        alerts=config.alerts is not None,
        draw=partial(draw_stamps, repo.root / output / FOLDER),
    )
    follower = Follower(repo, output, settings, FollowLog.open(repo.root / output / follow_log.NAME))
    follower.require_settings()
    return follower

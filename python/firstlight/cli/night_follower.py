"""What follows the tasks of a pipeline in a repository, as its ``afterwards`` says."""

from __future__ import annotations

from functools import partial

from firstlight.cli.candidate_steps import AfterwardsConfig, candidate_check, known_in
from firstlight.cli.night_stamps import FOLDER, draw_stamps
from firstlight.execution import follow_log
from firstlight.execution.alerts import AlertSource
from firstlight.execution.association import require_same_settings
from firstlight.execution.follow import Follower, FollowSettings
from firstlight.execution.follow_log import FollowLog
from firstlight.images.alert_file import require_writer
from firstlight.repo.repo import Repo


def follower_of(repo: Repo, config: AfterwardsConfig, output: str) -> Follower:
    """Return what follows the tasks of a pipeline.

    Parameters
    ----------
    repo, config
    output
        The chain that shows the results.

    Raises
    ------
    UserError
        If a table cannot be read, alerts cannot be written, or the objects of the repository were found with other
        settings.
    """
    source = AlertSource((output,))
    if config.alerts is not None:
        require_writer()
        source = AlertSource((output,), size=config.alerts.size, history=config.alerts.history_days)
    associate = config.associate.make()
    require_same_settings(repo, associate)
    settings = FollowSettings(
        associate=associate,
        check=candidate_check(config, known_in(config.known, online=config.online)),
        source=source,
        measure=config.forced_fluxes.make(),
        forced=config.forced,
        forced_days=config.forced_days,
        alerts=config.alerts is not None,
        draw=partial(draw_stamps, repo.root / output / FOLDER),
    )
    return Follower(repo, output, settings, FollowLog.open(repo.root / output / follow_log.NAME))

"""Whether a saved plan still fits: what it reads is there as it was, and its tasks are of the same versions."""

from __future__ import annotations

from pathlib import Path

from firstlight.errors import RepoError
from firstlight.execution.installed import versions_of
from firstlight.execution.lookups import REFCAT
from firstlight.execution.plan import Plan, PlannedInput
from firstlight.framework import DataId
from firstlight.repo.reference_catalogs import refcats
from firstlight.repo.repo import Repo


def fresh_plan(plan: Plan, repo: Repo, *, path: Path) -> Plan:
    """Return a saved plan that is to be run now.

    Parameters
    ----------
    plan, repo
    path
        Where the plan was read from.

    Raises
    ------
    RepoError
        If an input is gone or has changed, or the tasks are of other versions than then.
    """
    now = versions_of(plan.steps)
    if now != plan.versions:
        then_text, now_text = (
            ", ".join(f"{name} {number}" for name, number in each.items()) or "no installed package"
            for each in (plan.versions, now)
        )
        raise RepoError(f"{path}: was planned with {then_text}, and the tasks are now of {now_text}; plan again.")
    known = {(row.type, row.path): row.key for row in _known(repo, plan)}
    gone = [each for each in plan.inputs if not Path(each.path).exists()]
    other = [each for each in plan.inputs if known.get((each.type, each.path)) != each.key]
    for stale, words in ((gone, "are not there any more"), (other, "are not in the repository as they were")):
        if stale:
            first = f"{stale[0].type} ({stale[0].data_id}) in {stale[0].path}"
            number = f"{len(stale)} of {len(plan.inputs)} inputs {words}"
            raise RepoError(f"{path}: {number}, such as {first}; plan again.")
    return plan


def _known(repo: Repo, plan: Plan) -> list[PlannedInput]:
    """Return what the repository has now of the kinds that a plan reads."""
    found = [PlannedInput(each.name, DataId(), each.path, each.checksum, REFCAT) for each in refcats(repo).values()]
    names = set(repo.type_names())
    for name in {each.type for each in plan.inputs if each.storage != REFCAT} & names:
        rows = repo.datasets(name, collections=plan.collections, find_first=False)
        found += [PlannedInput(name, row.data_id, row.location, row.checksum, "") for row in rows]
    return found

"""How the prerequisites of a piece of work are found: by name, by date, by place on the sky, by data id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from firstlight.errors import PipelineError
from firstlight.execution.joins import Found, Key, shared_names
from firstlight.execution.plan import Plan, PlannedInput, key_values
from firstlight.framework import DataId, Lookup, Prerequisite
from firstlight.framework.task_graph import TaskNode
from firstlight.repo.records import exposures, visits
from firstlight.repo.reference_catalogs import refcats
from firstlight.repo.repo import Repo
from firstlight.repo.rows import Certified

if TYPE_CHECKING:
    from firstlight.repo.regions import Region

REFCAT = "refcat"
"""Storage of a reference catalogue, which lies outside the repository."""

ON_THE_SKY = frozenset({"exposure", "visit", "detector", "skymap", "tract", "patch"})
"""Dimensions of which a lookup by region asks no equality: what overlaps may be of another visit."""

Find = Callable[[DataId], list[int]]
"""Piece of work -> numbers of inputs of the plan, or of planned outputs."""

MISSING = {
    Lookup.DATA_ID: "has its data id",
    Lookup.VALIDITY: "is certified for its date",
    Lookup.REGION: "is registered or overlaps it",
}


class Lookups:
    """Finds prerequisites for a plan.

    Parameters
    ----------
    plan
        Takes up what is found in the repository.
    repo, collections
        Where to look.
    datasets
        Returns the datasets of a type, made earlier in the plan or found in the repository.
    """

    def __init__(self, plan: Plan, repo: Repo, collections: Sequence[str], datasets: Callable[[str], Found]) -> None:
        self._plan = plan
        self._repo = repo
        self._collections = collections
        self._datasets = datasets
        self._refcats = refcats(repo)
        self._dates: dict[str, dict[Key, float]] = {}
        self._regions: list[Region] | None = None

    def of(self, node: TaskNode, name: str, *, made: Collection[str]) -> Find:
        """Return what finds the datasets of a prerequisite.

        Parameters
        ----------
        node
            The task.
        name
            Of the prerequisite.
        made
            Dataset types that tasks of the pipeline make.

        Raises
        ------
        PipelineError
            If it is to be found on the sky, and has no place there that a repository knows.
        """
        connection = node.connections.prerequisites[name]
        if (refcat := self._refcats.get(connection.name)) is not None:
            place = len(self._plan.inputs)
            self._plan.inputs.append(PlannedInput(connection.name, DataId(), refcat.path, refcat.checksum, REFCAT))
            return lambda _: [place]
        if connection.lookup is Lookup.VALIDITY:
            certified = self._valid(connection, may_lack=connection.name in made or connection.minimum == 0)
            return self._made_first(node, connection, certified) if connection.name in made else certified
        if connection.lookup is Lookup.REGION:
            return self._overlapping(node, name, connection)
        return self._same(node, connection)

    def _same(self, node: TaskNode, connection: Prerequisite) -> Find:
        found = self._datasets(connection.name)
        names = shared_names(found, node.connections.dimensions_of(connection))
        return lambda data_id: [found.sources[each] for each in found.by(names).get(key_values(data_id, names), ())]

    def _made_first(self, node: TaskNode, connection: Prerequisite, certified: Find) -> Find:
        """Return what finds the calibration that this run makes itself; where it makes none, the certified one."""
        own = self._same(node, connection)
        return lambda data_id: own(data_id) or certified(data_id)

    def _overlapping(self, node: TaskNode, name: str, connection: Prerequisite) -> Find:
        found = self._datasets(connection.name)
        if not found.data_ids:
            if connection.minimum == 0:
                known = ", ".join(self._refcats) or "none"
                self._plan.notes.append(
                    f"{node.label} runs without {name!r}: no reference catalogue is registered as {connection.name!r} "
                    f"(registered: {known}; -c {node.label}:connections.{name}=NAME takes another one)"
                )
            return lambda _: []
        own, theirs = node.connections.dimensions, node.connections.dimensions_of(connection)
        for whose, place in (("the work", own), (f"{connection.name!r}", tuple(found.data_ids[0]))):
            if "patch" in place or not {"visit", "exposure", "tract"}.intersection(place):
                kinds = ", ".join(place) or "nothing"
                raise PipelineError(
                    f"{node.label}: {name!r} is looked up on the sky, and {whose} is for each {kinds}; "
                    "only visits and tracts have a known place there."
                )
        from firstlight.execution.sky_join import SkyJoin

        join = SkyJoin(self.all_regions(), found.data_ids, tracts=self._tracts())
        names = tuple(each for each in shared_names(found, theirs) if each not in ON_THE_SKY)

        def find(data_id: DataId) -> list[int]:
            same = key_values(data_id, names)
            near = [each for each in join.overlapping(data_id) if key_values(found.data_ids[each], names) == same]
            return [found.sources[each] for each in (sorted(near) if connection.multiple else near[:1])]

        return find

    def _tracts(self) -> dict[tuple[str, int], tuple[float, float, float]]:
        """Return where the tracts lie that the collections have."""
        from firstlight.repo.skymaps import tracts_in

        return {
            (str(data_id["skymap"]), int(data_id["tract"])): grid.sky_circle()
            for data_id, grid in tracts_in(self._repo, self._collections)
        }

    def all_regions(self) -> list[Region]:
        """Return where each detector of each visit lies."""
        if self._regions is None:
            from firstlight.repo import regions

            self._regions = regions.all_regions(self._repo)
        return self._regions

    def _valid(self, connection: Prerequisite, *, may_lack: bool) -> Find:
        """Return what finds the calibration that holds on the date of a piece of work."""
        lacks = may_lack and connection.name not in self._repo.type_names()
        certified = [] if lacks else self._repo.certified(connection.name, collections=self._collections)
        storage = self._repo.dataset_type(connection.name).storage if certified else ""
        places: dict[int, int] = {}
        for row in (each.row for each in certified):
            if row.id not in places:
                places[row.id] = len(self._plan.inputs)
                self._plan.inputs.append(PlannedInput(row.type, row.data_id, row.location, row.checksum, storage))
        groups: dict[tuple[str, ...], dict[Key, list[Certified]]] = {}

        def find(data_id: DataId) -> list[int]:
            """Return those of the first collection that has any; more than one where the work leaves it open."""
            names = tuple(name for name in (certified[0].row.data_id if certified else ()) if name in data_id)
            if names not in groups:
                groups[names] = {}
                for each in certified:
                    groups[names].setdefault(key_values(each.row.data_id, names), []).append(each)
            date = self._date(data_id)
            there = groups[names].get(key_values(data_id, names), ())
            held = [each for each in there if date is None or each.begin_mjd <= date < each.end_mjd]
            first = min((each.rank for each in held), default=0)
            return list(dict.fromkeys(places[each.row.id] for each in held if each.rank == first))

        return find

    def _date(self, data_id: DataId) -> float | None:
        kind = "visit" if "visit" in data_id else "exposure"
        if kind not in self._dates:
            self._dates[kind] = {
                (one.instrument, getattr(one, kind)): one.mjd_tai
                for one in (visits(self._repo) if kind == "visit" else exposures(self._repo))
                if one.mjd_tai is not None
            }
        return self._dates[kind].get(key_values(data_id, ("instrument", kind)))

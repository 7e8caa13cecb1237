from __future__ import annotations

import socket

import numpy as np
import pytest
from astropy.table import Table

from firstlight.errors import ConfigError, ReferenceCatalogError
from firstlight.framework import Layer, build_config
from firstlight.images.catalog_columns import ENDINGS, FLAGS
from firstlight.images.mask import BITS
from firstlight.refcats.known_objects import (
    FirstKnownObjects,
    LocalKnownObjects,
    OnlineKnownObjects,
    SkyRegion,
)
from firstlight.tasks.candidate_checks import FlagsCheckConfig
from firstlight.tasks.filter_candidates import FilterCandidatesConfig, FilterCandidatesTask
from firstlight.tasks.measure_pixels import PixelFlagsPlugin

ARCSEC = 1 / 3600
DEC = 80.0
MJD = 60000.0


def candidates(offsets_arcsec, *, error=0.1, **columns):
    n = len(offsets_arcsec)
    ra = (np.asarray(offsets_arcsec) * ARCSEC / np.cos(np.radians(DEC))) % 360
    errors = {name: np.full(n, error * ARCSEC) for name in ("ra_err", "dec_err")}
    return Table({"id": np.arange(1, n + 1), "ra": ra, "dec": np.full(n, DEC), **errors, **columns})


def one_place(name="X", offset=0.0, **columns):
    ra = (offset * ARCSEC / np.cos(np.radians(DEC))) % 360
    return Table({"name": [name], "ra": [ra], "dec": [DEC], **{k: [v] for k, v in columns.items()}})


NOTHING = {kind: one_place(offset=5e4) for kind in ("stars", "galaxies", "variable_stars", "minor_planets")}


def filtered(table, *, task=None, **known):
    return (task or FilterCandidatesTask()).run(table, mjd=MJD, known=LocalKnownObjects({**NOTHING, **known}))


def test_every_check_says_why_and_nothing_is_thrown_away():
    table = candidates([0, 100, 200, 300, 400, 500], saturated_center=[True, False, False, False, False, False])
    result = filtered(
        table,
        stars=one_place("Gaia 1", 100.5),
        variable_stars=one_place("RR Lyr (RRAB)", 201.0),
        minor_planets=one_place("Ceres", 303.0, position_error=1.0),
        galaxies=one_place("NGC 1", 400.3),
    )

    assert len(result.candidates) == 6
    assert result.kept.tolist() == [False, False, False, False, True, True]
    assert list(result.candidates["rejected_by"]) == ["flags", "stars", "variable_stars", "minor_planets", "", ""]
    assert list(result.candidates["notes"]) == [
        "flags: saturated_center",
        "stars: Gaia 1 at 0.50 arcsec",
        "variable_stars: RR Lyr (RRAB) at 1.00 arcsec",
        "minor_planets: Ceres at 3.00 arcsec",
        "galaxies: NGC 1 at 0.30 arcsec",
        "",
    ]
    assert result.not_done == {}
    assert result.gates[0].status == "ok"
    assert result.funnel.steps[-1][1] == 2


def test_a_candidate_with_several_faults_is_told_all_of_them():
    result = filtered(candidates([0.0], edge=[True]), stars=one_place("S"), variable_stars=one_place("V"))

    assert result.candidates["rejected_by"][0] == "flags,variable_stars,stars"
    assert result.candidates["notes"][0].count(";") == 2


def test_what_is_not_known_is_noted_as_not_done_and_rejects_nothing():
    result = FilterCandidatesTask().run(candidates([0.0]), mjd=MJD)

    assert result.kept.all()
    assert set(result.not_done) == {"stars", "galaxies", "variable_stars", "minor_planets"}
    assert result.gates[0].status == "warn"
    assert ("stars (not done)", 1) in result.funnel.steps


def test_what_is_required_and_not_known_is_an_error_that_says_so():
    settings = Layer.from_assignment("checks.stars.required=true")
    task = FilterCandidatesTask(build_config(FilterCandidatesConfig, [settings], labelled=False))

    with pytest.raises(ReferenceCatalogError, match="No table of stars was given; those given: none"):
        task.run(candidates([0.0]), mjd=MJD)


def test_a_table_of_ones_own_is_checked_by_its_name():
    layer = Layer.from_assignment("checks.mine={task: KnownObjectsCheckTask, catalog: quasars}")
    task = FilterCandidatesTask(build_config(FilterCandidatesConfig, [layer], labelled=False))

    result = filtered(candidates([0.0, 50.0]), task=task, quasars=one_place("3C 273", 50.2))

    assert list(result.candidates["rejected_by"]) == ["", "mine"]


def test_a_check_that_does_not_know_what_to_ask_for_says_so():
    layer = Layer.from_assignment("checks.mine={task: KnownObjectsCheckTask}")
    task = FilterCandidatesTask(build_config(FilterCandidatesConfig, [layer], labelled=False))

    with pytest.raises(ConfigError, match="set 'catalog'"):
        filtered(candidates([0.0]), task=task)


def test_artefacts_are_rejected_by_their_score_where_that_is_asked_for():
    layer = Layer.from_assignment("checks.score={task: ScoreCheckTask, min_score: 0.1}")
    task = FilterCandidatesTask(build_config(FilterCandidatesConfig, [layer], labelled=False))
    scored = candidates([0.0, 50.0, 100.0], real_score=[0.099, 0.101, np.nan])

    result = filtered(scored, task=task)

    assert list(result.candidates["rejected_by"]) == ["score", "", ""]
    assert result.candidates["notes"][0] == "score: real_score 0.0990"
    assert filtered(candidates([0.0]), task=task).not_done == {"score": "The candidates have no column 'real_score'."}


def test_every_flag_that_rejects_is_one_that_catalogues_have():
    planes = {*PixelFlagsPlugin.planes, *(plane.lower() for plane in BITS)}
    known = {*FLAGS, *(f"{name}_center" for name in planes), *(f"psf{ending}" for ending in ENDINGS)}

    assert set(FlagsCheckConfig().bad_flags) <= known
    assert "cr_center" in FlagsCheckConfig().bad_flags


def test_checks_are_taken_out_by_settings():
    layers = [Layer.from_assignment(f"checks.{name}=null") for name in ("stars", "minor_planets")]
    task = FilterCandidatesTask(build_config(FilterCandidatesConfig, layers, labelled=False))

    assert list(task.checks) == ["flags", "variable_stars", "galaxies"]


def test_a_candidate_without_a_position_is_rejected_by_name():
    table = candidates([0.0, 10.0])
    table["ra"][0] = np.nan

    result = filtered(table, stars=one_place("S", 10.0))

    assert result.candidates["notes"][0] == "flags: no position"
    assert result.candidates["rejected_by"][1] == "stars"


def test_a_negative_flux_on_the_science_image_is_no_source():
    table = candidates([0.0, 10.0, 20.0])
    table["science_psf_flux"], table["science_psf_flux_err"] = [-30.0, -10.0, np.nan], [10.0, 10.0, 10.0]

    assert filtered(table).kept.tolist() == [False, True, True]


def test_a_body_of_the_solar_system_explains_one_candidate_only():
    result = filtered(candidates([0.0, 2.0]), minor_planets=one_place("Vesta", 0.5, position_error=1.0))

    assert result.kept.tolist() == [False, True]


def test_a_body_elsewhere_at_another_time_explains_nothing():
    bodies = Table(
        {"name": ["Juno", "Juno"], "ra": [0.0, 0.0], "dec": [DEC, DEC + 1], "mjd": [MJD + 1.0, MJD + 0.0003]}
    )

    assert filtered(candidates([0.0]), minor_planets=bodies).kept.all()


def test_no_candidates_are_no_mistake():
    result = filtered(candidates([]))

    assert len(result.kept) == len(result.candidates) == 0
    assert "notes" in result.candidates.colnames


def test_candidates_on_both_sides_of_right_ascension_0_are_one_region():
    regions = []

    class Spy(LocalKnownObjects):
        def find(self, kind: str, region: SkyRegion) -> Table:
            regions.append(region)
            return super().find(kind, region)

    FilterCandidatesTask().run(candidates([-600.0, 600.0]), mjd=MJD, known=Spy(NOTHING))

    assert all(region.radius == pytest.approx(630 * ARCSEC, rel=0.01) for region in regions)


@pytest.mark.parametrize("kind", ["variable_stars", "minor_planets"])
def test_without_a_network_the_reason_is_one_line(kind, monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")

    with pytest.raises(ReferenceCatalogError, match=f"The service for {kind} cannot be reached") as caught:
        OnlineKnownObjects(timeout=1).find(kind, SkyRegion(10.0, 10.0, 0.1, MJD))
    assert "\n" not in str(caught.value)


def test_a_table_of_ones_own_goes_before_the_network():
    known = FirstKnownObjects([LocalKnownObjects({"variable_stars": one_place("mine")}), OnlineKnownObjects()])

    assert list(known.find("variable_stars", SkyRegion(0.0, DEC, 0.1, MJD))["name"]) == ["mine"]


def test_a_table_without_positions_is_refused_in_one_line():
    with pytest.raises(ReferenceCatalogError, match="The table of stars has no column dec, ra; it has name"):
        LocalKnownObjects({"stars": Table({"name": ["a"]})})

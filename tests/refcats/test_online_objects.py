"""VSX and SkyBoT: astroquery asks a server of this machine that answers in the formats of the services."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time

from firstlight.errors import ReferenceCatalogError
from firstlight.refcats.known_objects import MINOR_PLANETS, VARIABLE_STARS, OnlineKnownObjects, SkyRegion
from firstlight.tasks.filter_candidates import FilterCandidatesTask

from .services import Service, serving

KINDS = (VARIABLE_STARS, MINOR_PLANETS)
REGION = SkyRegion(81.2833, 4.49278, 0.2, mjd=60677.0, observatory="I41")

VIZIER = """<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
 <INFO ID="VERSION" name="votable-version" value="1.99+ (14-Oct-2013)"/>
 <INFO ID="Ref" name="-ref" value="VIZ0001"/>
 {info}
 {resource}
</VOTABLE>"""

VSX = """<RESOURCE ID="yCat_102027" name="B/vsx">
  <COOSYS ID="J2000" system="eq_FK5" equinox="J2000"/>
  <TABLE ID="B_vsx_vsx" name="B/vsx/vsx">
    <FIELD name="_RAJ2000" ucd="pos.eq.ra" ref="J2000" datatype="double" width="9" precision="5" unit="deg"/>
    <FIELD name="_DEJ2000" ucd="pos.eq.dec" ref="J2000" datatype="double" width="9" precision="5" unit="deg"/>
    <FIELD name="Name" ucd="meta.id;meta.main" datatype="char" arraysize="30*"/>
    <FIELD name="Type" ucd="meta.code.class" datatype="char" arraysize="30*"/>
    <DATA><TABLEDATA>
      <TR><TD>81.30313</TD><TD>+04.49030</TD><TD>CV Ori</TD><TD>RRAB</TD></TR>
      <TR><TD>81.19000</TD><TD>-00.00012</TD><TD>ASAS J052446-0000.0</TD><TD/></TR>
    </TABLEDATA></DATA>
  </TABLE>
</RESOURCE>"""

VIZIER_REFUSAL = """<INFO ID="Errors" value="(**** indicates an Error,++++ indicates a Warning)">
**** Catalogue B/vsx/vsx is being updated
</INFO>"""

SKYBOT = """<?xml version="1.0" encoding="UTF-8" ?>
<vot:VOTABLE version="1.3" xmlns:vot="http://www.ivoa.net/xml/VOTable/v1.3">
<vot:COOSYS ID="J2000" equinox="J2000" epoch="J2000" system="eq_FK5"/>
{info}
<vot:RESOURCE name="Skybot.ConeSearch">{table}</vot:RESOURCE>
</vot:VOTABLE>"""

BODIES = """<vot:TABLE ID="SkybotConeSearch_results" name="SkybotConeSearch" nrows="2">
<vot:FIELD ID="num" name="Num" ucd="meta.id;meta.number" datatype="char" arraysize="6"/>
<vot:FIELD ID="name" name="Name" ucd="meta.id;meta.main" datatype="char" arraysize="32"/>
<vot:FIELD ID="ra" name="RA" ucd="pos.eq.ra;meta.main" datatype="char" arraysize="13" unit="h:m:s"/>
<vot:FIELD ID="de" name="DEC" ucd="pos.eq.dec;meta.main" datatype="char" arraysize="13" unit="d:m:s"/>
<vot:FIELD ID="class" name="Class" ucd="meta.code.class;src.class" datatype="char" arraysize="24"/>
<vot:FIELD ID="errpos" name="ErrPos" ucd="stat.error.sys" datatype="float" width="10" precision="3" unit="arcsec"/>
<vot:FIELD ID="novelty" name="Novelty" datatype="double"/>
<vot:DATA><vot:TABLEDATA>
<vot:TR><vot:TD>1</vot:TD><vot:TD>Ceres</vot:TD><vot:TD>05 25 12.7657</vot:TD><vot:TD>+04 29 25.081</vot:TD>
<vot:TD>MB&gt;Middle</vot:TD><vot:TD>0.025</vot:TD><vot:TD>1</vot:TD></vot:TR>
<vot:TR><vot:TD>-</vot:TD><vot:TD>2019 RB21</vot:TD><vot:TD>05 24 50.9495</vot:TD><vot:TD>-00 00 30.000</vot:TD>
<vot:TD>MB&gt;Middle</vot:TD><vot:TD/><vot:TD>2</vot:TD></vot:TR>
</vot:TABLEDATA></vot:DATA></vot:TABLE>"""

OK = '<vot:INFO ID="status" name="QUERY_STATUS" value="OK"/>'
SKYBOT_SAYS = '<vot:INFO ID="status" name="QUERY_STATUS" value="ERROR">{}</vot:INFO>'


@pytest.fixture
def service(monkeypatch) -> Iterator[Service]:
    """Both services at one address, with nothing to tell."""
    from astroquery import imcce
    from astroquery.vizier import VizierClass

    with serving(lambda _: (200, b"")) as service:
        # The addresses of the services are fixed in astroquery; all else is as it is.
        monkeypatch.setattr(imcce.Conf, "skybot_server", service.url)
        monkeypatch.setattr(VizierClass, "_server_to_url", lambda _, return_type="votable": service.url + return_type)
        yield service


def says(service: Service, text: str, status: int = 200) -> None:
    service.answer = lambda _: (status, text.encode())


def find(kind: str, region: SkyRegion = REGION):
    return OnlineKnownObjects(timeout=5).find(kind, region)


def test_variable_stars_are_those_that_vizier_lists_in_degrees(service):
    says(service, VIZIER.format(info="", resource=VSX))

    stars = find(VARIABLE_STARS)

    assert list(stars["name"]) == ["CV Ori (RRAB)", "ASAS J052446-0000.0"]
    np.testing.assert_allclose(stars["ra"], [81.30313, 81.19])
    np.testing.assert_allclose(stars["dec"], [4.4903, -0.00012])
    [asked] = service.asked
    assert (asked["-source"], asked["-out.max"], asked["-c.rd"]) == ("B/vsx/vsx", "unlimited", "0.2")
    assert (asked["-out"], asked["-out.add"]) == ("Name,Type", "_RAJ2000,_DEJ2000")
    # astroquery asks in FK5, which differs from ICRS by 0.02 arcsec.
    np.testing.assert_allclose([float(each) for each in asked["-c"].split()[:2]], [REGION.ra, REGION.dec], atol=1e-5)


def test_bodies_of_the_solar_system_have_places_and_errors(service):
    says(service, SKYBOT.format(info=OK, table=BODIES))

    bodies = find(MINOR_PLANETS)

    assert list(bodies["name"]) == ["Ceres", "2019 RB21"]
    np.testing.assert_allclose(bodies["ra"], [81.3031904, 81.2122896], atol=1e-6)
    np.testing.assert_allclose(bodies["dec"], [4.4903003, -30 / 3600], atol=1e-6)
    np.testing.assert_allclose(bodies["position_error"].quantity.to_value("arcsec"), [0.025, np.nan], rtol=1e-5)


def test_skybot_is_asked_for_the_moment_in_utc_and_the_place_of_the_telescope(service):
    says(service, SKYBOT.format(info=OK, table=BODIES))

    find(MINOR_PLANETS)

    [asked] = service.asked
    assert float(asked["-ep"]) == pytest.approx(Time(REGION.mjd, format="mjd", scale="tai").utc.jd, abs=1e-8)
    assert float(asked["-ep"]) - 2400000.5 - REGION.mjd == pytest.approx(-37 / 86400, abs=1e-8)
    assert (asked["-loc"], float(asked["-rd"]), asked["-mime"]) == ("I41", REGION.radius, "votable")


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (VARIABLE_STARS, VIZIER.format(info="", resource="")),
        (MINOR_PLANETS, SKYBOT.format(info=OK, table="")),
        (
            MINOR_PLANETS,
            SKYBOT.format(info=SKYBOT_SAYS.format("No solar system object was found in the FOV"), table=""),
        ),
    ],
)
def test_an_empty_sky_is_no_mistake(service, kind, answer):
    says(service, answer)

    assert len(find(kind)) == 0


@pytest.mark.parametrize(
    ("kind", "answer", "status", "reason"),
    [
        (VARIABLE_STARS, VIZIER.format(info=VIZIER_REFUSAL, resource=""), 200, "Catalogue B/vsx/vsx is being updated"),
        (MINOR_PLANETS, SKYBOT.format(info=SKYBOT_SAYS.format("computeEphemeris failed"), table=""), 200, "computeEph"),
        *((kind, "<html>Maintenance</html>", 200, "VOTABLE") for kind in KINDS),
        *((kind, "", 200, "no element found") for kind in KINDS),
        *((kind, "out of order", 500, "500 Server Error") for kind in KINDS),
    ],
)
def test_what_a_service_refuses_is_not_taken_for_an_empty_sky(service, kind, answer, status, reason):
    says(service, answer, status)

    with pytest.raises(ReferenceCatalogError, match=f"The service for {kind} cannot be reached .*{reason}") as caught:
        find(kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_does_not_answer_is_given_up_after_the_timeout(service, kind):
    late = Event()
    service.answer = lambda _: (200 if late.wait(10.0) else 504, b"")

    try:
        with pytest.raises(ReferenceCatalogError, match=r"cannot be reached .*timed out"):
            OnlineKnownObjects(timeout=1).find(kind, REGION)
    finally:
        late.set()


def test_a_service_that_was_asked_in_vain_is_left_alone_for_a_while(service):
    says(service, "out of order", 500)
    known, patient = OnlineKnownObjects(timeout=5), OnlineKnownObjects(timeout=5, rest=0.0)
    for each in (known, patient):
        with pytest.raises(ReferenceCatalogError, match="500"):
            each.find(MINOR_PLANETS, REGION)
    says(service, SKYBOT.format(info=OK, table=BODIES))
    before = len(service.asked)

    with pytest.raises(ReferenceCatalogError, match="500"):
        known.find(MINOR_PLANETS, REGION)
    assert len(service.asked) == before
    assert len(patient.find(MINOR_PLANETS, REGION)) == 2


def test_a_region_without_extent_asks_nobody(service):
    for kind in KINDS:
        assert len(find(kind, SkyRegion(0.0, 0.0, 0.0, mjd=60677.0))) == 0
    assert service.asked == []


def test_candidates_at_their_places_are_rejected_by_their_names(service):
    service.answer = lambda asked: (
        200,
        (VIZIER.format(info="", resource=VSX) if "-source" in asked else SKYBOT.format(info=OK, table=BODIES)).encode(),
    )
    candidates = Table({"id": [1, 2], "ra": [81.3031, 81.4], "dec": [4.4903, 4.5]})

    checked = FilterCandidatesTask().run(candidates, mjd=REGION.mjd, known=OnlineKnownObjects(timeout=5))

    assert list(checked.candidates["rejected_by"]) == ["minor_planets,variable_stars", ""]
    assert "Ceres at" in checked.candidates["notes"][0]
    assert "CV Ori (RRAB) at" in checked.candidates["notes"][0]
    assert set(checked.not_done) == {"stars", "galaxies"}

"""Links to what others know of a place on the sky; a page holds their addresses and asks for nothing by itself."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

RADIUS_ARCSEC = 10
"""Around the place; NED is asked for more, since galaxies are larger than that."""

NED_RADIUS_ARCMIN = 0.5
ALADIN_WIDTH_DEG = 0.05
"""Field that Aladin Lite shows."""


class SkyLink(NamedTuple):
    """A service, and the address that asks it for a place."""

    name: str
    address: str


def sky_links(*, ra: float, dec: float) -> list[SkyLink]:
    """Return links to SIMBAD, NED, Aladin Lite and the Transient Name Server.

    Parameters
    ----------
    ra, dec : [deg]
        ICRS.
    """
    place = f"{ra:.6f} {dec:+.6f}"
    simbad = {"Coord": place, "CooFrame": "ICRS", "Radius": RADIUS_ARCSEC, "Radius.unit": "arcsec"}
    ned = {"search_type": "Near Position Search", "in_csys": "Equatorial", "in_equinox": "J2000"}
    ned |= {"ra": f"{ra:.6f}d", "dec": f"{dec:+.6f}d", "radius": str(NED_RADIUS_ARCMIN)}
    aladin = {"target": place, "fov": ALADIN_WIDTH_DEG, "survey": "P/DSS2/color"}
    tns = {"ra": f"{ra:.6f}", "decl": f"{dec:+.6f}", "radius": RADIUS_ARCSEC, "coords_unit": "arcsec"}
    return [
        SkyLink("SIMBAD", f"https://simbad.cds.unistra.fr/simbad/sim-coo?{urlencode(simbad)}"),
        SkyLink("NED", f"https://ned.ipac.caltech.edu/conesearch?{urlencode(ned)}"),
        SkyLink("Aladin", f"https://aladin.cds.unistra.fr/AladinLite/?{urlencode(aladin)}"),
        SkyLink("TNS", f"https://www.wis-tns.org/search?{urlencode(tns)}"),
    ]

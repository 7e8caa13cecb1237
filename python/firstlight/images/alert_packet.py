"""Make alert packets: what one detection was, with the history of its object and stamps that show it.

The fields are those of ``alert_schema.avsc``: names of ZTF (Masci et al. 2019, PASP 131, 018003) where it has them, so
that its readers find what they look for, else those of Rubin's DPDD (LSE-163).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.time import Time

from firstlight import __version__
from firstlight.images.photo_calib import ab_magnitude, ab_magnitude_error

SCHEMA_VERSION = "1.0"
PUBLISHER = "firstlight"
FILTER_NUMBERS = {"g": 1, "r": 2, "i": 3}
STAMPS = SCIENCE, TEMPLATE, DIFFERENCE = "Science", "Template", "Difference"
MAG_SNR, LIMIT_SNR = 3.0, 5.0

Row = Mapping[str, Any]
"""Values by name; NaN, an empty text and a name that is not there stand for what is not known."""


def detection_fields(row: Row) -> dict[str, Any]:
    """Return the fields that a detection and a measurement at a known place have in common.

    Parameters
    ----------
    row
        ``mjd`` [MJD TAI], ``instrument``, ``visit``, ``detector``, and where known ``id``, ``band``, ``flux`` and
        ``flux_err`` [nJy].
    """
    flux, error = known(row, "flux"), known(row, "flux_err")
    magnitude = magnitude_error = limit = None
    if error is not None and error > 0:
        limit = float(ab_magnitude(LIMIT_SNR * error))
        if flux is not None and abs(flux) >= MAG_SNR * error:
            magnitude = float(ab_magnitude(abs(flux)))
            magnitude_error = float(ab_magnitude_error(abs(flux), error))
    band = str(row.get("band") or "") or None
    return {
        "candid": int(row["id"]) if row.get("id") else None,
        "jd": julian_date(float(row["mjd"])),
        "midpointMjdTai": float(row["mjd"]),
        "instrument": str(row["instrument"]),
        "visit": int(row["visit"]),
        "detector": int(row["detector"]),
        "band": band,
        "fid": FILTER_NUMBERS.get(band or ""),
        "psfFlux": flux,
        "psfFluxErr": error,
        "magpsf": magnitude,
        "sigmapsf": magnitude_error,
        "isdiffpos": None if flux is None else "t" if flux > 0 else "f",
        "diffmaglim": limit,
    }


def candidate_fields(row: Row, *, history: Sequence[Row], flags: Sequence[str] = (), notes: str = "") -> dict[str, Any]:
    """Return the fields of the detection that an alert is about.

    Parameters
    ----------
    row
        As for `detection_fields`, and ``source_id``, ``ra``, ``dec`` [deg] and, where known, their errors along the sky
        [deg], ``x`` and ``y`` [pixel], ``snr``, ``score``, ``score_by``, ``solar_system``.
    history
        Earlier detections of the object, in the order of time.
    flags
        Names of those that are set.
    notes
        What checks said.
    """
    first = history[0] if history else row
    return {
        **detection_fields(row),
        "sourceId": int(row["source_id"]),
        "ra": float(row["ra"]),
        "dec": float(row["dec"]),
        "raErr": known(row, "ra_err"),
        "decErr": known(row, "dec_err"),
        "xpos": known(row, "x"),
        "ypos": known(row, "y"),
        "snr": known(row, "snr"),
        "rb": known(row, "score"),
        "rbversion": str(row.get("score_by") or "") or None,
        "ssnamenr": str(row.get("solar_system") or "") or None,
        "ndethist": len(history) + 1,
        "jdstarthist": julian_date(float(first["mjd"])),
        "flags": list(flags),
        "notes": notes,
    }


def alert_packet(
    candidate: Mapping[str, Any],
    *,
    object_id: int,
    history: Sequence[Row],
    forced: Sequence[Row],
    stamps: Mapping[str, bytes | None],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return one alert.

    Parameters
    ----------
    candidate
        From `candidate_fields`.
    object_id
        0 for a body of the solar system.
    history, forced
        Earlier detections of the object, and fluxes measured at its place, in the order of time.
    stamps
        ``Science``, ``Template`` and ``Difference`` -> file, or None.
    provenance
        ``day_obs``, ``collections`` and ``runs``.
    """
    name = str(object_id or candidate["candid"])
    cutouts = {
        f"cutout{kind}": None
        if (data := stamps.get(kind)) is None
        else {"fileName": f"{candidate['candid']}_{kind.lower()}.fits.gz", "stampData": data}
        for kind in STAMPS
    }
    return {
        "schemavsn": SCHEMA_VERSION,
        "publisher": PUBLISHER,
        "objectId": name,
        "candid": candidate["candid"],
        "candidate": dict(candidate),
        "prv_candidates": [detection_fields(row) for row in history],
        "fp_hists": [{**detection_fields(row), "candid": None} for row in forced],
        **cutouts,
        "provenance": {"software": f"firstlight {__version__}", **provenance},
    }


def julian_date(mjd_tai: float) -> float:
    """Return the Julian date in UTC of an MJD in TAI."""
    return float(Time(mjd_tai, format="mjd", scale="tai").utc.jd)


def known(row: Row, name: str) -> float | None:
    """Return a number, or None where it is not known."""
    value = row.get(name)
    if value is None or value is np.ma.masked:
        return None
    return float(value) if math.isfinite(float(value)) else None

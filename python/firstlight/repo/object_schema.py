"""The tables of objects and what was seen of them, the same on SQLite and PostgreSQL.

They are made when the first detections are kept, so a repository that has none is as it was. Errors of positions are
along the sky. Fluxes are those of difference images [nJy].
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, MetaData, String, Table

METADATA = MetaData()


def _visit_columns(*, primary: bool) -> tuple[Column[str], Column[int], Column[int]]:
    return (
        Column("instrument", String, primary_key=primary, nullable=False),
        Column("visit", BigInteger, primary_key=primary, autoincrement=False, nullable=False),
        Column("detector", BigInteger, primary_key=primary, autoincrement=False, nullable=False),
    )


sky_object = Table(
    "sky_object",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("bucket", BigInteger, nullable=False, index=True),
    Column("ra", Float(53), nullable=False),
    Column("dec", Float(53), nullable=False),
    Column("ra_err", Float(53), nullable=False),
    Column("dec_err", Float(53), nullable=False),
    Column("n_detections", BigInteger, nullable=False),
    Column("first_mjd", Float(53), nullable=False),
    Column("last_mjd", Float(53), nullable=False),
)
"""Something that is seen at one place on the sky; its number is that of its earliest detection."""

detection = Table(
    "detection",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("object_id", BigInteger, index=True),
    *_visit_columns(primary=False),
    Column("source_id", BigInteger, nullable=False),
    Column("mjd", Float(53), nullable=False, index=True),
    Column("band", String),
    Column("bucket", BigInteger, nullable=False, index=True),
    Column("ra", Float(53), nullable=False),
    Column("dec", Float(53), nullable=False),
    Column("ra_err", Float(53)),
    Column("dec_err", Float(53)),
    Column("flux", Float(53)),
    Column("flux_err", Float(53)),
    Column("snr", Float(53)),
    Column("score", Float(53)),
    Column("is_negative", Boolean),
    Column("solar_system", String),
    Index("detections_of_visit", "instrument", "visit", "detector"),
)
"""What one image showed, of an object or of a known body of the solar system."""

associated = Table(
    "associated",
    METADATA,
    *_visit_columns(primary=True),
    Column("mjd", Float(53), nullable=False),
    Column("band", String),
    Column("checksum", String, nullable=False),
    Column("settings", String, nullable=False),
    Column("n_detections", BigInteger, nullable=False),
)
"""Images whose detections were kept: a checksum of what they were, and of the settings that found their objects."""

forced_flux = Table(
    "forced_flux",
    METADATA,
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    *_visit_columns(primary=True),
    Column("mjd", Float(53), nullable=False),
    Column("band", String),
    Column("flux", Float(53)),
    Column("flux_err", Float(53)),
    Index("forced_fluxes_of_visit", "instrument", "visit", "detector"),
)
"""Flux at the place of an object, measured whether something was detected or not.

``object_id`` is the number of the object now: where objects are made anew, their fluxes go with them.
"""

"""The tables of a repository, the same on SQLite and PostgreSQL.

Dimension values of a dataset are columns, empty where its type does not have the dimension; ``data_key`` is the whole
data id as one text, so that uniqueness holds with empty columns too.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 1
"""Number of the schema; a repository of another number is refused."""

METADATA = MetaData()
_ID = BigInteger().with_variant(Integer, "sqlite")
_DIMENSIONS = (
    ("instrument", String),
    ("day_obs", BigInteger),
    ("exposure", BigInteger),
    ("visit", BigInteger),
    ("detector", BigInteger),
    ("physical_filter", String),
    ("band", String),
    ("skymap", String),
    ("tract", BigInteger),
    ("patch", BigInteger),
)

about = Table(
    "about",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Schema version, name and birth of the repository."""

exposure = Table(
    "exposure",
    METADATA,
    Column("instrument", String, primary_key=True),
    Column("exposure", BigInteger, primary_key=True, autoincrement=False),
    Column("day_obs", BigInteger),
    Column("physical_filter", String),
    Column("band", String),
    Column("mjd_tai", Float(53)),
    Column("exposure_time", Float(53)),
    Column("airmass", Float(53)),
    Column("ra", Float(53)),
    Column("dec", Float(53)),
    Column("pointing_error", Float(53)),
    Column("object_name", String),
    Column("observation_type", String),
    Column("reference_column", String),
)
"""What the header of each opening of the shutter told (`firstlight.images.observation.ObservationInfo`)."""

visit = Table(
    "visit",
    METADATA,
    Column("instrument", String, primary_key=True),
    Column("visit", BigInteger, primary_key=True, autoincrement=False),
    Column("day_obs", BigInteger),
    Column("physical_filter", String),
    Column("band", String),
    Column("mjd_tai", Float(53)),
    Column("exposure_time", Float(53)),
    Column("airmass", Float(53)),
    Column("ra", Float(53)),
    Column("dec", Float(53)),
    Column("object_name", String),
)
"""What is processed as one: one exposure, or snaps."""

visit_exposure = Table(
    "visit_exposure",
    METADATA,
    Column("instrument", String, primary_key=True),
    Column("visit", BigInteger, primary_key=True, autoincrement=False),
    Column("exposure", BigInteger, primary_key=True, autoincrement=False),
    Index("exposure_of_visit", "instrument", "exposure", "visit"),
)

region = Table(
    "region",
    METADATA,
    Column("instrument", String, primary_key=True),
    Column("visit", BigInteger, primary_key=True, autoincrement=False),
    Column("detector", BigInteger, primary_key=True, autoincrement=False),
    Column("ra", Float(53), nullable=False),
    Column("dec", Float(53), nullable=False),
    Column("radius", Float(53), nullable=False),
    Column("solved", Boolean, nullable=False),
    Column("summary", Text),
)
"""Where one detector of a visit lies [deg], padded until it is solved; summary numbers as JSON once there are any."""

region_bucket = Table(
    "region_bucket",
    METADATA,
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),
    Column("instrument", String, primary_key=True),
    Column("visit", BigInteger, primary_key=True, autoincrement=False),
    Column("detector", BigInteger, primary_key=True, autoincrement=False),
    Index("buckets_of_region", "instrument", "visit", "detector"),
)
"""HEALPix cells that each region touches."""

dataset_type = Table(
    "dataset_type",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("dimensions", String, nullable=False),
    Column("storage", String, nullable=False),
)
"""Name, dimensions joined by commas, and how the objects are stored."""

collection = Table(
    "collection",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("created", String, nullable=False),
    CheckConstraint("kind in ('RUN', 'CHAINED', 'CALIBRATION')", name="known_kind"),
)

chain = Table(
    "chain",
    METADATA,
    Column("parent", ForeignKey("collection.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("child", ForeignKey("collection.id"), nullable=False),
)
"""Members of a chained collection, in the order in which they are searched."""

dataset = Table(
    "dataset",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("type", ForeignKey("dataset_type.id"), nullable=False),
    Column("run", ForeignKey("collection.id"), nullable=False),
    Column("data_key", String, nullable=False),
    *(Column(name, kind) for name, kind in _DIMENSIONS),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("checksum", String, nullable=False),
    Column("partial", Boolean, nullable=False, default=False),
    Column("producer", String),
    UniqueConstraint("type", "run", "data_key", name="one_of_a_kind"),
    Index("dataset_of_exposure", "type", "instrument", "exposure", "detector"),
    Index("dataset_of_visit", "type", "instrument", "visit", "detector"),
    Index("dataset_of_run", "run", "type"),
)
"""One file each: path below the repository or absolute, BLAKE2 checksum, and the piece of work that made it."""

certification = Table(
    "certification",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("collection", ForeignKey("collection.id"), nullable=False),
    Column("dataset", ForeignKey("dataset.id"), nullable=False),
    Column("type", ForeignKey("dataset_type.id"), nullable=False),
    Column("data_key", String, nullable=False),
    Column("begin_mjd", Float(53), nullable=False),
    Column("end_mjd", Float(53), nullable=False),
    Index("certified", "collection", "type", "data_key"),
    CheckConstraint("begin_mjd < end_mjd", name="time_goes_on"),
)
"""From when until when [MJD TAI, end excluded] a calibration holds."""

refcat = Table(
    "refcat",
    METADATA,
    Column("name", String, primary_key=True),
    Column("path", Text, nullable=False),
    Column("checksum", String, nullable=False),
)
"""Reference catalogues outside the repository that it knows."""

quantum = Table(
    "quantum",
    METADATA,
    Column("run", ForeignKey("collection.id"), primary_key=True),
    Column("label", String, primary_key=True),
    Column("data_key", String, primary_key=True),
    Column("status", String, nullable=False),
    Column("input_key", String, nullable=False),
    Column("record", Text, nullable=False),
)
"""How each piece of work of a run ended: status, a key of settings, inputs and version, and the record as JSON."""

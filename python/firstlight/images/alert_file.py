"""Files of alerts: written as Avro, and read whether they are ours or of a survey whose packets are like those of ZTF.

Avro needs the package fastavro (extra ``alerts``).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from numpy.typing import NDArray

from firstlight.errors import InputError
from firstlight.images.atomic import write_atomically

STAMP_NAMES = ("science", "template", "difference")
FILTERS = {1: "g", 2: "r", 3: "i"}
"""Names of the filters that ZTF numbers."""

NUMBERED = ("ZTF", "firstlight")
"""Publishers that number filters so; other surveys have other filters."""

SCORES = ("rb", "drb", "reliability")
NO_VALUE = -999.0
"""What stands in alerts of ZTF for a number that is not known."""

GZIP_START, PARQUET_START = b"\x1f\x8b", b"PAR1"


@dataclass(frozen=True)
class AlertPoint:
    """One detection in the history of an object, or a limit.

    Parameters
    ----------
    jd : [d]
        Julian date.
    band
    magnitude, error, limit : [mag]
        NaN where not known.
    is_positive
        Whether it was brighter than the template; None for a limit.
    """

    jd: float
    band: str
    magnitude: float
    error: float
    limit: float
    is_positive: bool | None


@dataclass(frozen=True)
class Alert:
    """What alerts of all surveys tell alike.

    Parameters
    ----------
    object_id, candid
        Names of the object and of the detection.
    ra, dec : [deg]
    now
        The detection.
    history
        Earlier ones and limits, in the order of time.
    scores
        Name of the classifier -> probability that it is real.
    stamps
        ``science``, ``template``, ``difference`` -> image [y, x]; only those that are there.
    publisher
    """

    object_id: str
    candid: str
    ra: float
    dec: float
    now: AlertPoint
    history: tuple[AlertPoint, ...]
    scores: Mapping[str, float]
    stamps: Mapping[str, NDArray[np.float32]]
    publisher: str


def alert_schema() -> dict[str, Any]:
    """Return the schema of our alerts, as plain values."""
    text = files("firstlight.images").joinpath("alert_schema.avsc").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def require_writer() -> None:
    """Refuse where alerts cannot be written.

    Raises
    ------
    InputError
        If fastavro is not installed.
    """
    _fastavro()


def write_alerts(packets: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write alerts into one Avro file; equal alerts give equal bytes.

    Parameters
    ----------
    packets
        From `firstlight.images.alert_packet.alert_packet`.
    path

    Raises
    ------
    InputError
        If fastavro is not installed, or a packet does not fit the schema.
    OutputError
        If the file cannot be written.
    """
    avro = _fastavro()
    schema = avro.parse_schema(alert_schema())
    names = "\n".join(f"{each['objectId']} {each['candid']}" for each in packets)
    marker = hashlib.blake2b(names.encode(), digest_size=16).digest()

    def write(file: Any) -> None:
        try:
            avro.writer(file, schema, packets, codec="deflate", sync_marker=marker, validator=True)
        except avro.validation.ValidationError as error:
            raise InputError(f"An alert does not fit the schema: {' '.join(str(error).split())[:200]}.") from error

    write_atomically(Path(path), write)


def read_packets(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the alerts of an Avro or Parquet file as plain values, with the names they have there.

    Raises
    ------
    InputError
        If the file cannot be read, or fastavro is not installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start == PARQUET_START:
                for batch in pq.ParquetFile(file).iter_batches(batch_size=100):
                    yield from batch.to_pylist()
            else:
                yield from _fastavro().reader(file)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, EOFError, IndexError, KeyError, pa.ArrowException) as error:
        raise InputError(
            f"{path} holds no alerts: it is neither a whole Avro file nor a Parquet file of them."
        ) from error


def read_alerts(path: str | Path) -> Iterator[Alert]:
    """Yield the alerts of a file of ours, of ZTF or of a survey whose packets have the same parts.

    Raises
    ------
    InputError
        If the file cannot be read, or its records are no alerts.
    """
    for packet in read_packets(path):
        try:
            yield understood(packet)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"The records of {path} are no alerts like ZTF's: there is no 'candidate' with 'ra', 'dec', 'jd'."
            ) from error


def understood(packet: Mapping[str, Any]) -> Alert:
    """Return what a packet tells, under whichever of the known names."""
    candidate, publisher = packet["candidate"], str(packet.get("publisher") or "")
    filters = FILTERS if publisher.startswith(NUMBERED) else {}
    points = [_point(each, filters) for each in packet.get("prv_candidates") or ()]
    seen = {point.jd for point in points}
    forced = [_point(each, filters) for each in packet.get("fp_hists") or () if "midpointMjdTai" in each]
    points += [point for point in forced if point.jd not in seen]
    stamps = {}
    for name in STAMP_NAMES:
        cutout = _first(packet, f"cutout{name.capitalize()}", f"cutout_{name}")
        data = cutout.get("stampData") if isinstance(cutout, Mapping) else cutout
        if data:
            stamps[name] = read_stamp(data)
    values = {name: _number(candidate.get(name)) for name in SCORES}
    return Alert(
        object_id=str(_first(packet, "objectId", "objectid", "object_id")),
        candid=str(packet.get("candid", candidate.get("candid"))),
        ra=float(candidate["ra"]),
        dec=float(candidate["dec"]),
        now=_point(candidate, filters),
        history=tuple(sorted(points, key=lambda point: point.jd)),
        scores={name: value for name, value in values.items() if math.isfinite(value)},
        stamps=stamps,
        publisher=publisher,
    )


def read_stamp(data: bytes) -> NDArray[np.float32]:
    """Return the first image of a FITS file in memory, gzip-compressed or not.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        raw = gzip.decompress(data) if data[:2] == GZIP_START else data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # cards of some surveys are not standard
            with fits.open(io.BytesIO(raw), memmap=False) as hdus:
                image = next(hdu.data for hdu in hdus if getattr(hdu, "is_image", False) and hdu.data is not None)
        return np.ascontiguousarray(image, dtype=np.float32)
    except (OSError, EOFError, StopIteration, ValueError) as error:
        raise InputError(f"A stamp of {len(data)} bytes is no FITS image.") from error


def _point(values: Mapping[str, Any], filters: Mapping[int, str]) -> AlertPoint:
    positive, number = values.get("isdiffpos"), values.get("fid")
    unnamed = "" if number is None else filters.get(number, f"filter {number}")
    return AlertPoint(
        jd=float(values["jd"]),
        band=str(values.get("band") or unnamed),
        magnitude=_number(values.get("magpsf")),
        error=_number(values.get("sigmapsf")),
        limit=_number(values.get("diffmaglim")),
        is_positive=None if positive is None else positive in (True, "t", "1", "T", 1),
    )


def _number(value: Any) -> float:
    number = math.nan if value is None else float(value)
    return math.nan if number == NO_VALUE else number


def _first(values: Mapping[str, Any], *names: str) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _fastavro() -> Any:
    try:
        import_module("fastavro.validation")
        return import_module("fastavro")
    except ImportError as error:
        raise InputError("Alerts need the package fastavro; 'pip install firstlight[alerts]' brings it.") from error

"""``firstlight alerts show``: alerts of a file, as a list and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import json_option

if TYPE_CHECKING:
    from firstlight.images.alert_file import Alert


@click.command(context_settings={"max_content_width": 110})
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Picture: .png, .pdf or .svg.")
@click.option("--object", "name", metavar="NAME", help="Only alerts of this object.")
@click.option("--first", type=click.IntRange(0), default=0, metavar="N", help="Leave out so many.  [0]")
@click.option("--most", type=click.IntRange(1), default=20, metavar="N", help="Draw at most so many.  [20]")
@json_option
@log_options
def show(
    paths: tuple[Path, ...], output: Path | None, name: str | None, first: int, most: int, *, as_json: bool
) -> None:
    """List the alerts of files, and draw them: stamps and light curves.

    Avro files of ours, of ZTF and of surveys whose packets have the same parts, and Parquet files of such packets.
    Triangles are limits, open circles are fainter than the template, the ring is the alert itself.

    \b
      firstlight alerts show alerts_20260101.avro
      firstlight alerts show ztf_public.avro -o alerts.png --first 20
      firstlight alerts show *.avro --object ZTF18abadigg --json

    Exit code: 0 listed, 2 a mistake, 3 no alert.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from itertools import chain, islice

    from firstlight.cli.tables import print_rows
    from firstlight.errors import NoWorkFound
    from firstlight.images.alert_file import read_alerts

    wanted = (each for each in chain(*map(read_alerts, paths)) if name in (None, each.object_id))
    drawn: list[Alert] = []
    rows = []
    for number, alert in enumerate(islice(wanted, first, None)):
        rows.append(_told(alert, as_json=as_json))
        if output is not None and number < most:
            drawn.append(alert)
    if not rows:
        raise NoWorkFound(f"There is no alert{'' if name is None else f' of {name}'} in {len(paths)} files.")
    if output is not None:
        _draw(drawn, output)
    print_rows(rows, as_json=as_json)


def _told(alert: Alert, *, as_json: bool) -> dict[str, object]:
    import math

    scores = " ".join(f"{name}={value:.2f}" for name, value in alert.scores.items())
    return {
        "object": alert.object_id,
        "candid": alert.candid,
        "jd": alert.now.jd if as_json else f"{alert.now.jd:.5f}",
        "ra": alert.ra,
        "dec": alert.dec,
        "band": alert.now.band,
        "magnitude": round(alert.now.magnitude, 3) if math.isfinite(alert.now.magnitude) else None,
        "sign": {True: "+", False: "-", None: ""}[alert.now.is_positive],
        "history": sum(math.isfinite(point.magnitude) for point in alert.history),
        "stamps": len(alert.stamps),
        "scores": scores,
    }


def _draw(alerts: list[Alert], path: Path) -> None:
    from firstlight.errors import InputError
    from firstlight.images.atomic import write_atomically
    from firstlight.qa.alerts import draw_alerts

    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise InputError(f"A picture is a .png, .pdf or .svg file; got {path.name}.")
    figure = draw_alerts(alerts)
    write_atomically(path, lambda file: figure.savefig(file, format=kind))

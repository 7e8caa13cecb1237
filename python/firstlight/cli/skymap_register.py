"""``firstlight skymap register``: each field gets a tract."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.repo_options import collections_option, json_option, repo_option, where_option


@click.command(context_settings={"max_content_width": 110})
@click.argument("name", metavar="NAME")
@repo_option
@collections_option
@where_option
@click.option("--images", default="preliminary_visit_image", show_default=True, help="Images that show the fields.")
@click.option("--scale", type=click.FloatRange(min=0, min_open=True), help="Arcsec per pixel.  [as the images]")
@click.option("--border", type=click.IntRange(min=0), default=20, show_default=True, help="Pixels around the images.")
@json_option
@log_options
def register(
    name: str,
    root: Path,
    collections: tuple[str, ...],
    where: str,
    images: str,
    scale: float | None,
    border: int,
    *,
    as_json: bool,
) -> None:
    """Make a skymap NAME with one tract around each field that calibrated images show.

    The tracts are in the collection skymaps/NAME, and never change.

    \b
      firstlight skymap register -b R fields -i night
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.cli.tables import print_rows
    from firstlight.repo.repo import Repo
    from firstlight.repo.skymaps import register_fields

    with Repo.open(root) as repo:
        made = register_fields(
            repo,
            name,
            images=images,
            collections=collections or [each.name for each in repo.collections() if each.kind == "RUN"],
            where=where,
            pixel_scale=scale,
            border=border,
        )
    rows = []
    for data_id, grid, count in made:
        ra, dec, _ = grid.sky_circle()
        size = f"{grid.shape[1]}x{grid.shape[0]}"
        rows.append({**data_id, "ra": round(ra, 5), "dec": round(dec, 5), "pixels": size, "images": count})
    print_rows(rows, as_json=as_json)

"""``firstlight associate``: from the candidates of many images to objects."""

from __future__ import annotations

from pathlib import Path

import click

from firstlight.cli.logs import configure_logging, log_options
from firstlight.cli.pipeline_options import SettingsOptions, settings_options
from firstlight.cli.repo_options import collections_option, json_option, repo_option, where_option


@click.command(context_settings={"max_content_width": 110})
@repo_option
@collections_option
@where_option
@click.option("--type", "type_name", default="dia_source", metavar="TYPE", help="Catalogues.  [dia_source]")
@click.option("--known", multiple=True, metavar="KIND=FILE", help="What is known: stars=gaia.parquet; repeatable.")
@click.option("--online", is_flag=True, help="Ask VSX for variable stars, SkyBoT for minor planets.")
@click.option("--forced", metavar="TYPE", help="Also measure these images at all objects: difference_image.")
@settings_options
@json_option
@log_options
def associate(
    root: Path,
    collections: tuple[str, ...],
    where: str,
    type_name: str,
    known: tuple[str, ...],
    forced: str | None,
    given: SettingsOptions,
    *,
    online: bool,
    as_json: bool,
) -> None:
    """Tell which candidates of many images are one object, and keep objects and detections in the repository.

    Each catalogue is first checked against flags and what is known (label 'filter'); the candidates that are kept go
    one to one to the objects that they are likeliest to be (label 'associate'), or make new ones. Images are taken in
    the order of their time. Those that were associated before are left as they are, and late ones change exactly what
    they would have changed in time: the result depends on the images, not on the order in which they came.

    KIND is stars, galaxies, variable_stars or minor_planets; a check that knows nothing says so and rejects nothing.

    \b
      firstlight associate -b R -i night
      firstlight associate -b R -i night --known stars=gaia.parquet --online --forced difference_image
      firstlight associate -b R -i night -c associate:radius=1.5 -c filter:checks.galaxies.rejects=true

    Exit code: 0 done, 2 a mistake, 3 no catalogue.
    """  # noqa: D301 - click needs the real backspace character
    configure_logging()
    from firstlight.cli.associate_images import ImagesToAssociate, associate_images
    from firstlight.cli.candidate_steps import known_objects
    from firstlight.cli.tables import print_rows
    from firstlight.repo.repo import Repo

    with Repo.open(root) as repo:
        runs = collections or tuple(each.name for each in repo.collections() if each.kind == "RUN")
        images = ImagesToAssociate(runs, type_name, where, forced)
        rows, notes = associate_images(repo, images, given, known_objects(known, online=online))
    print_rows(rows, as_json=as_json)
    for note in notes:
        click.echo(note, err=True)

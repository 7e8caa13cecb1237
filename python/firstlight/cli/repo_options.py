"""The options with which commands name a repository, collections in it and a condition."""

from __future__ import annotations

from pathlib import Path

import click

repo_option = click.option(
    "-b", "--repo", "root", required=True, type=click.Path(path_type=Path), metavar="REPO", help="Repository."
)
repo_argument = click.argument("root", metavar="REPO", type=click.Path(path_type=Path))
collections_option = click.option(
    "-i", "--input", "collections", multiple=True, metavar="NAME", help="Collection to look in; repeatable.  [all]"
)
where_option = click.option("-d", "--data-query", "where", default="", metavar="QUERY", help="\"band = 'r'\".")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")

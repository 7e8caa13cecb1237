"""What a page of the documentation shows is what happens."""

from __future__ import annotations

import pytest

from .pages import RUN, blocks, is_slow, pages
from .running import PageError, run_page


def runnable():
    for page in pages():
        text = page.read_text()
        if any(block.language in RUN and not block.skip for block in blocks(text)):
            marks = [pytest.mark.slow] if is_slow(text) else []
            yield pytest.param(page, id=f"{page.parent.name}/{page.name}", marks=marks)


@pytest.mark.parametrize("page", list(runnable()))
def test_a_page_does_what_it_shows(page, tmp_path):
    run_page(page.read_text(), name=str(page), folder=tmp_path)


def test_names_live_on_through_a_page_and_files_are_written(tmp_path):
    run_page(
        "```python\n# own/part.py\nvalue = 3\n```\n"
        "```yaml\n# night.yaml\na: 1\n```\n"
        "```json night.json\n{}\n```\n"
        "```python\nfrom own.part import value\n```\n"
        "```python\nprint(value + 1)\n```\n"
        "```text\n4\n```\n"
        "```sh\ncat night.yaml night.json\n```\n"
        "```output\n# night.yaml\na: 1\n{}\n```\n",
        name="page.md",
        folder=tmp_path,
    )


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```python\nassert 1 == 2\n```\n", ""),
        ("```python\nprint(5)\n```\n\nprints\n\n```text\n6\n```\n", "page.md:8: the page shows\n6\n"),
        ("```sh\necho seen\n```\n```text\nseen\nnot seen\n```\n", "page.md:5: the page shows"),
        ("```sh\nfalse\ntrue\n```\n", "page.md:2: exit code 1 instead of 0"),
        ("```console\n$ firstlight nothing\n```\n", "exit code 2 instead of 0"),
        ("```console\n$ echo a\nb\n```\n", "the page shows\nb"),
        ("<!-- run sh\nexit 4\n-->\n", "exit code 4 instead of 0"),
        ("<!-- numbers vary -->\n```console\n$ echo rms 0.25 px\nrms 0.25 arcsec\n```\n", "the page shows"),
        ("```console\n$ printf 'a\\nb\\n'\n...\nc\n```\n", "the page shows"),
    ],
)
def test_a_page_that_does_something_else_is_found_out(page, complaint, tmp_path):
    with pytest.raises(AssertionError) as found:
        run_page(page, name="page.md", folder=tmp_path)

    assert complaint in str(found.value)
    assert not complaint or isinstance(found.value, PageError)


@pytest.mark.parametrize(
    "page",
    [
        "<!-- exits: 2 -->\n```console\n$ true\n$ firstlight nothing\nfirstlight: No such ...\n```\n",
        "<!-- skip: needs a telescope -->\n```sh\nfalse\n```\n",
        "<!-- needs: NO_SUCH_VARIABLE -->\n```sh\nfalse\n```\n",
        "<!-- numbers vary -->\n```console\n$ echo 'rms  -0.250 px'\nrms 12 px\n```\n",
        "```console\n$ printf 'a\\nb\\nc\\n'\na\n...\n```\n",
        "```console\n$ printf 'a\\nb\\nc\\n'\n...\nc\n```\n",
        "```console\n$ echo a \\\n> b\na b\n```\n",
        "```text\nan illustration\n```\n",
    ],
)
def test_a_page_may_say_what_is_special_about_a_block(page, tmp_path):
    run_page(page, name="page.md", folder=tmp_path)

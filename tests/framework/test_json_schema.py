"""The schemas accept and refuse what `build_config` does, and say where the mistake is."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from firstlight.cli.schema_files import schemas, write_schemas
from firstlight.errors import ConfigError
from firstlight.framework import Layer, build_config, known_tasks
from firstlight.framework.json_schema import settings_schema
from firstlight.framework.yaml_lines import read_value
from firstlight.tasks.single_frame import SingleFrameConfig

from .schema_mistakes import mistakes

ROOT = Path(__file__).parents[2]
SCHEMAS = schemas()
FILES = sorted((ROOT / "config").rglob("*.yaml"))


def schema_of(path):
    folders = {"pipelines": "pipeline", "colorterms": "colorterms", "presets": "overrides"}
    name = path.stem if path.stem in SCHEMAS else folders.get(path.parent.name)
    return SCHEMAS[name]


def references(schema):
    if isinstance(schema, Mapping):
        yield from ([schema["$ref"]] if isinstance(schema.get("$ref"), str) else [])
        for item in schema.values():
            yield from references(item)
    elif isinstance(schema, list):
        for item in schema:
            yield from references(item)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_and_holds_all_that_it_refers_to_and_no_more(name):
    Draft7Validator.check_schema(SCHEMAS[name])

    assert set(references(SCHEMAS[name])) == {f"#/definitions/{each}" for each in SCHEMAS[name]["definitions"]}


def test_there_is_a_schema_for_every_known_task():
    assert set(SCHEMAS) == {"overrides", "pipeline", "instrument", "colorterms", *known_tasks()}


def test_schemas_written_again_are_the_same_bytes(tmp_path):
    written = write_schemas(tmp_path / "here")
    program = "import sys, pathlib, firstlight.cli.schema_files as it; it.write_schemas(pathlib.Path(sys.argv[1]))"
    other = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", program, tmp_path / "there"], check=True, env=other)

    assert [path.name for path in written] == [f"{name}.schema.json" for name in SCHEMAS]
    for path in written:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()
        assert json.loads(path.read_bytes()) == SCHEMAS[path.name.removesuffix(".schema.json")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_that_comes_with_firstlight_fits_its_schema(path):
    assert mistakes(schema_of(path), path.read_text()) == []


def test_all_settings_written_out_fit_their_schema():
    assert mistakes(SCHEMAS["overrides"], SingleFrameConfig().to_yaml()) == []


PAGE = (ROOT / "doc/how_to/override_settings.md").read_text()
FOUND = {one or other for one, other in re.findall(r"-c (?:'([a-z_]+:[^']+)'|([a-z_]+:[\w.]+=[\w.-]+))", PAGE)}
SHOWN = sorted(each for each in FOUND if not re.fullmatch(r".*\.plugins\.\w+=null", each))
"""A schema cannot tell that there is no plug-in of a name to be taken out."""


@pytest.mark.parametrize("setting", SHOWN)
def test_a_setting_shown_in_the_documentation_fits_exactly_if_it_can_be_given(setting):
    layer = Layer.from_assignment(setting)
    try:
        build_config(SingleFrameConfig, [layer])
        given = True
    except ConfigError:
        given = False

    assert Draft7Validator(SCHEMAS["overrides"]).is_valid(json.loads(json.dumps(layer.values, default=list))) == given


@pytest.mark.parametrize(
    "yaml",
    [
        "calibrate.psf.order: 3",
        "calibrate: {psf.order: 3, psf.task: PixelPsfTask}",
        "calibrate: {psf: {task: 'team.psf:TeamPsfTask', anything: 3}}",
        "calibrate: {psf: {task: GaussianPsfTask, min_stars: 5}}",
        "calibrate: {cosmic_rays: null}",
        "measure: null",
        "isr: {task: 'team.isr:TeamIsrTask'}",
        "measure: {measurement: {plugins: {moments: null, more: {task: ApertureFluxPlugin, radii: [3, 6]}}}}",
        "measure: {measurement: {plugins: {aperture.radii: [3], aperture: {task: ApertureFluxPlugin}}}}",
        "calibrate: {photometry: {band: null, reference_columns: {mag_r: rmag, old: null}}}",
        "{}",
    ],
)
def test_what_a_file_of_overrides_may_say_is_accepted(yaml):
    assert mistakes(SCHEMAS["overrides"], yaml) == []


@pytest.mark.parametrize(
    ("yaml", "paths"),
    [
        ("calibrate: {psf: {oder: 1}}", ["calibrate.psf.oder"]),
        ("psf: {order: 1}", ["psf"]),
        ("calibrate: {psf: {order: three}}", ["calibrate.psf.order"]),
        ("calibrate: {psf: {order: '3'}}", ["calibrate.psf.order"]),
        ("calibrate: {psf: {order: -1}}", ["calibrate.psf.order"]),
        ("calibrate: {psf: {reserve_fraction: 1.0}}", ["calibrate.psf.reserve_fraction"]),
        ("calibrate: {psf: {task: MeshBackgroundTask}}", ["calibrate.psf.task"]),
        ("calibrate: {psf: {task: PixlPsfTask, order: 3}}", ["calibrate.psf.task"]),
        ("calibrate: {psf: {task: GaussianPsfTask, order: 3}}", ["calibrate.psf.order"]),
        ("calibrate: {psf: PixelPsfTask}", ["calibrate.psf"]),
        ("calibrate: {psf: null}", ["calibrate.psf"]),
        ("calibrate: {aperture_fwhm.x: 2}", ["calibrate.aperture_fwhm.x"]),
        ("isr: {order: 1}", ["isr"]),
        ("measure: {background: {method: mean}}", ["measure.background.method"]),
        ("measure: {measurement: {plugins: {more: {radii: [3]}}}}", ["measure.measurement.plugins.more"]),
        (
            "measure: {measurement: {plugins: {aperture: {radii: [3, -6]}}}}",
            ["measure.measurement.plugins.aperture.radii.1"],
        ),
        (
            "calibrate: {psf: {oder: 1}, background: {bin_size: -4}}",
            ["calibrate.background.bin_size", "calibrate.psf.oder"],
        ),
        ("calibrate: {psf: {order: parameters.order}}", ["calibrate.psf.order"]),
    ],
)
def test_a_mistake_in_overrides_is_refused_where_it_stands(yaml, paths):
    assert mistakes(SCHEMAS["overrides"], yaml) == paths
    with pytest.raises(ConfigError):
        build_config(SingleFrameConfig, [Layer.from_mapping(read_value(yaml), origin="the test")])


def test_settings_of_one_task_stand_without_a_label_and_without_its_name():
    assert mistakes(SCHEMAS["PixelPsfTask"], "order: 1") == []
    assert mistakes(SCHEMAS["PixelPsfTask"], "{task: PixelPsfTask, psf: {order: 1}}") != []


def test_an_instrument_needs_its_name():
    assert mistakes(SCHEMAS["instrument"], "{name: mine, gain: 2}") == []
    assert "'name' is a required property" in [
        error.message for error in Draft7Validator(SCHEMAS["instrument"]).iter_errors({"gain": 2})
    ]


def test_a_field_shows_its_documentation_its_bounds_and_the_default_of_its_slot():
    shared = SCHEMAS["overrides"]["definitions"]
    detectors = [each["properties"] for name, each in shared.items() if name.startswith("MatchedFilter")]
    threshold = [each["threshold"] for each in detectors if "threshold" in each]

    assert {5.0, 10.0} <= {field["default"] for field in threshold}
    for field in threshold:
        assert field["description"].partition("\n\n")[2] == f"Default {field['default']}, above 0."
    assert all("[standard deviation]" in field["description"] for field in threshold)


def test_a_task_of_another_package_is_offered_and_one_that_cannot_be_imported_is_left_out(installed):
    source = """
        from firstlight.framework import Config
        from firstlight.tasks.psf import PixelPsfConfig, PsfTask

        class TeamPsfConfig(PixelPsfConfig):
            softness: float = 1.0
            "How soft [pixel]."

        class TeamPsfTask(PsfTask[TeamPsfConfig]):
            "A soft PSF."
            def fit(self, exposure, stars, neighbours):
                "Fits nothing."

    """
    installed("team", source, {"TeamPsfTask": "TeamPsfTask", "GoneTask": "GoneTask"})
    schema = settings_schema(SingleFrameConfig, title="with a team's task")

    assert mistakes(schema, "calibrate: {psf: {task: TeamPsfTask, softness: 2, order: 1}}") == []
    assert mistakes(schema, "calibrate: {psf: {task: TeamPsfTask, softnes: 2}}") == ["calibrate.psf.softnes"]
    assert mistakes(schema, "calibrate: {psf: {task: GoneTask}}") == ["calibrate.psf.task"]

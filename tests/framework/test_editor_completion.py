"""An editor completes, explains and checks YAML with the schemas; asked of the server that VS Code and Neovim use."""

import shutil

import pytest

from firstlight.cli.schema_files import write_schemas

from .language_client import LanguageClient

SERVER = shutil.which("yaml-language-server")
pytestmark = pytest.mark.skipif(SERVER is None, reason="needs yaml-language-server (npm install yaml-language-server)")

GAUSSIAN = {"min_snr", "min_stars", "max_stars", "reserve_fraction", "warn_n_stars"}
PIXEL = GAUSSIAN | {"order", "stamp_fwhm"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(folder)
    return folder


@pytest.fixture(scope="module")
def editor(folder):
    with LanguageClient(SERVER, folder) as client:
        yield client


@pytest.fixture(scope="module")
def overrides(folder):
    return folder / "overrides.schema.json"


@pytest.fixture(scope="module")
def pipeline(folder):
    return folder / "pipeline.schema.json"


def test_labels_are_offered_at_the_top(editor, overrides):
    assert {"isr", "calibrate", "measure"} <= set(editor.completions("|", overrides))


@pytest.mark.parametrize(
    ("above", "offered"),
    [
        ("", PIXEL | {"task"}),
        ("    task: PixelPsfTask\n", PIXEL),
        ("    task: GaussianPsfTask\n", GAUSSIAN),
    ],
    ids=["default", "PixelPsfTask", "GaussianPsfTask"],
)
def test_the_fields_of_the_chosen_task_are_offered(editor, overrides, above, offered):
    assert set(editor.completions(f"calibrate:\n  psf:\n{above}    |", overrides)) == offered


def test_a_field_is_completed_with_its_default(editor, overrides):
    fields = editor.completions("calibrate:\n  psf_detection:\n    |", overrides)

    assert "10" in fields["threshold"]
    assert "MatchedFilterDetectTask" in fields["task"]


@pytest.mark.parametrize("text", ["calibrate:\n  psf:\n    task: |", "calibrate:\n  psf: {task: |}"])
def test_only_tasks_of_the_family_are_offered(editor, overrides, text):
    assert set(editor.completions(text, overrides)) == {"GaussianPsfTask", "PixelPsfTask"}


def test_the_values_of_a_closed_choice_are_offered(editor, overrides, pipeline):
    config = "tasks:\n  deep:\n    class: MeasureImageTask\n    config:\n      background:\n        method: |"

    assert set(editor.completions("measure:\n  background:\n    method: |", overrides)) == {"chebyshev", "spline"}
    assert set(editor.completions(config, pipeline)) == {"chebyshev", "spline"}


def test_plug_ins_are_offered_by_name_and_a_new_one_asks_for_its_task(editor, overrides):
    plugins = "measure:\n  measurement:\n    plugins:\n      "

    assert {"aperture", "moments", "psf_flux"} <= set(editor.completions(f"{plugins}|", overrides))
    assert "radii" in editor.completions(f"{plugins}aperture:\n        |", overrides)
    assert "ApertureFluxPlugin" in editor.completions(f"{plugins}mine:\n        task: |", overrides)


def test_resting_on_a_field_shows_what_it_means_its_unit_default_and_bounds(editor, overrides):
    shown = editor.hover("calibrate:\n  psf_detection:\n    thresh|old: 3", overrides).replace("\\", "")

    assert "[standard deviation]" in shown
    assert "Default 10.0, above 0." in shown


def test_resting_on_a_task_shows_what_each_one_is(editor, overrides):
    shown = editor.hover("calibrate:\n  psf:\n    task: Gauss|ianPsfTask", overrides)

    assert "`GaussianPsfTask`: One Gaussian for the whole field" in shown


def test_mistakes_are_marked_on_their_lines(editor, overrides):
    text = "calibrate:\n  psf:\n    oder: 1\n  background: {bin_size: -4}\npsf: {}\n"
    text += "measure: {detection: {task: PixelPsfTask}}\n"

    assert editor.problems(text, overrides) == [
        (3, "Property oder is not allowed."),
        (4, "Value is below the exclusive minimum of 0."),
        (5, "Property psf is not allowed."),
        (6, 'Value is not accepted. Valid values: "MatchedFilterDetectTask".'),
    ]


def test_a_file_without_mistakes_has_no_marks(editor, overrides):
    assert editor.problems("calibrate: {psf.order: 3, psf: {task: PixelPsfTask}, cosmic_rays: null}\n", overrides) == []


def test_a_pipeline_offers_its_parts_its_tasks_and_the_settings_of_each(editor, pipeline):
    task = "tasks:\n  deep:\n    class: MeasureImageTask\n    config:\n      "

    assert {"description", "imports", "tasks", "subsets", "contracts"} <= set(editor.completions("|", pipeline))
    assert "CalibrateImageTask" in editor.completions("tasks:\n  calibrate: |", pipeline)
    assert "PixelPsfTask" not in editor.completions("tasks:\n  calibrate:\n    class: |", pipeline)
    assert {"file", "detection", "background"} <= set(editor.completions(f"{task}|", pipeline))
    assert "psf" not in editor.completions(f"{task}|", pipeline)
    assert "bin_size" in editor.completions(
        f"{task}background:\n        task: ConstantBackgroundTask\n        |", pipeline
    )


def test_a_pipeline_takes_parameters_for_values_but_checks_the_others(editor, pipeline):
    task = "tasks:\n  deep:\n    class: MeasureImageTask\n    config: {{detection: {{threshold: {}, noise: {}}}}}\n"

    assert editor.problems(task.format("parameters.depth", "parameters.noise"), pipeline) == []
    assert [line for line, _ in editor.problems(task.format(-1, "loud"), pipeline)] == [4, 4]

"""The schema of pipeline files accepts what can stand there, and settings according to the class."""

import pytest
from jsonschema import Draft7Validator

from firstlight.framework.pipeline_json_schema import pipeline_schema
from firstlight.framework.yaml_lines import read_value

from .schema_mistakes import mistakes

SCHEMA = pipeline_schema(title="a pipeline")
PIPELINE = """
description: One image
instrument: ztf
parameters: {threshold: 4.0, planes: [BAD]}
imports:
  - single_frame.yaml
  - {location: other.yaml, include: [a], exclude: b}
inputs: [raw]
tasks:
  calibrate:
    class: CalibrateImageTask
    config:
      file: [psf.yaml]
      psf.order: 3
      background: {task: ConstantBackgroundTask, bin_size: parameters.size}
      psf_detection: {noise: parameters.noise, bad_planes: [parameters.plane], min_area: 3}
      star_detection: {bad_planes: parameters.planes}
  measure: MeasureImageTask
  old: null
  more: {config: {anything: 1}}
  other: {class: 'team.tasks:TeamTask', config: {anything: 1}}
subsets:
  both: [calibrate, measure]
  one: {subset: [measure], description: Only one}
contracts:
  - {contract: 'calibrate:psf.order <= 3', msg: Too high}
"""


def test_a_pipeline_file_with_all_that_can_stand_there_is_accepted():
    assert mistakes(SCHEMA, PIPELINE) == []


@pytest.mark.parametrize(
    ("yaml", "paths"),
    [
        ("task: {}", ["task"]),
        ("tasks: {a: CalibrateTask}", ["tasks.a"]),
        ("tasks: {a: PixelPsfTask}", ["tasks.a"]),
        ("tasks: {a: {class: MeasureImageTask, confg: {}}}", ["tasks.a"]),
        ("imports: [{include: [a]}]", ["imports"]),
        ("contracts: [{msg: a}]", ["contracts.0"]),
        ("parameters: {a: {b: 1}}", ["parameters.a"]),
    ],
)
def test_a_mistake_in_a_pipeline_file_is_refused(yaml, paths):
    assert mistakes(SCHEMA, yaml) == paths


def test_settings_in_a_pipeline_are_those_of_its_class():
    task = "{class: MeasureImageTask, config: {detection: {threshold: 0, noise: loud, min_area: parameter.a}}}"
    [error] = Draft7Validator(SCHEMA).iter_errors(read_value(f"tasks: {{a: {task}}}"))
    paths = {".".join(map(str, each.absolute_path)) for each in error.context if "detection" in each.absolute_path}

    assert paths == {f"tasks.a.config.detection.{name}" for name in ("threshold", "noise", "min_area")}

"""Mistakes in pipeline files: all of a file at once, each with its line."""

import pytest

from firstlight.errors import PipelineError
from firstlight.framework import Pipeline

from .pipeline_tasks import CORRECT, NIGHT, TASKS, labels


def test_every_mistake_of_a_file_is_told_at_once_with_its_line(refused_pipeline):
    lines = refused_pipeline(
        f"""
        descripton: A night.
        description: [a]
        instrument: 3
        parameters:
          one: {{a: 1}}
          a-b: 1
        imports:
          - 3
          - {{include: [a]}}
          - {{location: x.yaml, inclde: [a]}}
        inputs: [1]
        tasks:
          parameters: {TASKS}:CorrectTask
          a.b: {TASKS}:CorrectTask
          one: 3
          two: {{clas: X}}
          three: {{class: [X]}}
          four: {{}}
          five: {{class: X, config: {{python: 1, file: none.yaml, a.b: 1, a: {{b: 2, c: 1}}, a.c: 2}}}}
          six: {{class: X, config: 3}}
        subsets:
          empty: []
          odd: [1]
          a,b: [one]
          some: {{subset: one, descrption: x}}
          none: {{description: x}}
        contracts:
          - 1
          - {{msg: x}}
          - 1 ==
          - {{contract: 1 == 1, mgs: x}}
        """
    )

    assert lines == [
        "descripton: no such part of a pipeline; did you mean 'description'? (from main.yaml:2)",
        "description: a text was expected; got ['a'] (from main.yaml:3)",
        "instrument: a text was expected; got 3 (from main.yaml:4)",
        "parameters.one: a parameter is one value or a list (from main.yaml:6)",
        "parameters.a-b: a name is a word of letters, digits and _ (from main.yaml:7)",
        "imports: a text or a mapping was expected; got 3 (from main.yaml:9)",
        "imports: an import has a location: the path of a pipeline file (from main.yaml:10)",
        "imports.inclde: no such key; did you mean 'include'? (from main.yaml:11)",
        "inputs: a list of names was expected; got 1 (from main.yaml:12)",
        "tasks.parameters: a label is a word of letters, digits and _, and not 'parameters' (from main.yaml:14)",
        "tasks.a.b: a label is a word of letters, digits and _, and not 'parameters' (from main.yaml:15)",
        "tasks.one: a mapping was expected; got 3 (from main.yaml:16)",
        "tasks.two.clas: no such key; did you mean 'class'? (from main.yaml:17)",
        "tasks.two: name a class, as in {class: CalibrateImageTask} (from main.yaml:17)",
        "tasks.three.class: a task is named by a text; got ['X'] (from main.yaml:18)",
        "tasks.four: name a class, as in {class: CalibrateImageTask} (from main.yaml:19)",
        "tasks.five.config.python: a pipeline runs no Python; write the settings (from main.yaml:20)",
        "tasks.five.config.file: none.yaml: cannot be read: No such file or directory. (from main.yaml:20)",
        "tasks.five.config.a.b: is given twice; first on line 20 (from main.yaml:20)",
        "tasks.five.config.a.c: is given twice; first on line 20 (from main.yaml:20)",
        "tasks.six.config: a mapping was expected; got 3 (from main.yaml:21)",
        "subsets.empty: a subset is a list of labels (from main.yaml:23)",
        "subsets.odd: a list of names was expected; got 1 (from main.yaml:24)",
        "subsets.a,b: a name is a word of letters, digits and _ (from main.yaml:25)",
        "subsets.some.descrption: no such key; did you mean 'description'? (from main.yaml:26)",
        "subsets.none: a subset is a list of labels (from main.yaml:27)",
        "contracts: a text or a mapping was expected; got 1 (from main.yaml:29)",
        "contracts: a contract is a text such as calibrate:psf.order <= 3 (from main.yaml:30)",
        "contracts: contract '1 ==': it ends where a value was expected (from main.yaml:31)",
        "contracts.mgs: no such key; did you mean 'msg'? (from main.yaml:32)",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tasks: {}\ntasks: {}", "main.yaml:2: 'tasks' is given twice; first on line 1."),
        (f"tasks:\n  {CORRECT}\n  {CORRECT}", "main.yaml:3: 'correct' is given twice; first on line 2."),
        ("- tasks", "main.yaml:1: a mapping was expected."),
        ("tasks: &x {a: *x}", "main.yaml:1: aliases make more than 100000 values of it."),
        (
            "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]" for n in range(9)),
            "main.yaml:1: aliases make more than 100000 values of it.",
        ),
        ("description: 'a\0b'", "main.yaml: unacceptable character #x0000: control characters are not allowed in"),
        ("tasks: [", "main.yaml:2: did not find expected node content."),
        ("tasks:\n  a: !!python/name:os.system ''", "main.yaml:2: could not determine a constructor for the tag"),
    ],
)
def test_a_file_that_is_no_mapping_is_told_with_its_line(refused_pipeline, text, line):
    (found,) = refused_pipeline(text)

    assert found.startswith(line)


IMPORTED = f"tasks: {{{CORRECT}}}\nsubsets: {{some: [correct]}}\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "imports: [{location: low.yaml, include: [corect], exclude: [smoe]}]",
            [
                "imports: low.yaml has no label or subset 'corect'; did you mean 'correct'? (from main.yaml:1)",
                "imports: low.yaml has no label or subset 'smoe'; did you mean 'some'? (from main.yaml:1)",
            ],
        ),
        (
            "imports:\n- lwo.yaml",
            ["lwo.yaml: there is no such pipeline file; did you mean 'low.yaml'? (from main.yaml:2)"],
        ),
        (
            "imports: ['low.yaml#correct']",
            ["imports: an import takes include and exclude in place of '#' (from main.yaml:1)"],
        ),
        ("imports: " + 300 * "x", [300 * "x" + ": there is no such pipeline file (from main.yaml:1)"]),
        ("imports: ['nopackage:x.yaml']", ["nopackage:x.yaml: no such package is installed (from main.yaml:1)"]),
        ("imports: ['__main__:x.yaml']", ["__main__:x.yaml: no such package is installed (from main.yaml:1)"]),
        (
            "imports: ['firstlight:x.yaml']",
            ["firstlight:x.yaml: the package 'firstlight' has no such file (from main.yaml:1)"],
        ),
        (
            "imports: ['firstlight:../firstlight.yaml']",
            ["firstlight:../firstlight.yaml: the package 'firstlight' has no such file (from main.yaml:1)"],
        ),
        (
            "imports: low.yaml\nsubsets: {one: [corect]}\ncontracts: ['corect:a == 1']",
            [
                "subsets.one: no such label; did you mean 'correct'? (from main.yaml:2)",
                "contracts: no such label; did you mean 'correct'? in 'corect:a == 1' (from main.yaml:3)",
            ],
        ),
        (
            f"imports: low.yaml\ntasks: {{some: {TASKS}:SumTask}}\nsubsets: {{correct: [some]}}",
            [
                "subsets.some: this is the name of a label too (from low.yaml:2)",
                "subsets.correct: this is the name of a label too (from main.yaml:3)",
            ],
        ),
        (
            "imports: [bad.yaml, worse.yaml, {location: bad.yaml, exclude: x}]",
            [
                "tsks: no such part of a pipeline; did you mean 'tasks'? (from bad.yaml:1)",
                "bad.yml: there is no such pipeline file; did you mean 'bad.yaml'? (from worse.yaml:1)",
            ],
        ),
    ],
)
def test_a_mistake_about_imports_is_told_with_its_line(refused_pipeline, text, lines):
    assert refused_pipeline(text, low=IMPORTED, bad="tsks: 1", worse="imports: bad.yml") == lines


@pytest.mark.parametrize(
    ("files", "chain"),
    [
        ({"text": "imports: main.yaml"}, "main.yaml -> main.yaml"),
        (
            {"text": "imports: a.yaml", "a": "imports: b.yaml", "b": "imports: a.yaml"},
            "main.yaml -> a.yaml -> b.yaml -> a.yaml",
        ),
        ({"text": "imports: d/../main.yaml", "d__x": ""}, "main.yaml -> d/../main.yaml"),
        ({"text": "imports: d/a.yaml", "d__a": "imports: ../main.yaml"}, "main.yaml -> d/a.yaml -> d/../main.yaml"),
    ],
)
def test_a_circle_of_imports_is_told_in_one_line(refused_pipeline, files, chain):
    (line,) = refused_pipeline(**files)

    assert f"a pipeline imports itself: {chain} (from " in line


def test_a_file_that_names_itself_absolutely_is_a_circle(write, tmp_path):
    write(main=f"imports: [{tmp_path / 'main.yaml'}]")

    with pytest.raises(PipelineError, match="a pipeline imports itself"):
        Pipeline.load("main.yaml")


def test_a_file_that_is_not_there_is_told_with_the_nearest_one(write):
    write(night=NIGHT)

    with pytest.raises(PipelineError) as raised:
        Pipeline.load("nigth.yaml#..sum")
    assert str(raised.value) == "nigth.yaml: there is no such pipeline file; did you mean 'night.yaml'?"
    with pytest.raises(PipelineError, match=r"^singl_frame\.yaml: .*did you mean 'single_frame\.yaml'\?$"):
        Pipeline.load("singl_frame.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f"tasks: {{sum: {TASKS}:SumTsk}}",
            f"sum:task: module {TASKS!r} has no class 'SumTsk'; did you mean 'SumTask'?",
        ),
        ("tasks: {sum: firstlight.testing.arithmetic:AddTask}", "sum:task: AddTask is not a PipelineTask"),
        (f"tasks: {{{CORRECT}, crrect: {{config: {{with_bias: false}}}}}}", "crrect:with_bias: no such label"),
        (f"tasks: {{{CORRECT}, crrect: null}}", "crrect: no such label; did you mean 'correct'?"),
        (
            f"tasks: {{correct: {{class: {TASKS}:CorrectTask, config: {{with_bais: 1}}}}}}",
            "correct:with_bais: no such field; did you mean 'with_bias'?",
        ),
    ],
)
def test_a_task_or_setting_that_does_not_fit_is_told_with_its_line(refused_pipeline, text, words):
    (line,) = refused_pipeline(text)

    assert line.startswith(words.split(":")[0])
    assert words.split(": ", 1)[1] in line
    assert line.endswith(" (from main.yaml:1)")


def test_a_class_is_never_taken_from_the_working_directory(refused_pipeline, tmp_path, monkeypatch):
    (tmp_path / "sneaky.py").write_text("raise SystemExit('was run')", encoding="utf-8")
    monkeypatch.syspath_prepend("")

    assert refused_pipeline("tasks: {one: 'sneaky:Task'}") == [
        "one:task: 'sneaky:Task': 'sneaky' is only in the working directory; install the package first "
        "(from main.yaml:1)"
    ]


def test_files_of_installed_packages_can_be_imported(write, installed):
    site = installed("cameras", "", {})
    (site / "cameras" / "pipelines").mkdir()
    (site / "cameras" / "pipelines" / "night.yaml").write_text(NIGHT, encoding="utf-8")
    write(main="imports: ['cameras:pipelines/night.yaml']")

    assert labels() == labels("cameras:pipelines/night.yaml") == ["correct", "sum", "compare"]

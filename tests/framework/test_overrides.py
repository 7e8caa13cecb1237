"""Layers are merged by the rules, and every mistake is one line with its origin."""

import pytest

from firstlight.errors import ConfigError
from firstlight.framework import Config, Layer, build_config, subtask
from firstlight.testing.arithmetic import AddTask, InvertTask, MultiplyTask, NightConfig, NumberTask

ARITHMETIC = "firstlight.testing.arithmetic"


@pytest.fixture
def yaml_layer(tmp_path):
    def read(text, label=""):
        path = tmp_path / "night.yaml"
        path.write_text(text)
        return Layer.from_file(f"{label}:{path}" if label else path), path

    return read


class TestLayers:
    def test_a_file_gives_every_value_its_line(self, yaml_layer):
        layer, path = yaml_layer("calibrate:\n  first:\n    amount: 3.0\n  digits:\n  - 1\n  - 4\nseed: 2\n")

        assert layer.origins == {
            "calibrate.first.amount": f"{path}:3",
            "calibrate.digits": f"{path}:4",
            "seed": f"{path}:7",
        }
        assert layer.values == {"calibrate": {"first": {"amount": 3.0}, "digits": (1, 4)}, "seed": 2}

    def test_a_labelled_file_holds_the_settings_of_one_label(self, yaml_layer):
        layer, path = yaml_layer("first.amount: 3.0\n", label="calibrate")

        assert layer.origins == {"calibrate.first.amount": f"{path}:1"}

    def test_a_second_document_is_not_read(self, yaml_layer):
        assert yaml_layer("seed: 2\n---\nseed: [[2, somewhere, '']]\n")[0].values == {"seed": 2}

    def test_an_empty_file_changes_nothing(self, yaml_layer):
        assert yaml_layer("# nothing yet\n")[0] == Layer()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("seed: 1\nmeasure: null\nseed: 2\n", ":3: 'seed' is given twice; first on line 1."),
            (
                "calibrate: {first.amount: 1}\ncalibrate.first.amount: 2\n",
                ":2: 'calibrate.first.amount' is given twice",
            ),
            ("calibrate:\n  weights: {a: 1, a: 2}\n", ":2: 'a' is given twice"),
            ("seed: [1, 2\n", "expected ',' or ']'"),
            ("- seed\n", ":1: a mapping of settings was expected."),
            ("seed: !!python/name:os.system\n", "could not determine a constructor"),
        ],
    )
    def test_a_file_that_cannot_be_understood_names_the_line(self, yaml_layer, text, words):
        with pytest.raises(ConfigError) as raised:
            yaml_layer(text)

        assert "night.yaml:" in str(raised.value)
        assert words in str(raised.value)

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read: No such file"):
            Layer.from_file(tmp_path / "missing.yaml")

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("3", 3),
            ("1e-3", 1e-3),
            ("[1, 2]", (1, 2)),
            ("null", None),
            ("no", "no"),
            ("12:30:00", "12:30:00"),
            ("a=b", "a=b"),
        ],
    )
    def test_the_value_of_an_assignment_is_yaml(self, text, value):
        (setting,) = Layer.from_assignment(f"calibrate:first.amount={text}").settings

        assert (setting.path, setting.value) == (("calibrate", "first", "amount"), value)
        assert setting.origin == f"-c calibrate:first.amount={text}"

    def test_an_assignment_can_fill_a_whole_slot(self):
        layer = Layer.from_assignment("calibrate:first={task: AddTask, amount: 3}")

        assert layer.values == {"calibrate": {"first": {"task": "AddTask", "amount": 3}}}

    @pytest.mark.parametrize(
        "text", ["calibrate:first.amount", "calibrate:first.amount=", "=3", "calibrate:=3", "a:b=[1"]
    )
    def test_an_assignment_that_is_not_one_is_refused(self, text):
        with pytest.raises(ConfigError, match=r"\(from -c\)$"):
            Layer.from_assignment(text)

    def test_slots_and_configs_of_a_program_become_settings(self):
        layer = Layer.from_mapping({"calibrate.first": subtask(AddTask, amount=3.0)}, origin="a notebook")

        assert layer.values == {"calibrate": {"first": {"task": AddTask, "amount": 3.0}}}

    def test_the_settings_of_one_label_can_be_taken_out(self):
        layer = Layer.from_mapping({"calibrate": {"first.amount": 3.0}, "seed": 2}, origin="x")

        assert layer.below("calibrate").values == {"first": {"amount": 3.0}}


class TestMerging:
    def test_the_last_layer_wins(self, built):
        config = built("calibrate:first.amount=3", "calibrate:first.amount=4")

        assert config.calibrate.config.first.config.amount == 4.0
        assert [origin for _, origin, _ in config.history("calibrate:first.amount")] == [
            "default of AddConfig",
            "subtask(AddTask)",
            "-c calibrate:first.amount=3",
            "-c calibrate:first.amount=4",
        ]

    def test_mappings_merge_and_sequences_replace(self, built):
        config = built({"calibrate": {"weights": {"triple": 2.0}, "digits": [5]}}).calibrate.config

        assert config.weights == {"double": 1.0, "triple": 2.0}
        assert config.digits == (5,)

    def test_null_removes_one_value_of_a_mapping_or_all(self, built):
        assert built("calibrate:weights.double=null").calibrate.config.weights == {}
        cleared = built({"calibrate": {"weights": {"a": 1.0}}}, "calibrate:weights=null", "calibrate:weights.b=2")
        assert cleared.calibrate.config.weights == {"b": 2.0}

    def test_null_clears_a_slot(self, built):
        assert built("calibrate:second=null").calibrate.config.second is None

    def test_null_clears_what_stands_below_it_in_earlier_layers(self, built):
        config = built(
            "calibrate:second.factor=7", "calibrate:second=null", {"calibrate.second": {"task": MultiplyTask}}
        )

        assert config.calibrate.config.second == subtask(MultiplyTask)
        dropped = config.history("calibrate:second.factor")[1]
        assert (dropped.value, dropped.note) == (7, "dropped: second was emptied by -c calibrate:second=null")

    def test_a_setting_under_an_empty_slot_names_the_line_that_emptied_it(self, refused, tmp_path):
        path = tmp_path / "off.yaml"
        path.write_text("calibrate:\n  second: null\n")
        layers = [Layer.from_file(path), Layer.from_assignment("calibrate:second.factor=3")]

        with pytest.raises(ConfigError) as raised:
            build_config(NightConfig, layers)

        assert str(raised.value) == (
            f"calibrate:second.factor: the slot 'second' is empty since {path}:2; name a task to fill it "
            "(from -c calibrate:second.factor=3)"
        )

    def test_a_setting_under_a_slot_that_is_empty_by_default_is_an_error(self, refused):
        (line,) = refused("measure:limit=3")

        assert line.startswith("measure:limit: the slot 'measure' is empty by default; name a task to fill it")

    def test_naming_a_task_fills_an_empty_slot(self, built):
        config = built(f"measure={{limit: 3, task: '{ARITHMETIC}:InvertTask'}}")

        assert config.measure == subtask(InvertTask, limit=3.0)

    def test_plugins_merge_by_name_and_null_removes_one(self, built):
        plugins = built(
            "calibrate:plugins.double=null",
            "calibrate:plugins.triple.factor=3.5",
            {"calibrate": {"plugins": {"more": {"amount": 9.0, "task": AddTask}}}},
        ).calibrate.config.plugins

        assert dict(plugins) == {"triple": subtask(MultiplyTask, factor=3.5), "more": subtask(AddTask, amount=9.0)}

    def test_null_for_all_plugins_removes_them(self, built):
        config = built("calibrate:plugins=null", {"calibrate.plugins.only": {"task": AddTask}})

        assert list(config.calibrate.config.plugins) == ["only"]

    def test_a_slot_that_no_layer_touches_is_shared_with_the_default(self, built):
        assert built("seed=3").calibrate is NightConfig().calibrate

    def test_assignments_of_one_command_line_are_one_layer(self, refused):
        together = Layer.from_assignments(
            ["calibrate:first.amount=3", f"calibrate:first.task={ARITHMETIC}:MultiplyTask"]
        )

        with pytest.raises(ConfigError, match=r"calibrate:first\.amount: no such field"):
            build_config(NightConfig, [together])


class TestMistakes:
    """Each is one line: path, what is wrong, what may be meant, and where it came from."""

    @pytest.mark.parametrize(
        ("setting", "line"),
        [
            ("calibrate:first.amuont=3", "calibrate:first.amuont: no such field; did you mean 'amount'?"),
            ("calibrate:frist.amount=3", "calibrate:frist: no such field; did you mean 'first'?"),
            ("calibrat:first.amount=3", "calibrat: no such label; did you mean 'calibrate'?"),
            ("xyz:first.amount=3", "xyz: no such label; there are calibrate, measure"),
            ("sede=3", "sede: no such field; did you mean 'seed'?"),
            ("calibrate:first.amount=many", "calibrate:first.amount: should be a valid number; got 'many'"),
            ("calibrate:first.repeats=1.5", "calibrate:first.repeats: should be a valid integer; got 1.5"),
            ("calibrate:first.repeats=true", "calibrate:first.repeats: should be of type int; got True"),
            ("calibrate:first.repeats='2'", "calibrate:first.repeats: should be of type int; got '2'"),
            ("calibrate:first.limit=-1", "calibrate:first.limit: should be greater than 0; got -1"),
            ("calibrate:digits=[1, 0]", "calibrate:digits.1: should be greater than 0; got 0"),
            ("calibrate:weights.double=x", "calibrate:weights.double: should be a valid number; got 'x'"),
            (
                "calibrate:first.amount.x=1",
                "calibrate:first.amount.x: 'amount' is one value and has no settings below it",
            ),
            ("calibrate:first=null", "calibrate:first: this slot cannot be empty"),
            (
                "calibrate:first=AddTask",
                "calibrate:first: a slot takes one mapping such as {task: Name, field: value}; got 'AddTask'",
            ),
            ("calibrate:first.task=3", "calibrate:first.task: a task is named by a text; got 3"),
            (
                f"calibrate:first.task={ARITHMETIC}:CalculateTask",
                "calibrate:first.task: CalculateTask is not a NumberTask",
            ),
            (
                f"calibrate:first.task={ARITHMETIC}:NumberTask",
                "calibrate:first.task: NumberTask is only an interface; name a class that implements it",
            ),
            (
                f"calibrate:first.task={ARITHMETIC}:AdTask",
                f"calibrate:first.task: module '{ARITHMETIC}' has no class 'AdTask'; did you mean 'AddTask'?",
            ),
            (
                f"calibrate:first.task={ARITHMETIC}:AddConfig",
                "calibrate:first.task: AddConfig is not a NumberTask",
            ),
            ("calibrate:plugins.duoble.factor=3", "calibrate:plugins.duoble: no such plug-in; did you mean 'double'?"),
            ("calibrate:plugins.x=null", "calibrate:plugins.x: no such plug-in; name a task to add one"),
        ],
    )
    def test_a_mistake_is_one_line_with_its_origin(self, refused, setting, line):
        assert refused(setting) == [f"{line} (from -c {setting})"]

    def test_all_mistakes_are_told_at_once(self, refused):
        lines = refused("calibrate:first.amuont=3", "seed=0", "calibrate:second.factor=x", "measure.task=Nothing")

        assert [line.partition(" ")[0] for line in lines] == [
            "calibrate:first.amuont:",
            "calibrate:second.factor:",
            "measure:task:",
            "seed:",
        ]

    def test_the_origin_is_the_layer_that_made_the_mistake(self, refused):
        lines = refused("calibrate:first.repeats=2", "calibrate:first.repeats=-2", "calibrate:first.limit=3")

        assert lines == [
            "calibrate:first.repeats: should be greater than 0; got -2 (from -c calibrate:first.repeats=-2)"
        ]

    def test_a_wrong_label_is_told_once_for_a_file(self, tmp_path):
        path = tmp_path / "night.yaml"
        path.write_text("calibrat:\n  first.amount: 3\n  digits: [1]\n")

        with pytest.raises(ConfigError) as raised:
            build_config(NightConfig, [Layer.from_file(path)])

        assert str(raised.value) == f"calibrat: no such label; did you mean 'calibrate'? (from {path}:2)"

    def test_a_required_field_that_nothing_sets_is_told(self):
        needed = type("Needed", (Config,), {"__annotations__": {"size": int}, "__module__": __name__})

        with pytest.raises(ConfigError, match=r"^size: is required$"):
            build_config(needed, [])

    def test_paths_of_one_task_on_its_own_are_dotted_throughout(self):
        layers = [Layer.from_mapping({"calibrate": {"first": {"amuont": 1}}}, origin="x")]

        with pytest.raises(ConfigError, match=r"^calibrate\.first\.amuont: no such field"):
            build_config(NightConfig, layers, labelled=False)


def test_the_interface_of_the_arithmetic_family_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        NumberTask()

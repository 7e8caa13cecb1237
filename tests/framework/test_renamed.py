"""Settings under former names are taken with a warning; deprecated ones warn; removed ones say what to do instead."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import pytest
from pydantic import Field, PositiveInt
from structlog.testing import capture_logs

from firstlight.errors import ConfigError
from firstlight.framework import Config, Layer, Subtask, Task, build_config, load_config, save_config, subtask
from firstlight.framework.renamed import FormerName


class FitConfig(Config):
    """Settings of `FitTask`, version 0.3."""

    removed_fields: ClassVar[Mapping[str, str]] = {"sigma": "the width is measured; set 'fallback' where it cannot be"}

    order: Annotated[PositiveInt, FormerName("degree", since="0.2")] = 2
    """Order of the polynomial."""

    fallback: float = 1.5
    """Width if none is measured [pixel]."""

    rounds: int = Field(3, deprecated="the fit stops by itself; set 'tolerance'")
    """Number of rounds."""

    tolerance: float = 0.1
    """Change at which the fit stops."""


class FitTask(Task[FitConfig]):
    def run(self):
        return None


class OtherFitConfig(FitConfig):
    """Settings of another way to fit."""


class OtherFitTask(FitTask, Task[OtherFitConfig]):
    """Another way to fit."""


class ChildConfig(FitConfig):
    """Inherits what is gone."""

    removed_fields: ClassVar[Mapping[str, str]] = {"speed": "it is always fast"}


class StepConfig(Config):
    """A label with slots, one of them renamed, and configs in a tuple."""

    fit: Annotated[Subtask[FitTask], FormerName("model")] = subtask(FitTask)
    """The fit."""

    tries: tuple[FitConfig, ...] = ()
    """What else is tried."""

    by_band: Mapping[str, FitConfig] = {}
    """Settings by band."""


class StepTask(Task[StepConfig]):
    def run(self):
        return None


class WholeConfig(Config):
    """One label."""

    step: Subtask[StepTask] = subtask(StepTask)
    """The step."""


@pytest.fixture
def night(tmp_path):
    path = tmp_path / "night.yaml"

    def build(text, *assignments):
        path.write_text(text)
        layers = [Layer.from_file(path), *map(Layer.from_assignment, assignments)]
        with capture_logs() as logs:
            config = build_config(WholeConfig, layers)
        return config.step.config, logs, config

    build.path = path
    return build


def test_a_setting_under_a_former_name_is_taken_with_one_warning(night):
    step, logs, _ = night("step:\n  fit:\n    degree: 5\n")

    assert step.fit.config.order == 5
    assert logs == [
        {
            "event": "setting renamed",
            "log_level": "warning",
            "setting": "step:fit.degree",
            "now": "step:fit.order",
            "since": "0.2",
            "origin": f"{night.path}:3",
        }
    ]


def test_history_tells_the_former_name(night):
    _, _, config = night("step: {fit: {degree: 5}}\n", "step:fit.order=6")

    assert [(value, origin) for value, origin, _ in config.history("step:fit.order")] == [
        (2, "default of FitConfig"),
        (5, f"{night.path}:1, as 'degree'"),
        (6, "-c step:fit.order=6"),
    ]


def test_the_later_layer_wins_under_whichever_name(night):
    assert night("step.fit.degree: 5\n", "step:fit.order=6")[0].fit.config.order == 6
    assert night("step.fit.order: 5\n", "step:fit.degree=6")[0].fit.config.order == 6


def test_a_slot_can_have_a_former_name(night):
    step, logs, _ = night("step:\n  model: {order: 4}\n", "step:model.tolerance=0.5")

    assert step.fit == subtask(FitTask, order=4, tolerance=0.5)
    assert [log["origin"] for log in logs] == [f"{night.path}:2", "-c step:model.tolerance=0.5"]


def test_retargeting_keeps_a_shared_setting_under_its_former_name():
    lower = Layer.from_mapping({"step.fit.degree": 5}, origin="lower")
    upper = Layer.from_mapping({"step.fit.task": OtherFitTask}, origin="upper")

    assert build_config(WholeConfig, [lower, upper]).step.config.fit == subtask(OtherFitTask, order=5)


def test_configs_in_tuples_and_mappings_take_former_names_too(night):
    step, logs, _ = night("step:\n  tries: [{degree: 4}]\n  by_band: {g: {degree: 5}}\n")

    assert (step.tries, step.by_band) == ((FitConfig(order=4),), {"g": FitConfig(order=5)})
    assert [log["setting"] for log in logs] == ["step:tries.0.degree", "step:by_band.g.degree"]


def test_both_names_in_one_layer_are_an_error_that_names_both_origins(night):
    with pytest.raises(ConfigError) as raised:
        night("step:\n  fit:\n    order: 4\n    degree: 5\n")

    assert str(raised.value) == (
        f"step:fit.degree: is the former name of 'order', which {night.path}:3 gives too (from {night.path}:4)"
    )


def test_a_mistake_under_a_former_name_tells_that_name(night):
    with pytest.raises(ConfigError) as raised:
        night("step:\n  fit:\n    degree: -5\n")

    assert str(raised.value) == (f"step:fit.order: should be greater than 0; got -5 (from {night.path}:3, as 'degree')")


def test_a_program_that_uses_a_former_name_is_told_the_new_one():
    with pytest.raises(ConfigError, match=r"^FitConfig\.degree: is now called 'order' \(since 0\.2\)$"):
        FitConfig(degree=3)


def test_a_config_saved_under_a_former_name_is_loaded_with_its_history(tmp_path, night):
    _, _, config = night("step: {fit: {degree: 5}}\n")
    path = tmp_path / "saved.yaml"
    save_config(config, path)
    path.write_text(
        path.read_text().replace("    order: 5", "    degree: 5").replace("step.fit.order", "step.fit.degree")
    )

    with capture_logs() as logs:
        loaded = load_config(WholeConfig, path)

    assert [log["setting"] for log in logs] == ["step.fit.degree"]
    assert loaded == config
    assert loaded.history("step:fit.order") == config.history("step:fit.order")


def test_a_deprecated_setting_warns_with_its_advice_and_origin(night):
    step, logs, _ = night("step:\n  fit:\n    rounds: 7\n")

    assert vars(step.fit.config)["rounds"] == 7
    assert [(log["event"], log["setting"], log["advice"], log["origin"]) for log in logs] == [
        ("setting deprecated", "step:fit.rounds", "the fit stops by itself; set 'tolerance'", f"{night.path}:3")
    ]


def test_a_deprecated_field_that_nobody_set_never_warns(tmp_path, night):
    with capture_logs() as logs:
        _, _, config = night("step.fit.order: 3\n")
        save_config(config, tmp_path / "saved.yaml")
        assert load_config(WholeConfig, tmp_path / "saved.yaml") == config

    assert logs == []
    assert "rounds" not in (tmp_path / "saved.yaml").read_text()


def test_a_deprecated_setting_survives_saving(tmp_path, night):
    _, _, config = night("step.fit.rounds: 7\n")
    save_config(config, tmp_path / "saved.yaml")

    loaded = load_config(WholeConfig, tmp_path / "saved.yaml")

    assert loaded == config
    assert loaded.history("step:fit.rounds") == config.history("step:fit.rounds")


@pytest.mark.parametrize("config_class", [FitConfig, ChildConfig])
def test_a_removed_field_says_what_to_do_instead(config_class):
    with pytest.raises(ConfigError) as raised:
        build_config(config_class, [Layer.from_mapping({"sigma": 2}, origin="night.yaml:4")])

    assert str(raised.value) == (
        "sigma: was removed: the width is measured; set 'fallback' where it cannot be (from night.yaml:4)"
    )


def test_a_name_that_is_a_field_cannot_be_a_former_one():
    with pytest.raises(TypeError, match=r"Bad\.order: its former name 'fallback' is taken"):
        type(
            "Bad",
            (FitConfig,),
            {"__annotations__": {"order": Annotated[int, FormerName("fallback")]}, "order": 1, "__module__": __name__},
        )


def test_a_name_that_is_a_field_cannot_be_a_removed_one():
    with pytest.raises(TypeError, match="'order' is among the removed fields, but it is one"):
        type("Bad", (FitConfig,), {"removed_fields": {"order": "why"}, "__module__": __name__})

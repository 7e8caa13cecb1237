"""The names that tasks are written with; taking one away breaks every package that has tasks."""

import firstlight.framework


def test_the_public_names_are_these():
    assert firstlight.framework.__all__ == [
        "Change",
        "Config",
        "Funnel",
        "Gate",
        "Layer",
        "Pass",
        "PassEvent",
        "PassState",
        "PipelineTask",
        "ReadOnlyMapping",
        "Setting",
        "Stopped",
        "Struct",
        "Subtask",
        "Task",
        "TaskMetadata",
        "build_config",
        "did_you_mean",
        "find_class",
        "known_tasks",
        "load_config",
        "observe_passes",
        "plugins_of",
        "run_until",
        "save_config",
        "subtask",
        "worst",
    ]

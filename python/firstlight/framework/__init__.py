"""Task, Config, Struct, gates and passes, without any astronomy."""

from firstlight.framework.build import build_config
from firstlight.framework.config import Change, Config
from firstlight.framework.files import load_config, save_config
from firstlight.framework.gates import Funnel, Gate, worst
from firstlight.framework.lookup import did_you_mean, find_class, known_tasks
from firstlight.framework.mappings import ReadOnlyMapping
from firstlight.framework.metadata import TaskMetadata
from firstlight.framework.overrides import Layer, Setting
from firstlight.framework.passes import Pass, PassEvent, PassState, PipelineTask, Stopped, observe_passes, run_until
from firstlight.framework.struct import Struct
from firstlight.framework.subtask import Subtask, plugins_of, subtask
from firstlight.framework.task import Task

__all__ = [
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

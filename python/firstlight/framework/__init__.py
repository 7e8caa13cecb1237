"""Task, Config, Struct, gates and passes, without any astronomy."""

from firstlight.framework.build import build_config
from firstlight.framework.built_pipeline import BuiltPipeline
from firstlight.framework.class_overrides import ClassOverrides
from firstlight.framework.config import Change, Config
from firstlight.framework.config_diff import ABSENT, Difference, diff_configs
from firstlight.framework.connections import Handle, Input, Lookup, Output, PipelineTaskConfig, Prerequisite, loaded
from firstlight.framework.contracts import Contract
from firstlight.framework.datasets import DatasetRef, Quantum, Resources
from firstlight.framework.dimensions import DIMENSIONS, DataId
from firstlight.framework.files import load_config, save_config
from firstlight.framework.gates import Funnel, Gate, worst
from firstlight.framework.in_memory import MemoryRun
from firstlight.framework.lookup import did_you_mean, find_class, known_tasks
from firstlight.framework.mappings import ReadOnlyMapping
from firstlight.framework.memory_datasets import MemoryDatasets
from firstlight.framework.metadata import TaskMetadata
from firstlight.framework.overrides import Layer, Setting
from firstlight.framework.passes import Pass, PassEvent, PassState, PipelineTask, Stopped, observe_passes, run_until
from firstlight.framework.pipeline import Pipeline
from firstlight.framework.quantum import QuantumOutcome, run_quantum
from firstlight.framework.renamed import FormerName
from firstlight.framework.struct import Struct
from firstlight.framework.subtask import Subtask, plugins_of, subtask
from firstlight.framework.task import Task
from firstlight.framework.task_graph import TaskGraph

__all__ = [
    "ABSENT",
    "DIMENSIONS",
    "BuiltPipeline",
    "Change",
    "ClassOverrides",
    "Config",
    "Contract",
    "DataId",
    "DatasetRef",
    "Difference",
    "FormerName",
    "Funnel",
    "Gate",
    "Handle",
    "Input",
    "Layer",
    "Lookup",
    "MemoryDatasets",
    "MemoryRun",
    "Output",
    "Pass",
    "PassEvent",
    "PassState",
    "Pipeline",
    "PipelineTask",
    "PipelineTaskConfig",
    "Prerequisite",
    "Quantum",
    "QuantumOutcome",
    "ReadOnlyMapping",
    "Resources",
    "Setting",
    "Stopped",
    "Struct",
    "Subtask",
    "Task",
    "TaskGraph",
    "TaskMetadata",
    "build_config",
    "did_you_mean",
    "diff_configs",
    "find_class",
    "known_tasks",
    "load_config",
    "loaded",
    "observe_passes",
    "plugins_of",
    "run_quantum",
    "run_until",
    "save_config",
    "subtask",
    "worst",
]

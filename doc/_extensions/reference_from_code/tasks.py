"""Pages of the tasks: one for each module, with settings, slots and connections; and an overview of the slots."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from firstlight.framework import Config, PipelineTask, Struct, Task, known_tasks
from firstlight.framework.field_shapes import FieldShape, Kind, field_shapes

from .rst import Lines, heading, indented, link, literal, summary, table
from .settings import nested_configs, settings_table

PACKAGES = ("firstlight.tasks", "firstlight.instruments", "firstlight.photometry_measure")
CONNECTIONS = {
    "inputs": "Inputs, made by other tasks",
    "prerequisites": "Prerequisites, there before any task runs",
    "outputs": "Outputs",
}


def modules_of(package: str) -> Iterator[ModuleType]:
    """Yield the modules of ``package``, itself first; none if there is no such package."""
    if importlib.util.find_spec(package) is None:
        return
    top = importlib.import_module(package)
    yield top
    for found in pkgutil.walk_packages(getattr(top, "__path__", []), f"{package}."):
        yield importlib.import_module(found.name)


def own_classes(module: ModuleType, kind: type) -> list[type[Any]]:
    """Return the classes of this kind that ``module`` defines, in their order."""
    return [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, kind) and value.__module__ == module.__name__ and name[0] != "_"
    ]


def task_modules() -> list[ModuleType]:
    """Return the modules that define tasks, or settings that people write."""
    modules = (module for package in PACKAGES for module in modules_of(package))
    return [module for module in modules if own_classes(module, Task) or own_classes(module, Config)]


def members_of(family: type[Task[Any]]) -> list[type[Task[Any]]]:
    """Return the tasks of firstlight that fit into a slot for ``family``."""
    known = (task for module in task_modules() for task in own_classes(module, Task))
    return [task for task in known if issubclass(task, family) and not inspect.isabstract(task)]


def family_of(task: type[Task[Any]]) -> type[Task[Any]] | None:
    """Return the interface that ``task`` implements; None for an interface and for a task that stands alone."""
    return next((base for base in task.__mro__[1:] if issubclass(base, Task) and inspect.isabstract(base)), None)


def task_pages() -> dict[str, Lines]:
    """Return file name -> text of a page, for each module of tasks."""
    return {f"{module.__name__.removeprefix('firstlight.')}.rst": _page(module) for module in task_modules()}


def _page(module: ModuleType) -> Lines:
    title = summary(module).partition(":")[0].rstrip(".")
    lines = [*heading(title), f".. currentmodule:: {module.__name__}", "", f"Module {literal(module.__name__)}.", ""]
    for task in own_classes(module, Task):
        lines += [f".. autoclass:: {task.__name__}(config=None)", *_members(task), "", *indented(_about(task)), ""]
    described_with_tasks = {task.config_class for task in own_classes(module, Task)}
    extra = [config for config in own_classes(module, Config) if config not in described_with_tasks]
    for config in extra:
        lines += [f".. autoclass:: {config.__name__}", "   :no-members:", "", *indented(settings_table(config)), ""]
    results = own_classes(module, Struct)
    if results:
        lines += heading("What is returned", "-")
    for result in results:
        lines += [f".. autoclass:: {result.__name__}", "   :members:", "   :exclude-members: __init__", ""]
    return lines


def _members(task: type[Task[Any]]) -> Lines:
    own = [name for name, value in vars(task).items() if name[0] != "_" and inspect.isfunction(value)]
    return ["   :no-members:", *([f"   :members: {', '.join(own)}"] if own else [])][-1:]


def _about(task: type[Task[Any]]) -> Lines:
    lines: Lines = []
    family = family_of(task)
    if inspect.isabstract(task):
        lines += [f"A family. {_listed(members_of(task))}", ""]
    elif family is not None:
        lines += [f"Fits into slots for {link(family)}; named ``{name_in_settings(task)}``.", ""]
    else:
        lines += [f"Named ``{name_in_settings(task)}``.", ""]
    lines += _settings(task)
    if issubclass(task, PipelineTask):
        lines += _connections(task)
    return lines


def _listed(members: list[type[Task[Any]]]) -> str:
    return f"Its members: {', '.join(link(member) for member in members)}." if members else "It has no member yet."


def name_in_settings(task: type[Task[Any]]) -> str:
    """Return what one writes to put ``task`` into a slot."""
    return task.__name__ if task.__name__ in known_tasks() else f"{task.__module__}:{task.__qualname__}"


def _settings(task: type[Task[Any]]) -> Lines:
    rows = settings_table(task.config_class)
    if not rows:
        return ["It has no settings.", ""]
    lines = [f"Settings, class ``{task.config_class.__name__}``:", "", *rows]
    for config in nested_configs(task.config_class)[1:]:
        lines += [f"Each ``{config.__name__}`` has:", "", *settings_table(config)]
    return lines + slots_table(task)


def slots_of(task: type[Task[Any]]) -> Mapping[str, FieldShape]:
    """Return the fields of a task's config that take other tasks."""
    shapes = field_shapes(task.config_class)
    return {name: shape for name, shape in shapes.items() if shape.kind in (Kind.SLOT, Kind.PLUGINS)}


def slots_table(task: type[Task[Any]]) -> Lines:
    """Return a table of the slots of ``task`` and of what fits into them."""
    rows = [
        (
            literal(name) + (" (plug-ins)" if shape.kind is Kind.PLUGINS else " (optional)" if shape.optional else ""),
            link(shape.family),
            "\n\n".join(f"{link(member)}: {_sentence(member)}" for member in members_of(shape.family)) or "none yet",
        )
        for name, shape in slots_of(task).items()
    ]
    return table(("slot", "family", "what fits into it"), rows, widths=(22, 22, 56))


def _sentence(task: type[Task[Any]]) -> str:
    text = summary(task).rstrip(".")
    return text[0].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def overview_of_slots() -> Lines:
    """Return tables of the slots of every task that can stand in a pipeline."""
    lines: Lines = []
    for module in task_modules():
        for task in own_classes(module, PipelineTask):
            if rows := slots_table(task):
                lines += [f".. rubric:: Slots of {task.__name__}", "", *rows]
    return lines


def _connections(task: type[PipelineTask[Any]]) -> Lines:
    dimensions = ", ".join(literal(name) for name in getattr(task, "dimensions", ()))
    lines = [f"Dimensions of its work: {dimensions}.", ""] if dimensions else []
    for attribute, title in CONNECTIONS.items():
        declared = getattr(task, attribute, {})
        rows = [
            (literal(own), literal(each.name), _class_in_words(each.type), _circumstances(each, task))
            for own, each in declared.items()
        ]
        if rows:
            lines += [f"{title}:", "", *table(("name", "dataset type", "class", ""), rows, widths=(22, 28, 20, 30))]
    return lines


def _class_in_words(kind: Any) -> str:
    return (
        link(kind)
        if isinstance(kind, type) and kind.__module__.startswith("firstlight")
        else literal(getattr(kind, "__name__", str(kind)))
    )


def _circumstances(connection: Any, task: type[PipelineTask[Any]]) -> str:
    """Return what else is to be said of a connection: its dimensions, how many, when it is there."""
    dimensions = getattr(connection, "dimensions", None)
    lookup = getattr(connection, "lookup", None)
    when = connection.when
    parts = [
        f"dimensions {', '.join(map(literal, dimensions))}" if dimensions else "",
        "all that belong to the work" if getattr(connection, "multiple", False) else "",
        "optional" if getattr(connection, "optional", False) else "",
        f"if the setting {literal(when)} asks for it" if when and when in task.config_class.model_fields else "",
        f"found by {lookup.value.replace('_', ' ')}" if lookup is not None else "",
    ]
    return "; ".join(part for part in parts if part)

"""What mypy strict must refuse: each line below that ends with a code in brackets."""

from collections.abc import Mapping

from style_examples import (
    BackgroundTask,
    CalibrateImageTask,
    CentroidPlugin,
    Exposure,
    MeshBackgroundConfig,
    MeshBackgroundTask,
    Plugin,
    StackTask,
)

from firstlight.framework import Config, Pipeline, Subtask, plugins_of, run_until, subtask


class Wrong(Config):
    """Slots with classes of other families."""

    background: Subtask[BackgroundTask] = subtask(CentroidPlugin)  # [arg-type]
    empty: Subtask[BackgroundTask] = None  # [assignment]
    plugins: Mapping[str, Subtask[Plugin]] = plugins_of(mesh=subtask(MeshBackgroundTask))  # [arg-type]


MeshBackgroundConfig(oder=3)  # [call-arg]
MeshBackgroundConfig().order = 4  # [misc]
MeshBackgroundTask(Wrong())  # [arg-type]
run_until("background", CalibrateImageTask().run, 3)  # [arg-type]
subtask(MeshBackgroundTask).make().rum(Exposure())  # [attr-defined]
CalibrateImageTask().bakground.run(Exposure())  # [attr-defined]
repr(CalibrateImageTask().background.run(Exposure()).levle)  # [attr-defined]
repr(CalibrateImageTask().run(Exposure()).expsoure)  # [attr-defined]
StackTask().run(Exposure())  # [arg-type]
Pipeline.from_tasks(mesh=MeshBackgroundTask)  # [arg-type]

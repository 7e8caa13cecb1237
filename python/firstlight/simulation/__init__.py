"""A simulated sky, telescope and camera with known truth, independent of the code it tests."""

from firstlight.simulation.exposure import SimulatedExposure, night_sky, simulate_exposure
from firstlight.simulation.night import SimulatedNight, simulate_night, simulate_reference, write_night
from firstlight.simulation.raw_frames import (
    RawCamera,
    RawCameraSettings,
    RawFrame,
    make_raw_camera,
    take_raw_frame,
)
from firstlight.simulation.season import SeasonPlan, plan_season, write_season
from firstlight.simulation.season_settings import SeasonSettings
from firstlight.simulation.season_weather import Visit
from firstlight.simulation.settings import (
    DetectorSettings,
    OpticsSettings,
    ReferenceSettings,
    SimulationSettings,
    SkySettings,
)

__all__ = [
    "DetectorSettings",
    "OpticsSettings",
    "RawCamera",
    "RawCameraSettings",
    "RawFrame",
    "ReferenceSettings",
    "SeasonPlan",
    "SeasonSettings",
    "SimulatedExposure",
    "SimulatedNight",
    "SimulationSettings",
    "SkySettings",
    "Visit",
    "make_raw_camera",
    "night_sky",
    "plan_season",
    "simulate_exposure",
    "simulate_night",
    "simulate_reference",
    "take_raw_frame",
    "write_night",
    "write_season",
]

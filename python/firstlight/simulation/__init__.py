"""A simulated sky, telescope and camera with known truth, independent of the code it tests."""

from firstlight.simulation.exposure import SimulatedExposure, night_sky, simulate_exposure
from firstlight.simulation.night import SimulatedNight, simulate_night, simulate_reference, write_night
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
    "ReferenceSettings",
    "SimulatedExposure",
    "SimulatedNight",
    "SimulationSettings",
    "SkySettings",
    "night_sky",
    "simulate_exposure",
    "simulate_night",
    "simulate_reference",
    "write_night",
]

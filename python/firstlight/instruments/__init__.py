"""The cameras that firstlight knows."""

from firstlight.instruments.registry import GENERIC, find_instrument, get_instrument, known_instruments

__all__ = ["GENERIC", "find_instrument", "get_instrument", "known_instruments"]

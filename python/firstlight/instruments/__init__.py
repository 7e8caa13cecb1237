"""The cameras that firstlight knows."""

from firstlight.instruments.registry import find_instrument, get_instrument, known_instruments

__all__ = ["find_instrument", "get_instrument", "known_instruments"]

"""Starting a process that works on images: no search for garbage while modules are loaded, memory that is kept."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# Parameters of mallopt(3): when the end of the heap is given back, and how many blocks are mapped on their own.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


@contextmanager
def loading() -> Iterator[None]:
    """Load modules without looking for garbage in between, and never look at them again.

    Loading makes a million objects and drops few; looking for these again and again takes a sixth of the time.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep the memory of freed arrays for the next ones, and return whether it can.

    Planes of images come and go by the dozen. Each would be mapped, cleared page by page, and unmapped again, which
    takes an eighth of the time of an image; the largest memory is the same either way. Only glibc is told, and only
    where no variable ``MALLOC_...`` of the environment tells it otherwise. Once for the process, until it ends.
    """
    if os.name != "posix" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")):
        return False
    return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _NEVER))

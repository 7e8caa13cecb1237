"""What a path leads to: whether a file is there, and whether on a file system of another host."""

from __future__ import annotations

import stat
from pathlib import Path

from firstlight.errors import RepoError

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    {
        *("afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "weka", "wekafs"),
    }
)
"""File systems by the names that the kernel gives them; the locks that SQLite needs do not hold there."""

NETWORK_HELPERS = (
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.juicefs",
    "fuse.cvmfs",
)
"""The same, in user space; the kernel's name begins so."""


def is_there(path: Path) -> bool:
    """Return whether a file is there.

    Raises
    ------
    RepoError
        If its folder cannot be looked into, or it is a folder.
    """
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RepoError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not stat.S_ISREG(kind):
        raise RepoError(f"{path} is not a file.")
    return True


def network_file_system(folder: Path, *, mounts: str | None = None) -> str:
    """Return the name of the network file system that ``folder`` is on; an empty text where it is on a local one.

    Parameters
    ----------
    folder
    mounts
        Table of mounts as in ``/proc/self/mountinfo``; None reads that one, and finds nothing where it is not there.
    """
    if mounts is None:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape") if MOUNTS.is_file() else ""
    kinds: dict[Path, str] = {}
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        kinds[Path(_unescaped(left.split()[4]))] = right.split()[0]
    place = folder.resolve()
    for above in (place, *place.parents):
        if above in kinds:
            kind = kinds[above]
            return kind if kind in NETWORK or kind.startswith(NETWORK_HELPERS) else ""
    return ""


def _unescaped(text: str) -> str:
    """Return a path of the table, in which blanks stand as octal numbers."""
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, sign)
    return text

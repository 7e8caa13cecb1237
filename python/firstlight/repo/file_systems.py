"""Whether a folder is on a file system of another host, where SQLite's locks do not hold."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    {
        *("afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "weka", "wekafs"),
    }
)
"""File systems by the names that the kernel gives them."""

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

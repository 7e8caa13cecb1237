"""A PostgreSQL server of this machine's own, for as long as the tests run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "tester"


def server_folder() -> Path | None:
    """Where ``initdb`` and ``pg_ctl`` are; None if no server is installed."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists() and (place / "initdb").exists()), None)


@contextmanager
def postgresql_server(programs: Path) -> Iterator[str]:
    """Start a server on the loopback address, give the address of its database, and stop it."""
    folder = Path(tempfile.mkdtemp(prefix="firstlight-postgresql-"))
    # The server refuses to run as root.
    identity = {"user": "nobody", "group": None, "extra_groups": []} if os.getuid() == 0 else {}
    if identity:
        shutil.chown(folder, "nobody")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c fsync=off"
    data, log = folder / "data", folder / "log"

    def run(program: str, *arguments: str) -> None:
        command = [programs / program, "-D", data, *arguments]
        with (folder / "output").open("ab") as output:
            done = subprocess.run(
                command, cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL, **identity
            )
        assert done.returncode == 0, (folder / "output").read_text()

    try:
        run("initdb", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        run("pg_ctl", "-w", "-l", str(log), "-o", options, "start")
        try:
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)

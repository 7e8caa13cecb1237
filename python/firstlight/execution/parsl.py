"""`ParslExecutor`: the same batches on a cluster, through Parsl: Slurm, HTCondor, PBS, Kubernetes, clouds."""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import parsl
from parsl.config import Config as ParslConfig
from parsl.executors import HighThroughputExecutor
from parsl.providers import CondorProvider, LocalProvider, PBSProProvider, SlurmProvider
from pydantic import PositiveInt

from firstlight.execution.executor import Announce
from firstlight.execution.local import LocalExecutor
from firstlight.execution.work import Batch, Record, lost_record
from firstlight.execution.worker import run_batch
from firstlight.framework import Config, load_config

PROVIDERS = {"local": LocalProvider, "slurm": SlurmProvider, "condor": CondorProvider, "pbs": PBSProProvider}


class SiteConfig(Config):
    """A cluster, and what is asked of it."""

    provider: Literal["local", "slurm", "condor", "pbs"] = "local"
    """Batch system."""

    workers_per_node: PositiveInt = 1
    """Processes on each node; each computes with one thread."""

    nodes_per_block: PositiveInt = 1
    """Nodes of one job of the batch system."""

    min_blocks: int = 0
    """Jobs that are kept, also with nothing to do."""

    max_blocks: PositiveInt = 1
    """Most jobs at a time."""

    walltime: str = "01:00:00"
    """Length of a job, hours:minutes:seconds."""

    partition: str | None = None
    """Slurm partition or PBS queue; empty for the default one."""

    account: str | None = None
    """Account to which the time goes."""

    scheduler_options: str = ""
    """Further lines for the head of the job script."""

    worker_init: str = ""
    """Shell lines before the workers start, such as the activation of an environment."""

    address: str | None = None
    """Address of this machine as the nodes see it; empty to find it."""


class ParslExecutor:
    """Runs batches through Parsl's high-throughput executor.

    Parameters
    ----------
    site
    """

    def __init__(self, site: SiteConfig) -> None:
        self._site = site
        self._folder: tempfile.TemporaryDirectory[str]
        self._kernel: Any = None
        self._app: Any = None

    @classmethod
    def from_file(cls, path: Path) -> ParslExecutor:
        """Make the executor that a site file describes.

        Raises
        ------
        ConfigError
            If the file does not fit `SiteConfig`.
        """
        return cls(load_config(SiteConfig, path))

    @property
    def jobs(self) -> int:
        """Pieces of work at a time, when the site gives all that is asked of it."""
        return self._site.workers_per_node * self._site.nodes_per_block * self._site.max_blocks

    def submit(self, batch: Batch, announce: Announce) -> Future[list[Record]]:
        """Run ``batch`` on a node."""
        promised: Future[list[Record]] = Future()

        def finished(future: Future[list[Record]]) -> None:
            error = future.exception()
            lost = f"the batch was lost: {error}."
            records = (
                [lost_record(batch, quantum, "lost", lost) for quantum in batch["quanta"]] if error else future.result()
            )
            for record in records:
                announce(record)
            promised.set_result(records)

        self._app(batch).add_done_callback(finished)
        return promised

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="firstlight-parsl-")
        # Parsl starts its own programs by name; they lie beside Python, also where the environment is not activated.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        config = ParslConfig(
            executors=[self._executor()], run_dir=self._folder.name, strategy="simple", initialize_logging=False
        )
        self._kernel = parsl.load(config)
        self._app = parsl.python_app(run_within_limits, data_flow_kernel=self._kernel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kernel.cleanup()
        parsl.clear()
        self._folder.cleanup()

    def _executor(self) -> HighThroughputExecutor:
        return HighThroughputExecutor(
            label="firstlight",
            max_workers_per_node=self._site.workers_per_node,
            provider=self._provider(),
            worker_logdir_root=self._folder.name,
            encrypted=False,
            address="127.0.0.1" if self._site.provider == "local" else self._site.address,
        )

    def _provider(self) -> Any:
        site = self._site
        common = {
            "init_blocks": 1,
            "min_blocks": site.min_blocks,
            "max_blocks": site.max_blocks,
            "nodes_per_block": site.nodes_per_block,
            "worker_init": f"{ONE_THREAD}\n{site.worker_init}",
        }
        if site.provider == "local":
            return LocalProvider(**common)  # type: ignore[no-untyped-call]  # Parsl has types for a part of itself
        special: dict[str, Any] = {"walltime": site.walltime, "scheduler_options": site.scheduler_options}
        if site.provider == "slurm":
            special |= {"partition": site.partition, "account": site.account}
        elif site.provider == "pbs":
            special |= {"queue": site.partition, "account": site.account}
        return PROVIDERS[site.provider](**common, **special)


def run_within_limits(batch: Batch) -> list[Record]:
    """Run a batch on a node; where it has limits, in a process that is watched and can be stopped."""
    if all(limit is None for limit in batch["limits"].values()):
        return run_batch(batch)
    return _watched().submit(batch, lambda _: None).result()


@cache
def _watched() -> LocalExecutor:
    return LocalExecutor(1).__enter__()


ONE_THREAD = "\n".join(f"export {name}_NUM_THREADS=1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA"))
"""Nothing computes with a thread on each core."""

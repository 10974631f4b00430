"""Where a harvest's workers run on a cluster: actors of Ray, with the journal and the warehouse left to the parent."""

import contextlib
import dataclasses
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalepred.errors import UsageError
from scalepred.harvest.calls import Event, WorkerSettings, answer

LOCAL_CLUSTER = {"address": "local", "include_dashboard": False, "object_store_memory": 100_000_000}
"""How a cluster is started on this machine; what travels through it is small."""

REACH_SECONDS = 5.0


class RayEngine:
    """Workers that are actors of a Ray cluster, which sees to it that each has its cores or its share of a GPU.

    Images are read where a worker runs, so every machine must see them under the path that the parent does. Answers
    travel through Ray and only the parent writes: journal and warehouse lie on its machine.

    Attributes:
        n_workers: as many as were asked for, as far as the cluster has room for them.
        settings: with the threads of each worker.
        warning: what the user should know about the cluster, or None.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        address: str | None = None,
        n_workers: int | None = None,
        gpus_per_worker: float | None = None,
    ) -> None:
        """Join the cluster at an address, or start one on this machine.

        Raises:
            UsageError: if there is no cluster, or it can never have room for one such worker.
        """
        self._starts_cluster = address is None
        self._ray = _ray(is_local=self._starts_cluster)
        self.warning = _connect(self._ray, address)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self.gpus_per_worker = default_gpus(nodes, device=settings.device, gpus_per_worker=gpus_per_worker)
        self.n_workers, n_threads = room(nodes, n_workers=n_workers, gpus_per_worker=self.gpus_per_worker)
        self.settings = dataclasses.replace(settings, n_threads=n_threads)
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, int] = {}

    def start(self, worker: int, *, device_index: int = 0) -> None:
        """Ask for an actor, which the cluster starts once it has room; Ray shows it its GPU only, as the first."""
        del device_index
        needs = {"num_gpus": self.gpus_per_worker} if self.gpus_per_worker else {"num_cpus": self.settings.n_threads}
        options: dict[str, Any] = {"num_cpus": 0, **needs, "max_restarts": 0, "max_task_retries": 0}
        self._actors[worker] = self._ray.remote(Actor).options(**options).remote(self.settings, str(Path.cwd()))

    def call(self, worker: int, method: str, *arguments: object) -> None:
        """Send a call; if the actor has died, that is an event to come."""
        self._calls[self._actors[worker].call.remote(method, arguments)] = worker

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Return the answers that have come, and which actors have died while they were asked for one."""
        if not self._calls:
            time.sleep(min(timeout_seconds, 0.05))
            return []
        done, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=timeout_seconds)
        return [self._event(call) for call in done]

    def _event(self, call: Any) -> Event:
        """Return what became of a call; an actor that can't be reached is killed, since nobody would hear from it."""
        worker = self._calls.pop(call)
        try:
            return Event(worker=worker, value=self._ray.get(call))
        except self._ray.exceptions.RayError as error:
            self._ray.kill(self._actors.pop(worker))
            return Event(worker=worker, value=None, died=True, words=" ".join(str(error).split()))

    def stop(self) -> None:
        """Kill the actors, and end the cluster if it was started here."""
        if self._ray.is_initialized():
            for actor in self._actors.values():
                self._ray.kill(actor)
        self._actors.clear()
        self._calls.clear()
        if self._starts_cluster:
            self._ray.shutdown()


class Actor:
    """A worker as Ray holds it: answers calls one after another, in the parent's folder where its machine has that."""

    def __init__(self, settings: WorkerSettings, folder: str) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
        # Ray puts the folder first, and a statistics.py in there would be taken for the library's
        sys.path[:] = [each for each in sys.path if each not in ("", folder)]
        from scalepred.harvest.worker import Worker  # noqa: PLC0415 - torch takes seconds, and the parent needs none of it

        self.worker = Worker(settings)

    def call(self, method: str, arguments: tuple[object, ...]) -> Any:
        return answer(self.worker, method, arguments)


def default_gpus(nodes: Sequence[Mapping[str, float]], *, device: str, gpus_per_worker: float | None) -> float:
    """Return the share of a GPU of each worker: what is asked for, or a whole one if the cluster has any to use."""
    if gpus_per_worker is not None:
        return gpus_per_worker
    return 1.0 if device != "cpu" and any(node.get("GPU") for node in nodes) else 0.0


def room(nodes: Sequence[Mapping[str, float]], *, n_workers: int | None, gpus_per_worker: float) -> tuple[int, int]:
    """Return how many workers to start on a cluster, and how many threads each may use on its CPU.

    Args:
        nodes: the resources of each, as Ray names them: "CPU" cores and "GPU" devices.
        n_workers: what the user asks for, at most one for each core, or for each share of a GPU; None for all of them.
        gpus_per_worker: share of a GPU; with 0, workers use cores.

    Raises:
        UsageError: if there is no node on which such a worker fits.
    """
    if gpus_per_worker:
        fits = sum(int(node.get("GPU", 0) / gpus_per_worker + 1e-9) for node in nodes)
        if not fits:
            raise UsageError(f"No machine of the Ray cluster has {gpus_per_worker:g} GPUs: see `ray status`.")
        return min(n_workers or fits, fits), 1
    cores = [int(node.get("CPU", 0)) for node in nodes]
    if not any(cores):
        raise UsageError("No machine of the Ray cluster has a core to spare: see `ray status`.")
    n_workers = min(n_workers or sum(cores), sum(cores))
    n_threads = max(1, min(max(cores), sum(cores) // n_workers))
    while n_threads > 1 and sum(n // n_threads for n in cores) < n_workers:  # a worker's cores are of one machine
        n_threads -= 1
    return n_workers, n_threads


def _ray(*, is_local: bool) -> Any:
    """Import Ray, which reads from the environment, while it is imported, how it shall listen."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    if is_local:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's word for: on loopback only, wherever it runs
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'scalepred[ray]'.") from error
    return ray


def _connect(ray: Any, address: str | None) -> str | None:
    """Join a cluster, or start one; returns a warning where anybody on the network could use it."""
    if address is not None:
        _check_reached(address)
    settings: dict[str, Any] = LOCAL_CLUSTER if address is None else {"address": address}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**settings, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"The Ray cluster at {address} can't be joined" if address else "Ray can't be started"
        raise UsageError(f"{where}: {' '.join(str(error).split())}") from error
    ray._private.worker._worker_logs_enabled = False  # what it tells of dead workers would go to stdout
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put another in its place
    if address is None or os.environ.get("RAY_AUTH_MODE") == "token":
        return None
    return (
        "this Ray cluster asks for no token: anybody who reaches it over the network can run code on it. "
        "Start it with RAY_AUTH_MODE=token."
    )


def _check_reached(address: str) -> None:
    """Refuse an address where nothing listens: Ray would end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto", or a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as error:
        raise UsageError(f"There is no Ray cluster to join at {address}: {error.strerror or error}.") from error

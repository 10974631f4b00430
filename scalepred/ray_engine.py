"""Where a harvest's workers run on a cluster: actors of Ray, with the journal and the warehouse left to the parent."""

import dataclasses
import time
from typing import Any

from scalepred.engines import Event, WorkerSettings, answer
from scalepred.errors import UsageError

try:
    import ray
except ImportError as error:
    raise UsageError("--engine ray needs Ray: pip install 'scalepred[ray]'.") from error


class RayEngine:
    """Workers that are actors of a Ray cluster, which sees to it that each has its cores and share of a GPU.

    Pictures are read where the worker runs, so every machine must see them under the same path. Answers travel through
    Ray, so only the parent writes: journal and warehouse lie on its machine.
    """

    def __init__(self, settings: WorkerSettings, *, address: str | None = None, gpus_per_worker: float = 0.0) -> None:
        self.settings, self.gpus_per_worker = settings, gpus_per_worker
        self._is_own = not ray.is_initialized()
        if self._is_own:
            _connect(address)
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, int] = {}

    def start(self, worker: int, *, device_index: int = 0) -> None:
        """Start an actor; it waits until the cluster has room for it. Ray shows it its own GPU only, as the first."""
        del device_index
        settings = dataclasses.replace(self.settings, device_index=0)
        actor = ray.remote(_Actor).options(
            num_cpus=settings.n_threads, num_gpus=self.gpus_per_worker, max_restarts=0, max_task_retries=0
        )
        self._actors[worker] = actor.remote(settings)

    def call(self, worker: int, method: str, *arguments: object) -> None:
        """Ask an actor for something."""
        self._calls[self._actors[worker].call.remote(method, arguments)] = worker

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Return the answers that have come, and the actors that have died while they were asked for one."""
        if not self._calls:
            time.sleep(min(timeout_seconds, 0.05))
            return []
        done, _ = ray.wait(list(self._calls), num_returns=1, timeout=timeout_seconds)
        events = []
        for call in done:
            worker = self._calls.pop(call)
            try:
                events.append(Event(worker=worker, value=ray.get(call)))
            except ray.exceptions.RayActorError:
                del self._actors[worker]
                events.append(Event(worker=worker, value=None, died=True))
        return events

    def stop(self) -> None:
        """Kill the actors, and end the cluster if it was started here."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()
        self._calls.clear()
        if self._is_own and ray.is_initialized():
            ray.shutdown()


class _Actor:
    """A worker as Ray holds it: what answers calls, one after another."""

    def __init__(self, settings: WorkerSettings) -> None:
        from scalepred.worker import Worker  # noqa: PLC0415 - torch takes seconds, and the parent needs none of it

        self.worker = Worker(settings)

    def call(self, method: str, arguments: tuple[object, ...]) -> Any:
        return answer(self.worker, method, arguments)


def _connect(address: str | None) -> None:
    """Join a cluster, or start one that listens on this machine only."""
    settings: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False, "configure_logging": False}
    try:
        if address is None:
            ray.init(_node_ip_address="127.0.0.1", **settings)
        else:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"There is no Ray cluster at {address}: {error}") from error

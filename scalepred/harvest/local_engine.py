"""Where a harvest's workers run: processes of this machine."""

import contextlib
import dataclasses
import signal
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from scalepred.errors import UsageError
from scalepred.harvest.calls import Event, WorkerSettings, answer
from scalepred.harvest.memory import room
from scalepred.processes import end_with_parent, environment, process_context, variables_of


class LocalEngine:
    """Workers that are processes of this machine; they end when the parent does, however that ends.

    Attributes:
        n_workers: as many as were asked for, or as the machine has room for.
        settings: with the threads of each worker.
    """

    def __init__(self, settings: WorkerSettings, *, n_workers: int | None = None) -> None:
        self.n_workers, n_threads = room(n_workers, max_bytes=settings.max_bytes)
        self.settings = dataclasses.replace(settings, n_threads=n_threads)
        self._context = process_context(preload=["scalepred.harvest.worker"])  # which imports torch, once
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}

    def start(self, worker: int, *, device_index: int = 0) -> None:
        """Start a process.

        Raises:
            UsageError: if the system can't start one.
        """
        ours, theirs = self._context.Pipe()
        settings = dataclasses.replace(self.settings, device_index=device_index)
        process = self._context.Process(target=_serve, args=(theirs, settings), name=f"scalepred-worker-{worker}")
        try:
            with environment(variables_of(n_threads=settings.n_threads)):
                process.start()
        except (EOFError, OSError) as error:
            ours.close()
            raise UsageError(
                f"The workers' server did not start ({type(error).__name__}: {error}); what it printed says why. "
                "Is there memory enough? Try fewer --workers."
            ) from error
        finally:
            theirs.close()
        self._workers[worker] = (process, ours)

    def call(self, worker: int, method: str, *arguments: object) -> None:
        """Send a call; if the process has died, that is the next event."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._workers[worker][1].send((method, arguments))

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Return the answers that have come and the processes that have died."""
        workers = {pipe: worker for worker, (_, pipe) in self._workers.items()}
        events = []
        for pipe in wait(list(workers), timeout_seconds):  # the end of a process closes its pipe
            worker = workers[cast("Connection", pipe)]
            try:
                events.append(Event(worker=worker, value=cast("Connection", pipe).recv()))
            except (EOFError, OSError):  # a process that dies in the midst of an answer leaves a plain OSError
                process, ours = self._workers.pop(worker)
                process.join()
                ours.close()
                events.append(Event(worker=worker, value=None, died=True))
        return events

    def stop(self) -> None:
        """Kill the processes: they hold nothing that could be lost but the run in hand."""
        for process, _ in self._workers.values():
            process.kill()
        for process, pipe in self._workers.values():
            process.join()
            pipe.close()
        self._workers.clear()


def _serve(pipe: Connection, settings: WorkerSettings) -> None:
    """Be a worker: answer the parent's calls until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a group's goes to the parent too, and that decides
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    from scalepred.harvest.worker import Worker  # noqa: PLC0415 - torch takes seconds, and the parent needs none of it

    worker = Worker(settings)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            method, arguments = pipe.recv()
            pipe.send(answer(worker, method, arguments))

"""Processes of this machine, which import this very package, and what is computed in several of them at once."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from scalepred.errors import UsageError

T = TypeVar("T")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_context(*, preload: Sequence[str] = ()) -> Any:
    """Return how processes are started: on Linux as copies of one that runs no threads.

    Args:
        preload: modules that this one has imported, the first time that it is started.
    """
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def variables_of(*, n_threads: int) -> dict[str, str]:
    """Return the variables of processes that run so many threads each, and import this very package."""
    return {**dict.fromkeys(_THREAD_VARIABLES, str(n_threads)), **import_variables()}


def import_variables(package: Path = Path(__file__).parent) -> dict[str, str]:
    """Return the variables that have Python import this very package, and nothing else of the current folder.

    Else a user's statistics.py in there would be taken for the library's.
    """
    root = package.resolve().parent
    if root.name in ("site-packages", "dist-packages"):
        return {"PYTHONSAFEPATH": "1"}
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join([str(root), *([others] if others else [])])}


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started within."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end_with_parent() -> None:
    """Have this process end as soon as its parent has, however that ends."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def side_by_side(
    calls: Sequence[Callable[[], T]], *, n_processes: int, on_done: Callable[[int], None] = lambda done: None
) -> list[T]:
    """Return what calls give, in their order.

    Args:
        calls: of functions that a process can import; in one process any will do.
        n_processes: that compute at once, with one thread each; 1 computes in this one.
        on_done: called with the number of calls that have been answered.

    Raises:
        UsageError: if a process was killed, for memory mostly.
    """
    if n_processes == 1:
        found = []
        for call in calls:
            found.append(call())
            on_done(len(found))
        return found
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(n_processes, len(calls)), mp_context=process_context(), initializer=_begin) as pool:
        try:
            with environment(variables_of(n_threads=1)):
                futures = [pool.submit(call) for call in calls]
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                on_done(done)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise UsageError("A process was killed as it computed. Is there memory enough for several?") from error
        except BaseException:  # an interrupt too: what is being computed may take minutes
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's goes to the parent too, and that decides
    end_with_parent()

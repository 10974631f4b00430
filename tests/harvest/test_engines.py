"""How workers start, and how much memory there is for them, on systems whose files are laid out here."""

import multiprocessing
import os
import re
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from scalepred.errors import UsageError
from scalepred.harvest.calls import WorkerSettings
from scalepred.harvest.local_engine import LocalEngine
from scalepred.harvest.memory import WORKER_BYTES, free_bytes, room
from scalepred.processes import import_variables

GIB = 1 << 30
MEMINFO = "MemTotal: 33554432 kB\nMemFree: 1048576 kB\nMemAvailable: 16777216 kB\nHugePages_Total: 0\n"


@pytest.fixture
def system(tmp_path):
    """Return what writes files of a system by their paths, beside a machine's with 1 GiB unused and 16 to be had."""

    def write(**files):
        for path, text in ({"proc/meminfo": MEMINFO} | files).items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


def test_what_the_system_caches_is_free(system):
    assert free_bytes(system()) == 16 * GIB


def test_very_much_is_free_where_the_system_does_not_say(tmp_path):
    assert free_bytes(tmp_path) == 1 << 60


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        ({f"{V2}/job/memory.max": "4294967296\n", f"{V2}/job/memory.current": "1073741824\n"}, 3),
        ({f"{V2}/job/memory.max": "max\n", f"{V2}/job/memory.current": "1073741824\n"}, 16),
        ({f"{V2}/memory.max": "2147483648\n", f"{V2}/memory.current": "1073741824\n"}, 1),  # of the group around it
        ({f"{V2}/job/memory.max": "4294967296\n", f"{V2}/job/memory.current": "4294967296\n",
          f"{V2}/job/memory.stat": "anon 0\ninactive_file 1073741824\nactive_file 1073741824\n"}, 2),
        ({f"{V1}/job/memory.limit_in_bytes": "4294967296\n", f"{V1}/job/memory.usage_in_bytes": "4294967296\n",
          f"{V1}/job/memory.stat": "inactive_file 0\ntotal_inactive_file 1073741824\ntotal_active_file 0\n"}, 1),
        ({f"{V1}/job/memory.limit_in_bytes": "9223372036854771712\n", f"{V1}/job/memory.usage_in_bytes": "1\n"}, 16),
    ],
)  # fmt: skip
def test_a_control_group_leaves_its_limit_less_what_is_used_but_for_cached_files(system, files, gib):
    assert (
        free_bytes(system(**files, **{"proc/self/cgroup": "12:cpu,cpuacct:/\n4:memory:/job\n0::/job\n"})) == gib * GIB
    )


def test_there_are_as_many_workers_as_there_is_memory_for(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    for n_fit, expected in [(0, (1, 8)), (3, (3, 2)), (20, (8, 1))]:
        monkeypatch.setattr("scalepred.harvest.memory.free_bytes", lambda n_fit=n_fit: n_fit * (WORKER_BYTES + GIB))
        assert room(None, max_bytes=GIB) == expected
    assert room(5, max_bytes=GIB) == (5, 1)


def test_workers_that_may_keep_more_are_fewer(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr("scalepred.harvest.memory.free_bytes", lambda: 32 * GIB)
    n_workers = [LocalEngine(WorkerSettings(sources=(), max_bytes=gib * GIB)).n_workers for gib in (1, 8, 40)]
    assert n_workers == [16, 3, 1]


# --- starting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [EOFError("unexpected EOF"), ConnectionRefusedError(111, "Connection refused")])
def test_a_server_of_workers_that_does_not_start_is_an_error_that_says_so(monkeypatch, error):
    def start(_):
        raise error

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", start)
    engine = LocalEngine(WorkerSettings(sources=()), n_workers=1)
    words = (
        f"The workers' server did not start ({type(error).__name__}: {error}); what it printed says why. "
        "Is there memory enough? Try fewer --workers."
    )
    with pytest.raises(UsageError, match=re.escape(words)):
        engine.start(0)
    assert engine.wait(0) == []


def test_workers_import_this_package_and_else_only_what_is_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "others")
    assert import_variables(tmp_path / "site-packages" / "scalepred") == {"PYTHONSAFEPATH": "1"}
    checkout = {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{tmp_path}{os.pathsep}others"}
    assert import_variables(tmp_path / "scalepred") == checkout


@pytest.mark.slow
def test_what_lies_in_the_current_folder_is_not_run_by_workers(tmp_path):
    (tmp_path / "work").mkdir()
    for name in ("statistics", "token"):
        (tmp_path / "work" / f"{name}.py").write_text("import pathlib; pathlib.Path('run').touch(); raise SystemExit")
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        from scalepred.harvest.calls import WorkerSettings
        from scalepred.harvest.local_engine import LocalEngine

        if __name__ == "__main__":
            engine = LocalEngine(WorkerSettings(sources=(), device="cpu"), n_workers=1)
            engine.start(0)
            engine.call(0, "hello")
            while not (events := engine.wait(1.0)):
                pass
            print(events[0].value.device)
            engine.stop()
    """)
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path / "work", env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("cpu ("), done.stderr
    assert not (tmp_path / "work" / "run").exists()


def test_a_worker_that_dies_in_the_midst_of_an_answer_has_died_and_no_more():
    engine = LocalEngine(WorkerSettings(sources=()), n_workers=1)
    ours, theirs = multiprocessing.Pipe()
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"begun")  # an answer of 1,000 bytes, of which five came
    theirs.close()
    gone = multiprocessing.get_context("spawn").Process(target=int)
    gone.start()
    engine._workers[0] = (gone, ours)
    (event,) = engine.wait(10.0)
    assert (event.worker, event.died, engine._workers) == (0, True, {})

"""How much memory there is for workers, on systems whose files are laid out here."""

import pytest

from scalepred.engines import WORKER_BYTES, _free_bytes, room

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
    assert _free_bytes(system()) == 16 * GIB


def test_very_much_is_free_where_the_system_does_not_say(tmp_path):
    assert _free_bytes(tmp_path) == 1 << 60


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
        _free_bytes(system(**files, **{"proc/self/cgroup": "12:cpu,cpuacct:/\n4:memory:/job\n0::/job\n"})) == gib * GIB
    )


def test_there_are_as_many_workers_as_there_is_memory_for(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    for n_fit, expected in [(0, (1, 8)), (3, (3, 2)), (20, (8, 1))]:
        monkeypatch.setattr("scalepred.engines._free_bytes", lambda n_fit=n_fit: n_fit * WORKER_BYTES)
        assert room(None) == expected
    assert room(5) == (5, 1)

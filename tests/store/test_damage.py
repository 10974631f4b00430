"""Damage gives a typed error or sound rows, and a damaged database is renamed with every byte."""

import datetime

import pytest
from rows import fill, make_run
from warehouses import everything, refusal, start

from scalepred.errors import UsageError
from scalepred.store.connection import move_aside
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


RANDOM_DAMAGE = """
    import random
    from scalepred.errors import DamagedError
    rng = random.Random(sys.argv[2])
    whole, log = (path.with_name(name).read_bytes() for name in ("whole", "log"))
    added = {run.run_id: run for run in [*(make_run(1.5, seed) for seed in range(60)), make_run(1.0)]}

    def harm(content, how):
        content, begin = bytearray(content), rng.randrange(len(content))
        if how == "cut":
            return content[:begin]
        if how == "bits":
            for _ in range(rng.choice([1, 10, 1000])):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        if how == "pages":
            n = min(rng.choice([1, 4096, 2**18]), len(content) - begin)
            content[begin : begin + n] = rng.choice([bytes(n), rng.randbytes(n)])
        return content

    def use(read_only):
        try:
            with open_warehouse(path, read_only=read_only) as store:
                runs, problems = store.runs(), store.verify()
                store.status()
                if not read_only:
                    store.add_all([make_run(5.0)])
                    store.connection.execute("CHECKPOINT")
        except DamagedError:
            return "damaged"
        assert problems == [] and all(added[run.run_id] == run for run in runs)
        return f"sound {len(runs)}"

    for number in range(int(sys.argv[4])):
        in_log = sys.argv[3] == "log"
        how = rng.choice(["cut", "bits", "pages"]) if in_log else sys.argv[3]
        path.write_bytes(whole if in_log else harm(whole, how))
        path.with_name("w.duckdb.wal").write_bytes(harm(log, how) if in_log else log)
        print(use(number % 2 == 0), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "bits", "pages", "log"])
def test_random_damage_gives_a_typed_error_or_sound_rows_and_never_a_crash(path, how):
    with open_warehouse(path) as store:
        for seeds in (range(20), range(20, 60)):
            store.add_all([make_run(1.5, seed) for seed in seeds])
        path.with_name("log").write_bytes(path.with_name("w.duckdb.wal").read_bytes())
        path.with_name("whole").write_bytes(path.read_bytes())
    with start(RANDOM_DAMAGE, path, str(len(how)), how, "30") as program:
        said = program.stdout.read().splitlines()
    assert program.returncode == 0
    assert len(said) == 30
    assert "damaged" in said
    assert set(said) <= {"damaged", "sound 1", "sound 21", "sound 61"}  # what was added at once is there, or is not


def now_is(monkeypatch, *, hour):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, hour, 4, 5, tzinfo=tz)

    monkeypatch.setattr(datetime, "datetime", Clock)


def test_a_damaged_database_is_renamed_with_its_log_and_every_byte(tmp_path, monkeypatch):
    now_is(monkeypatch, hour=3)
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"damaged")
    path.with_name("w.duckdb.wal").write_bytes(b"log")
    assert move_aside(path, ending="corrupt") == tmp_path / "w.duckdb.corrupt-20260102T030405Z"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "w.duckdb.corrupt-20260102T030405Z": b"damaged",
        "w.duckdb.corrupt-20260102T030405Z.wal": b"log",
    }
    assert fill(path)
    assert everything(path)["runs"] == [make_run()]


def test_renaming_never_overwrites(tmp_path, monkeypatch):
    now_is(monkeypatch, hour=3)
    path = tmp_path / "w.duckdb"
    first, second, third = (tmp_path / f"w.duckdb.corrupt-20260102T030405Z{n}" for n in ("", "-2", "-3"))
    second.with_name(f"{second.name}.wal").write_bytes(b"a log")
    for content, aside in ((b"first", first), (b"second", third)):
        path.write_bytes(content)
        assert move_aside(path, ending="corrupt") == aside
        assert aside.read_bytes() == content
    assert second.with_name(f"{second.name}.wal").read_bytes() == b"a log"
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_not_there_cannot_be_renamed(tmp_path):
    with pytest.raises(UsageError) as caught:
        move_aside(tmp_path / "w.duckdb", ending="corrupt")
    assert str(caught.value) == refusal(tmp_path / "w.duckdb", "No such file or directory")


def test_a_link_to_a_damaged_database_stays_and_the_database_is_renamed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real.duckdb")
    (tmp_path / "real.duckdb").write_bytes(b"damaged")
    aside = move_aside(tmp_path / "link", ending="corrupt")
    assert aside.name.startswith("real.duckdb.corrupt-")
    assert aside.read_bytes() == b"damaged"
    assert fill(tmp_path / "link").is_symlink()

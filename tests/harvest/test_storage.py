"""What a harvest leaves in journal and warehouse, whatever happens to them."""

import contextlib

import duckdb
import pytest
from fakes import QUICK
from inline import go, harvest_of, notes_of, stored

from scalepred.errors import DamagedError, UsageError, VersionError, WarehouseBusyError
from scalepred.harvest import harvest as harvest_module
from scalepred.predictor.context import start_set
from scalepred.records import FeatureRecord
from scalepred.store.journal import Journal, journal_of
from scalepred.store.warehouse import Warehouse, open_warehouse

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fakes")]


def test_a_warehouse_can_be_read_while_a_harvest_runs_and_is_filled_meanwhile(tasks, warehouse, monkeypatch):
    monkeypatch.setattr(harvest_module, "FLUSH_SECONDS", 0.0)
    harvest = harvest_of(tasks, warehouse)
    harvest.plan()
    counts = []
    for progress in harvest.run():
        if progress.run is None and warehouse.exists():
            with open_warehouse(warehouse, read_only=True) as store:
                counts.append(store.status().n_done + store.status().n_diverged)
    assert counts[-1] == 24
    assert len(set(counts)) > 10


def test_a_warehouse_that_is_busy_at_the_end_gets_its_runs_from_the_next_harvest(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks[:1], warehouse)

    @contextlib.contextmanager
    def busy(*_, **__):
        raise WarehouseBusyError("held by process 7")
        yield

    with harvest.held():
        harvest.plan()
        with monkeypatch.context() as patch:
            patch.setattr("scalepred.store.keeping.open_warehouse", busy)
            with pytest.raises(WarehouseBusyError, match="held by process 7"):
                list(harvest.run())
    assert len(journal_of(warehouse).keys("runs")) == 12
    plan, runs = go(harvest_of(tasks[:1], warehouse))
    assert (plan.n_stored, runs) == (12, [])
    assert len(stored(warehouse)["runs"]) == 12


def test_a_harvest_that_is_stopped_while_the_disk_is_full_says_so_and_stops(tasks, warehouse, monkeypatch):
    harvest = harvest_of(tasks[:1], warehouse)
    harvest.plan()
    running = harvest.run()
    while harvest.n_done < 3:
        next(running)

    def full(*_, **__):
        raise UsageError("no space left")

    monkeypatch.setattr("scalepred.store.keeping.open_warehouse", full)
    assert harvest.stop() == ["no space left"]
    assert harvest.engine.workers == {}


def test_a_lost_warehouse_is_made_again_from_the_journal(tasks, warehouse):
    go(harvest_of(tasks, warehouse))
    before = stored(warehouse)
    warehouse.unlink()
    plan, runs = go(harvest_of(tasks, warehouse))
    assert (plan.n_stored, runs) == (24, [])
    assert stored(warehouse) == before


@pytest.mark.parametrize("damage", [b"", b"not a database at all", None])
def test_a_damaged_warehouse_is_renamed_and_made_again_from_the_journal(tasks, warehouse, damage):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)
    whole = warehouse.read_bytes()
    broken = whole[: len(whole) // 2] if damage is None else damage
    warehouse.write_bytes(broken)
    harvest = harvest_of(tasks[:1], warehouse)
    plan, notes = notes_of(harvest)
    assert plan.n_stored == 12
    assert notes[0].startswith("THE WAREHOUSE WAS DAMAGED: ")
    (renamed,) = warehouse.parent.glob("*.corrupt-*")
    assert renamed.read_bytes() == broken
    assert stored(warehouse) == before


def test_a_damaged_log_of_the_database_is_renamed_with_it_and_nothing_is_lost(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)
    log = warehouse.with_name(f"{warehouse.name}.wal")
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("SET wal_autocheckpoint = '1GB'")
        connection.execute("CREATE TABLE more AS SELECT * FROM range(1000)")
        broken = bytearray(log.read_bytes())
    broken[len(broken) // 2] ^= 255
    log.write_bytes(broken)
    harvest = harvest_of(tasks[:1], warehouse)
    plan, notes = notes_of(harvest)
    assert plan.n_stored == 12
    assert notes[0].startswith("THE WAREHOUSE WAS DAMAGED: ")
    (renamed,) = warehouse.parent.glob("*.corrupt-*.wal")
    assert renamed.read_bytes() == broken
    assert stored(warehouse) == before


def test_a_file_that_was_never_a_warehouse_is_left_as_it_is(tasks, warehouse):
    warehouse.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(VersionError, match="It was left as it is"):
        go(harvest_of(tasks[:1], warehouse))
    assert warehouse.read_bytes() == b"a,b\n1,2\n"


def test_a_damaged_file_of_the_journal_costs_one_run(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)["runs"]
    warehouse.unlink()
    file = next((journal_of(warehouse).folder / "runs").rglob("*.json"))
    file.write_bytes(file.read_bytes()[:100])
    harvest = harvest_of(tasks[:1], warehouse)
    with harvest.held():
        plan = harvest.plan()
        progress = list(harvest.run())
    assert (plan.n_stored, plan.n_runs) == (11, 1)
    assert progress[0].notes == ("1 damaged files of runs in the journal were renamed to end in .corrupt",)
    assert [run.run_id for run in stored(warehouse)["runs"]] == [run.run_id for run in before]


@pytest.mark.parametrize("kind", ["tasks", "sources", "recipes"])
def test_what_runs_refer_to_is_written_again_if_it_is_lost(tasks, warehouse, kind):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)
    warehouse.unlink()
    for file in (journal_of(warehouse).folder / kind).rglob("*.json"):
        file.write_bytes(b"{")
    _, runs = go(harvest_of(tasks[:1], warehouse))
    assert runs == []
    assert stored(warehouse) == before


def test_features_that_were_written_in_part_are_computed_again(tasks, warehouse, monkeypatch):
    harvest, add = harvest_of(tasks[:1], warehouse), Journal.add

    def full(self, record):
        if isinstance(record, FeatureRecord) and len(self.keys("features")) == 3:
            raise UsageError("no space left")
        add(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", full)
        with pytest.raises(UsageError, match="no space left"):
            go(harvest)
    assert len(journal_of(warehouse).keys("features")) == 3
    go(harvest_of(tasks[:1], warehouse))
    whole = stored(warehouse)["features"]
    of_task = [feature for feature in whole if not feature.feature_set.startswith("start-1")]
    assert len(of_task) == 14  # ten of the task, four of its probe
    assert {f.feature_set for f in whole} == {"basic-1@16px", "probe-2/16px", start_set(QUICK)}


def test_features_of_which_a_file_is_damaged_are_computed_again(tasks, warehouse):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)["features"]
    warehouse.unlink()
    for file in list((journal_of(warehouse).folder / "features").rglob("*.json"))[:2]:
        file.write_bytes(file.read_bytes()[:50])
    go(harvest_of(tasks[:1], warehouse))
    assert [(f.name, f.value) for f in stored(warehouse)["features"]] == [(f.name, f.value) for f in before]
    again = harvest_of(tasks[:1], warehouse)
    assert go(again)[0].bundles == ()


def test_damage_that_only_reading_shows_is_mended_too(tasks, warehouse, monkeypatch):
    go(harvest_of(tasks[:1], warehouse))
    before = stored(warehouse)
    real, left = Warehouse.outcomes, ["a checksum is wrong"]

    def outcomes(self, source_ids):
        if left:
            raise DamagedError(left.pop())
        return real(self, source_ids)

    monkeypatch.setattr(Warehouse, "outcomes", outcomes)
    harvest = harvest_of(tasks[:1], warehouse)
    plan, notes = notes_of(harvest)
    assert (plan.n_stored, notes[0]) == (12, "THE WAREHOUSE WAS DAMAGED: a checksum is wrong")
    assert len(list(warehouse.parent.glob("*.corrupt-*"))) == 1
    assert stored(warehouse) == before

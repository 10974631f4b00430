"""Keeping results: what a warehouse that can't be used costs a harvest, and what it costs a single job."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rows import RECIPE, SOURCE, TASK, fill, make_run
from warehouses import HOLD, refusal, start

from scalepred.errors import DamagedError, UsageError, WarehouseBusyError
from scalepred.job.finetune import Job
from scalepred.job.keep import keep_job
from scalepred.predictor.choice import Choice
from scalepred.records import RecipeRecord
from scalepred.store.journal import journal_of
from scalepred.store.keeping import Keeper
from scalepred.store.warehouse import open_warehouse

RECIPE_ROW = RecipeRecord(recipe_id=RECIPE.recipe_id, name="graduated", json=RECIPE.to_json())
ALL = [TASK, SOURCE, RECIPE_ROW, make_run()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.duckdb"


def keeper_of(path):
    return Keeper(path, journal_of(path), lock_timeout_seconds=0)


def keep(path, tmp_path):
    """Do what ``finetune --warehouse`` does once its model is saved."""
    choice = Choice(scale=1.0, by="given", reason="given with --scale", fixed_scale=1.0)
    came_out = {"choice": choice, "run": make_run(), "task": SimpleNamespace(record=TASK), "probe": None}
    job = Job(**came_out, seconds={}, output=tmp_path, trained_on="train")
    source = SimpleNamespace(record=SOURCE)
    keep_job(job, source, RECIPE, recipe_name="graduated", warehouse=path, lock_timeout_seconds=0)


def n_runs(path):
    with open_warehouse(path, read_only=True) as store:
        assert store.verify() == []
        return store.status().tables["runs"]


def test_what_is_stored_is_pending_no_more(path):
    keeper = keeper_of(path)
    keeper.add(ALL)
    keeper.store()
    assert (n_runs(path), keeper._pending) == (1, [])


def test_storing_leaves_a_damaged_warehouse_as_it_is_and_flushing_makes_it_again(path):
    keeper = keeper_of(path)
    keeper.add(ALL)
    path.write_bytes(b"damaged")
    with pytest.raises(DamagedError):
        keeper.store()
    assert path.read_bytes() == b"damaged"
    assert keeper.flush()[0].startswith("THE WAREHOUSE WAS DAMAGED: ")
    assert n_runs(path) == 1


def test_a_job_is_kept_in_a_warehouse_that_is_new_and_in_one_that_is_there(path, tmp_path):
    keep(path, tmp_path)
    assert n_runs(path) == 1
    filled = fill(tmp_path / "filled.duckdb")
    keep(filled, tmp_path)
    with open_warehouse(filled, read_only=True) as store:
        assert len(store.predictions()) == 2


@pytest.mark.parametrize("is_one", [False, True], ids=["a user's text", "a damaged warehouse"])
def test_a_job_never_replaces_what_lies_at_the_path_and_says_where_its_run_is(path, tmp_path, is_one):
    if is_one:
        fill(path)
    whole = bytearray(path.read_bytes() if is_one else b"a,b\n1,2\n")
    whole[8 if is_one else 0] ^= 255
    path.write_bytes(whole)
    files = {file.name for file in tmp_path.iterdir()}
    kept = re.escape(f"The job itself is done, and its run is kept in {tmp_path / 'w.journal'}, from where the next")
    with pytest.raises(DamagedError, match=rf"can't be used as a warehouse: .*It was left as it is; .* {kept}"):
        keep(path, tmp_path)
    assert path.read_bytes() == whole
    assert {file.name for file in tmp_path.iterdir()} == {*files, "w.journal"}
    assert journal_of(path).keys("runs") == {make_run().run_id}


@pytest.mark.parametrize("error", [WarehouseBusyError, UsageError])
def test_a_job_whose_warehouse_is_busy_or_full_says_that_its_run_is_kept(path, tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error("It can't be.")

    with monkeypatch.context() as patch:
        patch.setattr("scalepred.store.keeping.open_warehouse", refuse)
        with pytest.raises(error, match=r"^It can't be\. The job itself is done, and its run is kept in "):
            keep(path, tmp_path)
    assert keeper_of(path).catch_up() == []
    assert n_runs(path) == 1


def test_a_check_makes_nothing_and_passes_where_a_warehouse_is_or_can_be(path, tmp_path):
    keeper_of(tmp_path / "new" / "w.duckdb").check()
    assert list(tmp_path.iterdir()) == []
    keeper_of(fill(path)).check()
    assert list(tmp_path.iterdir()) == [path]


def test_a_check_passes_while_another_process_holds_the_warehouse_and_the_job_is_kept(path, tmp_path):
    with start(HOLD, fill(path)) as holder:
        assert holder.stdout.readline() == "held\n"
        keeper_of(path).check()
        with pytest.raises(WarehouseBusyError, match=r"The job itself is done, and its run is kept in "):
            keep(path, tmp_path)
        holder.communicate("\n")
    assert journal_of(path).keys("runs") == {make_run().run_id}


@pytest.mark.parametrize("name", ["w.duckdb", "new.duckdb", "new/w.duckdb"])
def test_a_check_refuses_a_place_that_cannot_be_written(unprivileged, name):
    with pytest.raises(UsageError) as caught:
        keeper_of(unprivileged / name).check()
    assert str(caught.value) == refusal(unprivileged / name, "Permission denied")
    assert sorted(file.name for file in unprivileged.iterdir()) == ["closed", "w.duckdb"]


def test_a_job_is_kept_while_a_harvest_holds_the_journal(path, tmp_path):
    with journal_of(path).held(lock_timeout_seconds=0):
        keep(path, tmp_path)
    assert n_runs(path) == 1


def test_a_journal_that_cannot_be_read_now_is_stored_whole_once_it_can(path, monkeypatch):
    keeper = keeper_of(path)
    keeper.add(ALL)

    whole = Path.read_text

    def failing(self, **settings):
        if self.suffix == ".json":
            raise OSError(116, "Stale file handle")
        return whole(self, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", failing)
        with pytest.raises(UsageError, match="can't be read: Stale file handle"):
            keeper_of(path).catch_up()
    assert keeper_of(path).catch_up() == []
    assert n_runs(path) == 1

"""Harvests of design points, on real images; finetunes are faked, and mostly the facts of their starts."""

import dataclasses
import math
from collections import Counter, defaultdict

import pytest
from fakes import QUICK, fake_finetune, write_task
from inline import calls, dying, go, go_until, harvest_of, log_of, opened, points_of, stored

from scalepred.errors import UsageError
from scalepred.harvest.guess import guess_of
from scalepred.harvest.octaves import Seen, best_octaves, first_octaves, next_octaves
from scalepred.harvest.space import describe
from scalepred.harvest.worker import Worker
from scalepred.predictor.context import start_set
from scalepred.predictor.start_facts import start_facts_of
from scalepred.records import POINT, FeatureRecord
from scalepred.store.journal import journal_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fakes")]

ADAMW = dataclasses.replace(QUICK, optimizer="adamw")
SMALL = dataclasses.replace(QUICK, image_px=24)


CRITICAL = -6.64
"""Log2 of the critical rate of all faked starts, which has SGD begin at scale 1 and AdamW at 2."""


def fake_start_facts(bundle, recipe):
    """Take the place of ``start_facts_of``: the same critical rate everywhere."""
    ids = {"task_id": bundle.task.record.task_id, "source_id": bundle.source.source_id}
    facts = {f"{head}_{name}": value for head in ("noise", "half")
             for name, value in (("is_placed", 1.0), ("log2_critical", CRITICAL))}  # fmt: skip
    return [
        FeatureRecord(**ids, feature_set=start_set(recipe), name=name, value=value, seconds=0.1)
        for name, value in facts.items()
    ]


@pytest.fixture(autouse=True)
def _known_starts(monkeypatch):
    monkeypatch.setattr("scalepred.harvest.worker.start_facts_of", fake_start_facts)


@pytest.fixture
def tasks(tmp_path):
    return [str(write_task(tmp_path / name, seed=seed, n=40)) for seed, name in enumerate(("birds", "fish"))]


@pytest.fixture
def mixed(tasks):
    """Four points: two recipes, a subset, and one with two seeds."""
    birds, fish = tasks
    return points_of((birds, {}), (fish, {"n_images": 24}), (birds, {"recipe": ADAMW, "n_seeds": 2}), (fish, {}))


def of_points(points, warehouse, **wanted):
    data = list(dict.fromkeys(point.data for point in points))
    return harvest_of(data, warehouse, points=points, **wanted)


def curves(warehouse):
    """Return (task's name, recipe_id, seed) -> octave -> accuracy on all held-out images."""
    rows = stored(warehouse)
    tasks = {task.task_id: task for task in rows["tasks"]}
    found = defaultdict(dict)
    for run in rows["runs"]:
        task = tasks[run.task_id]
        n_right = run.val_accuracy * task.n_val + run.test_accuracy * task.n_test
        at = round(math.log2(run.scale))
        found[task.name, run.recipe_id, run.seed][at] = n_right / (task.n_val + task.n_test)
    return found


def asked_at(warehouse, point):
    """Return what a point would still ask for, by the guess that follows from its stored facts."""
    rows = stored(warehouse)
    name = point.data.rpartition("/")[2] + (f"~{point.n_images}" if point.n_images else "")
    (task,) = [task for task in rows["tasks"] if task.name == name]
    of_set = [f for f in rows["features"] if (f.task_id, f.feature_set) == (task.task_id, start_set(point.recipe))]
    guess = guess_of({f.name: f.value for f in of_set}, point.recipe)
    curve = curves(warehouse)[name, point.recipe.recipe_id, 0]
    return next_octaves(
        {at: Seen(accuracy=each) for at, each in curve.items()}, guess=guess, n_images=task.n_val + task.n_test
    )


def test_every_points_curve_is_surrounded_around_its_own_guess(mixed, warehouse):
    _, runs = go(of_points(mixed, warehouse))
    assert {run.role for run in runs} == {POINT}
    assert [asked_at(warehouse, point) for point in mixed] == [[]] * 4
    for curve in curves(warehouse).values():
        best = best_octaves({at: Seen(accuracy=each) for at, each in curve.items()})
        assert best == [1]  # the fake's best scale is 2
        assert min(curve) < 1 < max(curve)


def test_a_point_is_placed_by_the_real_facts_of_its_start(mixed, warehouse, monkeypatch):
    monkeypatch.setattr("scalepred.harvest.worker.start_facts_of", start_facts_of)
    go(of_points(mixed[:3], warehouse))
    assert [asked_at(warehouse, point) for point in mixed[:3]] == [[]] * 3
    names = {f.name for f in stored(warehouse)["features"] if f.feature_set == start_set(ADAMW)}
    assert {"noise_log2_critical", "half_log2_critical", "log2_steps"} <= names


def test_a_second_seed_has_the_octaves_of_the_first(mixed, warehouse):
    go(of_points(mixed, warehouse))
    found = curves(warehouse)
    assert found["birds", ADAMW.recipe_id, 0].keys() == found["birds", ADAMW.recipe_id, 1].keys()
    assert sorted(seed for *_, seed in found) == [0, 0, 0, 0, 1]


def test_what_a_harvest_stores_of_points(mixed, warehouse):
    go(of_points(mixed, warehouse))
    rows = stored(warehouse)
    assert sorted(task.name for task in rows["tasks"]) == ["birds", "fish", "fish~24"]
    assert {recipe.name for recipe in rows["recipes"]} == {describe(QUICK), describe(ADAMW)}
    sets = Counter((f.task_id, f.feature_set) for f in rows["features"])
    assert Counter(name for _, name in sets) == {"basic-1@16px": 3, start_set(QUICK): 3, start_set(ADAMW): 1}


def test_a_point_that_is_done_is_not_done_again_and_no_task_is_read(mixed, warehouse):
    _, first = go(of_points(mixed, warehouse))
    again = of_points(mixed, warehouse)
    plan, runs = go(again)
    assert (plan.bundles, plan.n_stored, plan.n_points, runs, opened(again)) == ((), len(first), 4, [], [])


@pytest.mark.parametrize("done", [0, 1, 4, 11, 20])
def test_a_draw_that_was_stopped_is_finished_by_the_same_command(mixed, warehouse, tmp_path, done):
    _, whole = go(of_points(mixed, tmp_path / "whole.duckdb"))
    go_until(of_points(mixed, warehouse), done)
    _, rest = go(of_points(mixed, warehouse))
    assert len(rest) == len(whole) - done
    assert {run.run_id for run in stored(warehouse)["runs"]} == {run.run_id for run in whole}


def test_a_point_goes_on_from_the_guess_that_it_began_with(mixed, warehouse, monkeypatch):
    harvest = of_points(mixed[:1], warehouse)
    go_until(harvest, 3)
    monkeypatch.setattr("scalepred.harvest.guess.guess_of", None)  # it would fail if it was called
    again = of_points(mixed[:1], warehouse)
    go(again)
    assert calls(again, "features") == []
    assert asked_at(warehouse, mixed[0]) == []


def test_more_points_continue_what_is_there(mixed, warehouse):
    _, first = go(of_points(mixed[:2], warehouse))
    plan, more = go(of_points(mixed, warehouse))
    assert plan.n_stored == len(first)
    assert {run.run_id for run in first}.isdisjoint(run.run_id for run in more)
    assert [asked_at(warehouse, point) for point in mixed] == [[]] * 4


def test_points_are_done_in_their_order(mixed, warehouse):
    harvest = of_points(mixed, warehouse)
    plan = harvest.plan()
    assert [(bundle.data, bundle.n_runs) for bundle in plan.bundles] == [
        (point.data, len(first_octaves(0)) * point.n_seeds) for point in mixed
    ]
    list(harvest.run())
    assert [arguments[4] for _, arguments in calls(harvest, "open")] == [point.n_images for point in mixed]


def test_a_task_and_its_subset_are_not_taken_for_one_another(tasks, warehouse):
    (whole, part, all_of_it) = points_of((tasks[0], {}), (tasks[0], {"n_images": 12}), (tasks[0], {"n_images": 10_000}))
    for points in ([whole], [part], [whole, part]):
        go(of_points(points, warehouse))
    sizes = {task.name: task.n_train + task.n_val for task in stored(warehouse)["tasks"]}
    assert sizes["birds"] > sizes["birds~12"] == 12
    _, runs = go(of_points([all_of_it], warehouse))  # a subset of all images is the task
    assert runs == []


def test_the_same_point_is_done_once_and_a_second_seed_of_it_still_is(tasks, warehouse):
    birds, fish = tasks
    twins = points_of((birds, {}), (birds, {}), (birds, {"n_images": 10_000, "n_seeds": 2}), (fish, {}))
    _, runs = go(of_points(twins, warehouse))
    assert len({run.run_id for run in runs}) == len(runs)
    found = curves(warehouse)
    assert sorted((name, seed) for name, _, seed in found) == [("birds", 0), ("birds", 1), ("fish", 0)]
    assert found["birds", QUICK.recipe_id, 0].keys() == found["birds", QUICK.recipe_id, 1].keys()


def test_a_point_whose_facts_cannot_be_computed_is_refused_and_the_others_go_on(mixed, warehouse, monkeypatch):
    def fail(_bundle, recipe):
        raise UsageError(f"The loss of {recipe.optimizer} is not finite.")

    real = Worker.features

    def features(self, sets, recipes):
        return fail(None, ADAMW) if ADAMW in recipes else real(self, sets, recipes)

    monkeypatch.setattr(Worker, "features", features)
    harvest = of_points(mixed, warehouse)
    go(harvest)
    label = f"{mixed[2].data} (point 2: tiny, {describe(ADAMW)})"
    assert harvest.refused == {label: "The loss of adamw is not finite."}
    assert f"refused: {label}: The loss of adamw is not finite." in log_of(warehouse)
    assert [asked_at(warehouse, mixed[at]) for at in (0, 1, 3)] == [[]] * 3


def test_points_of_a_size_that_their_source_cannot_take_are_refused_and_the_others_go_on(tasks, warehouse, monkeypatch):
    def check(_architecture, *, image_px):
        if image_px == 24:
            raise UsageError("tiny can't take images of 24 px")

    monkeypatch.setattr("scalepred.harvest.worker.check_takes", check)
    points = points_of((tasks[0], {"recipe": SMALL}), (tasks[1], {}))
    harvest = of_points(points, warehouse)
    plan, runs = go(harvest)
    assert list(plan.refused.values()) == ["tiny can't take images of 24 px"]
    assert [bundle.data for bundle in plan.bundles] == [tasks[1]]
    assert runs


def test_a_task_that_cannot_be_used_is_refused_once_with_all_its_points(tasks, warehouse, tmp_path):
    nowhere = str(tmp_path / "nowhere")
    points = points_of((nowhere, {}), (tasks[0], {}), (nowhere, {"n_images": 12}))
    harvest = of_points(points, warehouse)
    plan, _ = go(harvest)
    assert list(harvest.refused) == [nowhere]
    assert len(plan.bundles) == 1


def test_a_run_that_fails_ends_its_point_and_is_tried_again_by_the_next_harvest(tasks, warehouse, monkeypatch):
    def broken(*args, **settings):
        if settings["scale"] == 1.0:
            raise UsageError("no memory")
        return fake_finetune(*args, **settings)

    (point,) = points_of((tasks[0], {}))
    with monkeypatch.context() as patch:
        patch.setattr("scalepred.training.bundle.finetune", broken)
        harvest = of_points([point], warehouse)
        go(harvest)
    assert list(harvest.failed.values()) == ["no memory"]
    go(of_points([point], warehouse))
    assert asked_at(warehouse, point) == []


@pytest.mark.parametrize("death", range(3, 30, 3))
def test_a_worker_may_die_at_any_call_of_a_point(mixed, warehouse, tmp_path, death):
    _, whole = go(of_points(mixed[1:3], tmp_path / "whole.duckdb"))
    harvest = of_points(mixed[1:3], warehouse, max_workers=2, deaths=[death])
    _, runs = go(harvest)
    assert sorted(run.run_id for run in runs) == sorted(run.run_id for run in whole)
    assert (harvest.failed, harvest.refused) == ({}, {})


def test_a_worker_that_dies_of_a_points_facts_costs_the_point_alone(mixed, warehouse, monkeypatch):
    harvest = of_points(mixed, warehouse, max_workers=2)
    dying(monkeypatch, harvest, lambda _, method, arguments: method == "features" and ADAMW in arguments[1])
    go(harvest)
    assert list(harvest.refused.values()) == ["3 workers died of it"]
    assert [asked_at(warehouse, mixed[at]) for at in (0, 1, 3)] == [[]] * 3


def test_workers_share_points_and_no_run_is_done_twice(mixed, warehouse):
    harvest = of_points(mixed, warehouse, max_workers=3)
    _, runs = go(harvest)
    assert len({worker for worker, _ in calls(harvest, "run")}) == 3
    assert len({run.run_id for run in runs}) == len(runs)
    assert [asked_at(warehouse, point) for point in mixed] == [[]] * 4


@pytest.mark.parametrize("kind", ["tasks", "recipes", "guesses", "feature_sets"])
def test_what_is_lost_of_a_draw_is_written_again(mixed, warehouse, kind):
    go(of_points(mixed, warehouse))
    before = stored(warehouse)
    warehouse.unlink()
    for file in (journal_of(warehouse).folder / kind).rglob("*.json"):
        file.write_bytes(b"{")
    _, runs = go(of_points(mixed, warehouse))
    assert runs == []
    assert stored(warehouse) == before


def test_the_dtype_of_a_source_and_size_stays_when_more_points_are_asked_for(tasks, warehouse, monkeypatch):
    probed = []

    def pick(_self, source, recipe):
        probed.append((source, recipe.image_px))
        return "float32"

    monkeypatch.setattr(Worker, "pick_dtype", pick)
    many = points_of((tasks[0], {}), (tasks[0], {"recipe": dataclasses.replace(QUICK, batch_size=4)}),
                     (tasks[1], {"recipe": SMALL}), (tasks[1], {"source": "other"}))  # fmt: skip
    for n in (1, 2, 4):
        of_points(many[:n], warehouse, sources=("tiny", "other")).plan()
    assert probed == [(0, 16), (0, 24), (1, 16)]

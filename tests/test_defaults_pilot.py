"""The pilot of defaults: what it runs next, and what it tells of a warehouse of known answers."""

import dataclasses
import json

import pytest
from rows import SOURCE, TASK, make_run

from benchmarks.bench_harvest import make_tiny_task
from benchmarks.wild import defaults, defaults_report
from benchmarks.wild.choose import SuiteTask, drawn, smallest, suite_tasks
from benchmarks.wild.variants import ALL_IMAGES, DEFAULT, SETTINGS, variants_of
from scalepred.recipe import RECIPES, Recipe, run_id
from scalepred.records import DIVERGED, RecipeRecord
from scalepred.store.journal import Journal
from scalepred.store.keeping import Keeper
from scalepred.store.warehouse import open_warehouse

SETTING = SETTINGS["lite0-64"]
VARIANTS = {variant.name: variant for variant in variants_of(SETTING)}
N_TASKS = 12
ORIGINS = [f"o{number}" for number in range(N_TASKS)]
IN_FIRST = dict(zip(ORIGINS, defaults_report.first_half(ORIGINS), strict=True))


def suite_task(name, origin, n_train):
    return SuiteTask(folder=defaults.Path(name), origin=origin, n_train=n_train, n_val=2, n_test=50)


def write_warehouse(path, right, *, seeds=(0, 1)):
    """Write runs of 12 tasks of 100 test images.

    Args:
        path: of the warehouse.
        right: variant -> function of octave less the guess, and of origin: test images right, or None if diverged.
        seeds: of the runs.
    """
    records = [SOURCE]
    for variant in (VARIANTS[name] for name in right):
        text = variant.recipe.to_json()
        records.append(RecipeRecord(recipe_id=variant.recipe.recipe_id, name=variant.name, json=text))
        for origin in ORIGINS:
            name = f"t-{origin}"
            own = {"task_id": f"{name}-all", "n_val": 0} if variant.learns_all else {"task_id": name, "n_val": 10}
            task = dataclasses.replace(TASK, name=name, origin=origin, n_classes=4, n_test=100, **own)
            records.append(task)
            for step in (-1, 0, 1):
                records += [run_of(variant, task, step, seed, right[variant.name](step, origin)) for seed in seeds]
    with open_warehouse(path) as store:
        store.add_all(records)
    return path


def run_of(variant, task, step, seed, n_right):
    scale = 2.0 ** (variant.octave + step)
    ids = {"task_id": task.task_id, "source_id": SOURCE.source_id, "recipe_id": variant.recipe.recipe_id}
    changes = {"status": DIVERGED, "test_accuracy": None} if n_right is None else {"test_accuracy": n_right / 100}
    seconds = 20.0 if variant.name == "fitted" else 10.0
    own = run_id(**ids, scale=scale, seed=seed)
    return dataclasses.replace(make_run(scale, seed), run_id=own, **ids, **changes, seconds=seconds)


def told(path, *names):
    return defaults_report.tables(SETTING, [VARIANTS[name] for name in names], defaults_report.read_seen(path))


# --- what is told -----------------------------------------------------------------------------------------------------


def test_a_gain_that_all_origins_share_is_told_and_adopted(tmp_path):
    flat = {DEFAULT: lambda step, _: 70 - 5 * abs(step), "fitted": lambda step, _: 70 + 5 * step}
    path = write_warehouse(tmp_path / "w.duckdb", flat | {"cosine": lambda step, _: 68 - 5 * abs(step)})
    result = told(path, DEFAULT, "fitted", "cosine")
    rows = {row.variant: row for row in result.rows}
    assert (rows[DEFAULT].accuracy, rows[DEFAULT].gain) == (pytest.approx(0.70), None)
    assert rows["fitted"].gain == pytest.approx(0.05)
    assert rows["fitted"].interval == pytest.approx((0.05, 0.05))
    assert rows["fitted"].log2_scales == (VARIANTS["fitted"].octave + 1,) * 2
    assert rows["fitted"].seconds_ratio == pytest.approx(2.0)
    assert rows["cosine"].gain == pytest.approx(-0.02)
    assert [(each.variant, pytest.approx(each.gain), each.n_tasks) for each in result.adopted] == [
        ("fitted", 0.05, 6),
        ("fitted", 0.05, 6),
    ]


def test_a_scale_is_never_read_on_the_half_that_chose_it(tmp_path):
    def lucky(step, origin):  # each half has a scale of its own luck
        return 90 if step == (1 if IN_FIRST[origin] else -1) else 50

    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda *_: 70, "fitted": lucky})
    fitted = told(path, DEFAULT, "fitted").rows[1]
    assert fitted.gain == pytest.approx(-0.20)
    assert fitted.log2_scales == (VARIANTS["fitted"].octave + 1, VARIANTS["fitted"].octave - 1)


def test_each_origin_is_read_at_the_scale_that_all_others_choose(tmp_path):
    odd = ORIGINS[0]

    def lucky(step, origin):  # the odd one alone is good at the top scale, and so good that it would choose it for all
        return (95 if step == 1 else 10) if origin == odd else 70 + 2 * (step == -1) - 3 * (step == 1)

    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda *_: 70, "fitted": lucky})
    fitted = told(path, DEFAULT, "fitted").rows[1]
    assert fitted.alone_log2_scales == (VARIANTS["fitted"].octave - 1, VARIANTS["fitted"].octave + 1)
    n = len(ORIGINS)
    assert fitted.alone == pytest.approx((-0.60 + (n - 1) * -0.03) / n)


def test_the_variant_that_is_best_on_one_half_is_read_on_the_other(tmp_path):
    right = {DEFAULT: lambda *_: 70}
    right["fitted"] = lambda _, origin: 80 if IN_FIRST[origin] else 60
    right["cosine"] = lambda _, origin: 60 if IN_FIRST[origin] else 80
    adopted = told(write_warehouse(tmp_path / "w.duckdb", right), DEFAULT, "fitted", "cosine").adopted
    assert [each.variant for each in adopted] == ["fitted", "cosine"]
    assert [each.gain_where_chosen for each in adopted] == pytest.approx([0.10, 0.10])
    assert [each.gain for each in adopted] == pytest.approx([-0.10, -0.10])


def test_a_run_that_diverged_counts_as_chance(tmp_path):
    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda *_: 70, "adamw": lambda *_: None})
    assert told(path, DEFAULT, "adamw").rows[1].accuracy == pytest.approx(0.25)


def test_all_images_are_paired_with_the_same_task_that_learns_fewer(tmp_path):
    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda *_: 70, ALL_IMAGES: lambda *_: 73})
    row = told(path, DEFAULT, ALL_IMAGES).rows[1]
    assert (row.n_tasks, row.gain) == (N_TASKS, pytest.approx(0.03))


def test_only_tasks_of_all_variants_count_and_one_far_behind_is_told_apart(tmp_path):
    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda *_: 70, "fitted": lambda *_: 75})
    seen = defaults_report.read_seen(path)
    of = SETTING, VARIANTS["fitted"]
    early = ORIGINS[:8]
    part = [each for each in seen if not each.is_of(*of) or each.origin in early]
    names = [VARIANTS[DEFAULT], VARIANTS["fitted"], VARIANTS["cosine"]]
    result = defaults_report.tables(SETTING, names, part)
    assert {row.n_tasks for row in result.rows} == {8}
    assert result.behind == ("cosine (0 tasks)",)


def test_the_report_ends_in_a_line_of_json(tmp_path, capsys, monkeypatch):
    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda *_: 70, "fitted": lambda *_: 75}, seeds=(0,))
    (tmp_path / "manifest.json").write_text('{"origins": []}', encoding="utf-8")
    command = ["defaults", str(tmp_path), "--warehouse", str(path), "--settings", "lite0-64", "--report"]
    monkeypatch.setattr("sys.argv", command)
    defaults.main()
    printed = capsys.readouterr().out
    report = json.loads(printed.splitlines()[-1])
    assert [row["gain"] for row in report["rows"]] == [None, pytest.approx(0.05)]
    assert "| fitted | 12 (12), 1.0 | " in printed
    assert "+5.0 (+5.0 to +5.0) | x 2.00 |" in printed


def test_the_report_leaves_out_tasks_with_fewer_images_than_asked_for(tmp_path, capsys, monkeypatch):
    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda *_: 70, "fitted": lambda *_: 75}, seeds=(0,))
    names = sorted({each.task for each in defaults_report.read_seen(path)})
    sizes = [{"name": name, "n_train": 10 + at, "n_val": 2, "n_test": 5} for at, name in enumerate(names)]
    (tmp_path / "manifest.json").write_text(json.dumps({"origins": [{"origin": "o", "tasks": sizes}]}))
    command = ["defaults", str(tmp_path), "--warehouse", str(path), "--settings", "lite0-64", "--report"]
    monkeypatch.setattr("sys.argv", [*command, "--min-train", "14"])
    defaults.main()
    assert f"| fitted | {len(names) - 4} (" in capsys.readouterr().out
    (tmp_path / "names").write_text("\n".join(names[:6]))
    monkeypatch.setattr("sys.argv", [*command, "--tasks", str(tmp_path / "names")])
    defaults.main()
    assert "| fitted | 6 (" in capsys.readouterr().out
    (tmp_path / "names").write_text("elsewhere\n")
    with pytest.raises(SystemExit, match=r"names names no task of .*: elsewhere\.$"):
        defaults.main()


def test_a_grids_runs_count_at_whole_octaves_alone(tmp_path):
    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda *_: 70})
    with open_warehouse(path) as store:
        run, before = store.runs()[0], len(store.runs())
        store.add_all([dataclasses.replace(run, run_id=f"{scale}", scale=scale) for scale in (2.5, 7.0, 64.0)])
    seen = defaults_report.read_seen(path)
    assert len(seen) == before + 1
    assert max(each.octave for each in seen) == 6


# --- variants ---------------------------------------------------------------------------------------------------------


def test_every_factor_differs_from_the_default_and_from_every_other():
    for setting in SETTINGS.values():
        variants = variants_of(setting)
        assert len({(each.recipe.recipe_id, each.learns_all) for each in variants}) == len(variants)
        assert variants[0].name == DEFAULT
        assert variants[0].recipe == setting.recipe
    assert "cosine" not in {variant.name for variant in variants_of(SETTINGS["sprites-64"])}  # it has it already


def test_the_second_stage_is_all_together_and_without_each():
    variants = variants_of(SETTING, together=("fitted", "cosine", "smoothing"))
    assert [variant.name for variant in variants] == [
        *(DEFAULT, "fitted + cosine + smoothing", "cosine + smoothing", "fitted + smoothing", "fitted + cosine")
    ]
    all_of_them = dataclasses.replace(SETTING.recipe, head_start="fitted", schedule="cosine", label_smoothing=0.1)
    assert variants[1].recipe == all_of_them
    with pytest.raises(SystemExit, match="No factor dropout"):
        variants_of(SETTING, together=("dropout",))


# --- what is run ------------------------------------------------------------------------------------------------------


def test_octaves_go_on_beyond_an_edge_that_is_best_and_then_stop():
    variant, tasks = VARIANTS[DEFAULT], ["a", "b"]
    start = variant.octave
    accuracies = {}
    asked = defaults.octaves(variant, tasks, accuracies)
    assert asked == [start - 1, start, start + 1]
    for _ in range(9):  # best two octaves above the guess
        accuracies |= {o: {t: 0.9 - 0.1 * abs(o - start - 2) for t in tasks} for o in asked}
        asked = defaults.octaves(variant, tasks, accuracies)
    assert asked == list(range(start - 1, start + 4))
    falling = {o: dict.fromkeys(tasks, 0.5 - 0.01 * o) for o in range(-20, 20)}
    assert min(defaults.octaves(variant, tasks, falling)) == start - 1 - defaults.BEYOND


def test_a_round_lacks_the_same_runs_of_every_variant_until_they_are_done(tmp_path):
    tasks = [suite_task(f"t-{origin}", origin, 8) for origin in ORIGINS]
    path = write_warehouse(tmp_path / "w.duckdb", {DEFAULT: lambda step, _: 70 - abs(step)}, seeds=(0,))
    seen = defaults_report.read_seen(path)
    both = [VARIANTS[DEFAULT], VARIANTS["fitted"]]
    lacking = defaults.lacking_runs(SETTING, both, tasks, seen, seed=0)
    assert list(lacking) == [task.name for task in tasks]
    assert {variant.name for runs in lacking.values() for variant, _, _ in runs} == {"fitted"}
    again = defaults.lacking_runs(SETTING, both[:1], tasks, seen, seed=1)
    assert all([octave for _, octave, _ in runs] == [0, 1, 2] for runs in again.values())


def test_first_seeds_and_cheap_variants_come_first_and_eight_tasks_place_the_scales():
    tasks = [suite_task(f"t{number}", "o", 8) for number in range(10)]
    plan = {"lite0-64": [VARIANTS[DEFAULT], VARIANTS["40-epochs"]]}
    order = [(members[0].name, len(some), seed) for _, members, some, seed in defaults.rounds(tasks, plan, n_seeds=2)]
    assert order == [
        *((DEFAULT, 8, 0), (DEFAULT, 10, 0), ("40-epochs", 8, 0), ("40-epochs", 10, 0)),
        *((DEFAULT, 10, 1), ("40-epochs", 10, 1)),
    ]


@pytest.mark.slow
def test_a_job_journals_its_runs_and_learns_validation_images_where_asked(tmp_path):
    folder = make_tiny_task(tmp_path / "tiny", side_px=48)
    recipe = dataclasses.replace(SETTING.recipe, epochs=1, image_px=32)
    setting = dataclasses.replace(SETTING, recipe=recipe)
    variants = {each.name: each for each in variants_of(setting)}
    runs = tuple((variants[name], 0, 0) for name in (DEFAULT, ALL_IMAGES))
    warehouse, journal = tmp_path / "w.duckdb", Journal(tmp_path / "w.journal")
    task = SuiteTask(folder=folder, origin="tiny", n_train=16, n_val=6, n_test=8)
    job = defaults.Job(task=task, setting=setting, runs=runs, journal=journal.folder, device="cpu")
    assert defaults.run_job(job).startswith("tiny: 2 runs in ")
    Keeper(warehouse, journal, lock_timeout_seconds=10.0).catch_up()
    seen = defaults_report.read_seen(warehouse)
    assert sorted((each.task, each.learns_all, each.octave) for each in seen) == [("tiny", False, 0), ("tiny", True, 0)]
    assert defaults.lacking_runs(setting, [variants[DEFAULT]], [task], seen, seed=0)["tiny"] == [
        (variants[DEFAULT], octave, 0) for octave in (1, 2)
    ]
    with open_warehouse(warehouse, read_only=True) as store:
        assert sorted((each.n_train, each.n_val) for each in store.tasks()) == [(16, 6), (22, 0)]


def test_a_steps_cost_is_measured_for_training_and_for_scoring():
    from small_networks import tiny_source

    variant = dataclasses.replace(VARIANTS[DEFAULT], recipe=Recipe(image_px=32, batch_size=16))
    assert all(seconds >= 0 for seconds in defaults.image_seconds(tiny_source(), variant))
    assert sum(defaults.image_seconds(tiny_source(), variant)) > 0


# --- which tasks ------------------------------------------------------------------------------------------------------


def test_the_smallest_task_of_every_origin_comes_before_any_second():
    tasks = [suite_task("a1", "a", 5), suite_task("a2", "a", 6), suite_task("b1", "b", 9), suite_task("a3", "a", 99)]
    assert [task.name for task in smallest(tasks, n=3)] == ["a1", "b1", "a2"]
    assert [task.name for task in smallest(tasks, n=9, min_train=6)] == ["a2", "b1", "a3"]


def test_drawn_tasks_leave_out_what_chose_and_take_untouched_origins_first():
    tasks = [suite_task(f"{origin}{number}", origin, 10) for origin in "abcd" for number in range(3)]
    names = [task.name for task in drawn(tasks, n=9, seed=0, exclude=["a0", "b1"])]
    assert not {"a0", "b1"} & set(names)
    assert {name[0] for name in names[:2]} == {"c", "d"} == {name[0] for name in names[:6]}
    assert {name[0] for name in names[6:8]} == {"a", "b"}
    assert names == [task.name for task in drawn(tasks, n=9, seed=0, exclude=["a0", "b1"])]
    assert names != [task.name for task in drawn(tasks, n=9, seed=1, exclude=["a0", "b1"])]
    assert drawn(tasks, n=9, seed=0, max_train=9) == []


def test_collections_that_share_images_are_one_origin(tmp_path):
    sizes = {"n_train": 1, "n_val": 1, "n_test": 1}
    origins = [{"origin": name, "tasks": [{"name": f"{name}-a", **sizes}]} for name in ("emoji-tones", "digits")]
    (tmp_path / "manifest.json").write_text(json.dumps({"origins": origins}), encoding="utf-8")
    assert {task.name: task.origin for task in suite_tasks(tmp_path)} == {
        "emoji-tones-a": defaults_origin("emoji-tones"),
        "digits-a": "digits",
    }
    with pytest.raises(SystemExit, match=r"has no manifest\.json"):
        suite_tasks(tmp_path / "nowhere")


def defaults_origin(name):
    from benchmarks.wild.origins import SHARED

    return SHARED[name]


def test_todays_default_is_the_present_default_of_the_pilot():
    assert SETTINGS["lite0-128"].recipe == RECIPES["frozen-statistics-128"]

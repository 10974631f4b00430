"""What `scalepred harvest` prints and refuses, with workers in this process."""

import json
import math

import pytest
from fakes import QUICK, InlineEngine, fake_finetune, write_task
from rows import RECIPE, SOURCE, TASK, make_run
from safetensors.torch import save_file
from small_networks import tiny_source

from scalepred.errors import UsageError
from scalepred.harvest.worker import Worker
from scalepred.networks.architecture import build
from scalepred.predictor.artifact import load
from scalepred.records import RecipeRecord
from scalepred.store.journal import journal_of
from scalepred.store.warehouse import open_warehouse


class Engine(InlineEngine):
    """Workers in this process, as the command starts them."""

    def __init__(self, settings, *, n_workers):
        super().__init__(lambda: Worker(settings))
        self.n_workers = n_workers or 1


@pytest.fixture(autouse=True)
def _fakes(monkeypatch):
    source = tiny_source()
    monkeypatch.setattr("scalepred.harvest.worker.load_source", lambda *_, **__: source)
    monkeypatch.setattr("scalepred.training.bundle.finetune", fake_finetune)
    monkeypatch.setattr("scalepred.harvest.local_engine.LocalEngine", Engine)


@pytest.fixture
def harvest(run, tmp_path):
    """Run the command on a warehouse of the test's; returns exit code, stdout and lines of stderr."""
    quick = tmp_path / "quick.json"
    quick.write_text(QUICK.to_json())

    def call(*arguments, recipes=("quick",), warehouse=tmp_path / "w.duckdb"):
        named = [part for name in recipes for part in ("--recipe", tmp_path / f"{name}.json")]
        usual = ("--warehouse", warehouse, "--dtype", "float32", "--device", "cpu", *named)
        code, out, err = run("harvest", *arguments, *usual)
        return code, out, err.splitlines()

    return call


@pytest.fixture
def task(tmp_path):
    return write_task(tmp_path / "birds")


@pytest.fixture
def refused(tmp_path):
    """Two tasks that can't be harvested, and why."""
    for name in ("one", "two"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "task.json").write_text('{"nmae": 1}')
    return tmp_path / "bad"


def test_a_plan_says_what_was_mended_and_what_is_refused(harvest, task, refused, tmp_path):
    recipe = RecipeRecord(recipe_id=RECIPE.recipe_id, name="graduated", json=RECIPE.to_json())
    for record in (TASK, SOURCE, recipe, make_run()):
        journal_of(tmp_path / "w.duckdb").add(record)
    (tmp_path / "w.duckdb").write_bytes(b"damaged")
    code, _, said = harvest(task, refused, "--dry-run")
    assert code == 6
    assert said[0].startswith("THE WAREHOUSE WAS DAMAGED: ")
    assert said[1].startswith("It was moved to ")
    assert said[2] == f"warehouse: {tmp_path / 'w.duckdb'}"
    assert [line.partition(": ")[2].partition(":")[0] for line in said if line.startswith("refused: ")] == [
        str(refused / "one"),
        str(refused / "two"),
    ]


def test_what_was_mended_is_told_even_if_the_plan_fails(harvest, task, tmp_path, monkeypatch):
    def hello(_):
        raise UsageError("no such network")

    journal_of(tmp_path / "w.duckdb").add(make_run())
    (tmp_path / "w.duckdb").write_bytes(b"damaged")
    monkeypatch.setattr(Worker, "hello", hello)
    code, _, said = harvest(task, "--dry-run")
    assert code == 2
    assert said[0].startswith("THE WAREHOUSE WAS DAMAGED: ")
    assert said[-1] == "scalepred: no such network"


def test_tasks_that_are_all_refused_are_listed_with_their_reasons(harvest, refused):
    code, out, said = harvest(refused)
    assert (code, out) == (3, "")
    assert said[0] == "scalepred: None of the 2 tasks can be harvested:"
    assert [line.partition(": ")[0] for line in said[1:]] == [f"  - {refused / name}" for name in ("one", "two")]
    assert all("nmae" in line for line in said[1:])


def test_what_is_skipped_is_told_when_its_task_is_read(harvest, task, tmp_path):
    cut = task / "dark" / "0.png"
    cut.write_bytes(cut.read_bytes()[:200])
    code, _, said = harvest(task)
    assert code == 0
    log = tmp_path / "w.journal" / "harvest.log"
    assert f"{task}: 1 paths skipped; {log} lists them" in said
    assert f"skipped: {cut}: damaged: image file is truncated" in log.read_text()


def test_recipes_that_come_to_the_same_name_at_a_size_are_refused(harvest, task, tmp_path):
    for name, epochs in (("a", 5), ("a-64", 9)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"epochs": epochs, "image_px": 64}))
    code, _, said = harvest(task, "--image-px", "128", "--dry-run", recipes=("a", "a-64"))
    assert (code, said) == (
        2,
        [
            f"scalepred: At 128 pixels --recipe {tmp_path / 'a.json'} and --recipe {tmp_path / 'a-64.json'} have the "
            "same name, a-128: rename one of the files."
        ],
    )


def test_recipes_that_become_the_same_at_a_size_are_one(harvest, task, tmp_path):
    for name, image_px in (("a-24", 24), ("a-32", 32)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"epochs": 1, "image_px": image_px}))
    code, out, _ = harvest(task, "--image-px", "16", "--dry-run", "--json", recipes=("a-24", "a-32"))
    assert (code, json.loads(out)["planned"]) == (0, 12)


def test_given_scales_are_run_in_place_of_the_eleven(harvest, task, tmp_path):
    code, out, _ = harvest(task, "--scale", "1", "--scale", "40", "--scale", "1", "--json")
    *runs, last = map(json.loads, out.splitlines())
    assert (code, [run["scale"] for run in runs], last["done"]) == (0, [None, 1.0, 40.0], 3)
    code, out, _ = harvest(task, "--scale", "40", "--json")
    assert (code, json.loads(out)["done"]) == (0, 0)


def test_after_given_scales_the_next_step_is_one_that_they_are_enough_for(harvest, task, tmp_path):
    path = tmp_path / "w.duckdb"
    assert harvest(task, "--scale", "1")[2][-1] == (
        f"next: scalepred warehouse report --warehouse {path} shows the accuracies; a predictor learns from whole "
        "grids alone, which the same command without --scale harvests"
    )
    assert harvest(task)[2][-1] == f"next: scalepred train-predictor --warehouse {path}"


@pytest.mark.parametrize("memory", ["inf", "1e300"])
def test_memory_without_end_is_refused(harvest, task, memory):
    words = f"scalepred: --memory is a finite number of gigabytes, not {float(memory):g}."
    assert harvest(task, "--memory", memory) == (2, "", [words])


def test_a_scale_that_is_none_is_refused_before_any_worker_starts(harvest, task, monkeypatch):
    monkeypatch.setattr("scalepred.harvest.local_engine.LocalEngine", None)  # it would fail if it was called
    words = "scalepred: A scale is a finite number above 0, not -1.0; the grid runs from 0.25 to 10.0."
    assert harvest(task, "--scale", "1", "--scale", "-1") == (2, "", [words])


# --- octaves ----------------------------------------------------------------------------------------------------------


def test_octaves_run_each_recipe_as_a_point_of_its_own_name(harvest, task, tmp_path):
    code, out, _ = harvest(task, "--octaves", "--seeds", "2", "--json")
    summary = json.loads(out.splitlines()[-1])
    assert (code, summary["failed"], summary["stored_before"]) == (0, [], 0)
    with open_warehouse(tmp_path / "w.duckdb", read_only=True) as store:
        runs, names = store.runs(), [recipe.name for recipe in store.recipes()]
    scales = sorted({run.scale for run in runs if run.seed == 0})
    assert names == ["quick"]
    assert len(scales) >= 5
    assert all(math.log2(scale).is_integer() for scale in scales)
    assert {run.role for run in runs} == {"point"}
    assert scales == sorted({run.scale for run in runs if run.seed == 1})
    code, out, _ = harvest(task, "--octaves", "--seeds", "2", "--json")
    assert json.loads(out.splitlines()[-1])["stored_before"] == len(runs)


def test_octaves_of_three_tasks_teach_a_predictor_their_fixed_scale(harvest, run, tmp_path):
    for seed, name in enumerate(("birds", "fish", "ants")):
        write_task(tmp_path / "tasks" / name, seed=seed)
    assert harvest(tmp_path / "tasks", "--octaves")[0] == 0
    arguments = ("--warehouse", tmp_path / "w.duckdb", "--output", tmp_path / "predictor")
    code, out, err = run("train-predictor", *arguments, "--json")
    assert code == 0, err
    (group,) = json.loads(out)["octave_groups"]
    loaded = load(tmp_path / "predictor")
    assert [group.fixed_scale for group in loaded.octave_groups] == [group["fixed_scale"]]
    assert (loaded.groups, loaded.booster, group["n_tasks"]) == ((), None, 3)
    card = (tmp_path / "predictor" / "README.md").read_text(encoding="utf-8")
    assert "on no whole grid.\n\n- `tiny`, recipe `quick`: best fixed scale" in card
    assert "(3 tasks of 3 origins, over octaves)" in card


def test_two_tasks_over_octaves_are_too_few_for_a_predictor(harvest, run, task, tmp_path):
    assert harvest(task, "--octaves")[0] == 0
    code, _, err = run("train-predictor", "--warehouse", tmp_path / "w.duckdb", "--output", tmp_path / "predictor")
    assert code == 3
    assert "nor 3 tasks with octaves of the same source and recipe: run `scalepred harvest` until it has." in err


@pytest.mark.parametrize("arguments", [("--scale", "1"), ("--no-extend",)])
def test_octaves_take_no_scales(harvest, task, arguments):
    words = "scalepred: --scale and --no-extend do not go with --octaves, which places its own scales."
    assert harvest(task, "--octaves", *arguments) == (2, "", [words])


# --- draws ------------------------------------------------------------------------------------------------------------

SPACE = {
    "name": "small",
    "dimensions": [
        {"name": "optimizer", "kind": "choice", "values": [{"value": "sgd"}, {"value": "adamw"}]},
        {"name": "image_px", "kind": "choice", "values": [{"value": 16}, {"value": 24}]},
        {"name": "epochs", "kind": "log_integer", "low": 1, "high": 3},
        {"name": "batch_size", "kind": "choice", "values": [{"value": 8}]},
        {"name": "n_images", "kind": "choice", "values": [{"value": 12}, {"value": 500}]},
    ],
}


@pytest.fixture
def draw(harvest, tmp_path):
    """Run the command with a draw from a small space."""
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    return lambda *arguments: harvest(*arguments, "--space", tmp_path / "space.json", recipes=())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--recipe", "cosine"), "--recipe does"),
        (("--seeds", "1"), "--seeds does"),
        (("--image-px", "64", "--no-extend"), "--image-px and --no-extend do"),
        (("--scale", "1"), "--scale does"),
        (("--octaves",), "--octaves does"),
    ],
)
def test_options_of_the_grid_do_not_go_with_a_draw(harvest, task, arguments, named):
    assert harvest(task, "--draw", "3", *arguments, recipes=()) == (
        2,
        "",
        [
            f"scalepred: {named} not go with --draw: the space draws recipes and image sizes, and each point places "
            "its own scales and seeds."
        ],
    )


@pytest.mark.parametrize("arguments", [("--draw-seed", "0"), ("--space", "none.json")])
def test_the_options_of_a_draw_need_one(harvest, task, arguments):
    words = "scalepred: --draw-seed and --space belong to --draw N: say how many points."
    assert harvest(task, *arguments, recipes=()) == (2, "", [words])


def test_a_space_that_cannot_be_used_is_refused_before_any_worker_starts(harvest, task, tmp_path, monkeypatch):
    monkeypatch.setattr("scalepred.harvest.local_engine.LocalEngine", None)  # it would fail if it was called
    (tmp_path / "space.json").write_text('{"name": "mine", "dimensions": [{"name": "epoch", "kind": "choice"}]}')
    code, _, said = harvest(task, "--draw", "3", "--space", tmp_path / "space.json", recipes=())
    assert (code, said[0]) == (2, f"scalepred: The space {tmp_path / 'space.json'} can't be used:")


def test_a_dry_run_of_a_draw_prints_its_plan_and_how_balanced_it_is(draw, task):
    code, out, said = draw(task, "--draw", "8", "--dry-run")
    assert code == 0
    assert any(line.startswith("plan: at least ") and " runs of 8 of 8 points to do" in line for line in said)
    rows = [line.split() for line in out.splitlines()]
    assert ["optimizer", "adamw", "4"] in rows
    assert ["families", "efficientnet", "8"] in rows


def test_the_balance_of_a_draw_is_json_too(draw, task):
    code, out, _ = draw(task, "--draw", "8", "--dry-run", "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["balance"]["sources"] == {"efficientnet_lite0": 8}
    assert summary["balance"]["image size"] == {"16": 4, "24": 4}
    assert summary["balance"]["tasks"] == {str(task): 8}


def test_a_transformer_gets_its_own_image_size_in_a_draw_of_others(run, task, tmp_path):
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    vit = "timm/vit_tiny_patch16_224:depth=5,embed_dim=16,img_size=24,num_heads=2,patch_size=8"
    weights = tmp_path / "vit.safetensors"
    save_file(build(vit, n_classes=2).network.state_dict(), weights)
    options = ("--weights", weights, "--space", tmp_path / "space.json", "--draw", "8", "--dry-run", "--json")
    code, out, err = run("harvest", task, "--source", vit, *options, "--warehouse", tmp_path / "w.duckdb")
    assert code == 0, err
    assert json.loads(out)["balance"]["image size"] == {"24": 8}


def test_a_long_list_of_a_balance_is_told_by_its_number_least_and_most(draw, tmp_path):
    for seed in range(22):
        write_task(tmp_path / "many" / f"t{seed}", seed=seed)
    _, out, _ = draw(tmp_path / "many", "--draw", "4", "--dry-run")
    assert "22: 0 to 1 points each, 18 none at all" in out


def test_a_draw_is_harvested_and_more_points_continue_it(draw, task):
    summaries = []
    for n in ("2", "2", "4"):
        code, out, _ = draw(task, "--draw", n, "--json")
        assert code == 0
        summaries.append(json.loads(out.splitlines()[-1]))
    first, again, more = summaries
    assert first["done"] + first["diverged"] > 0
    assert (again["planned"], again["done"], again["stored_before"]) == (0, 0, first["done"] + first["diverged"])
    assert more["stored_before"] == again["stored_before"]
    assert more["done"] > 0
    assert "balance" not in first


def test_a_draw_of_tasks_that_are_all_refused_lists_them(draw, refused):
    code, out, said = draw(refused, "--draw", "3")
    assert (code, out, said[0]) == (3, "", "scalepred: None of the 2 tasks can be harvested:")


@pytest.mark.parametrize("path", ["", ".", "/", ".."])
def test_a_warehouse_without_a_name_is_refused(harvest, task, path):
    shown = path or "."
    assert harvest(task, warehouse=path) == (
        2,
        "",
        [f"scalepred: The warehouse {shown} names no file: give a DuckDB file, such as my.duckdb."],
    )

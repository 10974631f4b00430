"""Every kind of wrong row has its line."""

import shutil

import pytest
from rows import RECIPE, SOURCE, TASK, fill, make_run
from warehouses import diverged_run, harm

from scalepred.recipe import GRID
from scalepred.store import checks as checks_module
from scalepred.store.warehouse import open_warehouse

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute


def test_a_sound_warehouse_has_no_problems(path):
    fill(path, diverged_run(2.0), make_run(None))
    with open_warehouse(path, read_only=True) as store:
        assert store.verify() == []


RUN_ID, TASK_ID, SOURCE_ID, RECIPE_ID = make_run().run_id, TASK.task_id, SOURCE.source_id, RECIPE.recipe_id
WRONG_RUN_ID = f"runs whose id is not the hash of their parts: {RUN_ID}"
WRONG_RECIPE_ID = f"recipes whose id is not the hash of their JSON: {RECIPE_ID}"
DIVERGED = f"diverged runs with an accuracy, or without a step: {RUN_ID}"
SILENT = "val_accuracy = NULL, test_accuracy = NULL, val_correct = NULL, test_correct = NULL"
VAL_BITS = f"validation accuracies that differ from their bits: {RUN_ID}"
TEST_BITS = f"test accuracies that differ from their bits: {RUN_ID}"
RATES = f"runs whose rates are not one for each stage and epoch: {RUN_ID}"
LOSSES = f"losses that are not finite: {RUN_ID}"
COUNTS = f"tasks whose classes and images are not those of their label counts: {TASK_ID}"


DAMAGE = [
    ("DELETE FROM tasks", [f"runs of unknown tasks: {RUN_ID}", f"features of unknown tasks: {TASK_ID}"]),
    ("DELETE FROM sources", [f"runs of unknown sources: {RUN_ID}", f"features of unknown sources: {SOURCE_ID}"]),
    ("DELETE FROM recipes", [f"runs of unknown recipes: {RUN_ID}"]),
    ("UPDATE tasks SET n_train = 21", [COUNTS]),
    ("UPDATE tasks SET n_classes = 3", [COUNTS]),
    ("UPDATE tasks SET label_counts = '{\"a\": 36', n_classes = 1", [COUNTS]),
    ("UPDATE sources SET facts = '[]'", [f"sources whose facts are no JSON object: {SOURCE_ID}"]),
    ("UPDATE runs SET versions = ''", [f"runs whose versions are no JSON object: {RUN_ID}"]),
    ("UPDATE predictions SET predicted = '{'", ["predictions that are no JSON object: p"]),
    ("UPDATE runs SET role = 'odd'", [f"runs of unknown role: {RUN_ID}"]),
    ("UPDATE runs SET role = 'extension'", [f"extension runs within the grid: {RUN_ID}"]),
    ("UPDATE runs SET execution = '7'", [f"runs whose execution is no JSON object: {RUN_ID}"]),
    ("UPDATE runs SET course = '[]'", [f"runs whose course is no JSON object: {RUN_ID}"]),
    ("UPDATE runs SET status = 'odd'", [f"runs of unknown status: {RUN_ID}"]),
    ("UPDATE runs SET scale = -1", [f"runs whose scale is no finite number above 0: {RUN_ID}", WRONG_RUN_ID]),
    ("UPDATE runs SET scale = 'nan'", [f"runs whose scale is no finite number above 0: {RUN_ID}", WRONG_RUN_ID]),
    (
        "UPDATE runs SET val_accuracy = NULL",
        [f"done runs without a validation accuracy, though their task has validation images: {RUN_ID}"],
    ),
    (
        "UPDATE runs SET test_accuracy = NULL",
        [f"done runs without a test accuracy, though their task has test images: {RUN_ID}"],
    ),
    ("UPDATE runs SET diverged_step = 3", [f"done runs with a step at which they diverged: {RUN_ID}"]),
    ("UPDATE runs SET status = 'diverged', diverged_step = 3", [DIVERGED]),
    (f"UPDATE runs SET status = 'diverged', {SILENT}", [DIVERGED]),
    ("UPDATE runs SET val_accuracy = 1.5", [f"accuracies outside 0..1: {RUN_ID}", VAL_BITS]),
    ("UPDATE runs SET test_accuracy = 'nan'", [f"accuracies outside 0..1: {RUN_ID}", TEST_BITS]),
    ("UPDATE runs SET val_loss = 'inf'", [LOSSES]),
    ("UPDATE runs SET test_loss = 'nan'", [LOSSES]),
    ("UPDATE runs SET epoch_losses = [0.5, 'nan'::DOUBLE]", [LOSSES]),
    ("UPDATE runs SET val_accuracy = 0.2", [VAL_BITS]),
    ("UPDATE runs SET val_correct = ''::BLOB", [VAL_BITS]),
    ("UPDATE runs SET test_correct = NULL", [TEST_BITS]),
    ("UPDATE runs SET test_correct = '\\xE0'::BLOB", [TEST_BITS]),
    ("UPDATE runs SET test_correct = '\\xE0\\x01'::BLOB", [TEST_BITS]),
    ("UPDATE runs SET seconds = 0", [f"runs without a positive duration: {RUN_ID}"]),
    ("UPDATE runs SET seconds = 'inf'", [f"runs without a positive duration: {RUN_ID}"]),
    ("UPDATE runs SET rates = rates[1:3]", [RATES]),
    ("UPDATE runs SET rates = list_transform(rates, lambda rate: rate[1:5])", [RATES]),
    ("UPDATE features SET value = 'nan'", [f"features that are not finite: {TASK_ID}"]),
    ("UPDATE runs SET seed = 5", [WRONG_RUN_ID]),
    ("UPDATE recipes SET json = '{\"epochs\":20}'", []),
    ("UPDATE recipes SET json = '{\"epochs\":19}'", [RATES, WRONG_RECIPE_ID]),
    ('UPDATE recipes SET json = \'{"batch_size":8,"steps":58}\'', [WRONG_RECIPE_ID]),  # 20 epochs are begun
    ('UPDATE recipes SET json = \'{"batch_size":8,"steps":61}\'', [RATES, WRONG_RECIPE_ID]),
]


@pytest.fixture(scope="module")
def sound(filled, tmp_path_factory):
    with open_warehouse(shutil.copy(filled, tmp_path_factory.mktemp("sound"))) as store:
        yield store


@pytest.fixture
def harmed(sound):
    """A warehouse with one task and one run, whose harm is undone at the end."""
    sound.connection.execute("BEGIN")
    yield sound
    sound.connection.execute("ROLLBACK")


@pytest.mark.parametrize(("damage", "problems"), DAMAGE)
def test_verify_names_each_kind_of_wrong_row(harmed, damage, problems):
    harmed.connection.execute(damage)
    assert harmed.verify() == problems


def test_every_check_of_verify_has_its_damage():
    assert set(checks_module._CHECKS) <= {problem.partition(": ")[0] for _, problems in DAMAGE for problem in problems}


@pytest.mark.parametrize(
    "recipe",
    ["", "nonsense", "[]", "null", '{"epochs": "x"}', '{"epochs": 1e99}', '{"multipliers": [null]}', '{"other": 1}',
     '{"schedule": {}}', '{"multipliers": 3}', f'{{"base_lr": 1{"0" * 400}}}', "[" * 100_000],
)  # fmt: skip
def test_a_recipe_that_cannot_be_read_is_a_problem_and_no_crash(harmed, recipe):
    harmed.connection.execute("UPDATE recipes SET json = ?", [recipe])
    assert harmed.verify() == [WRONG_RECIPE_ID]


def test_verify_names_the_first_three_of_many(path):
    fill(path, *(make_run(scale) for scale in GRID))
    harm(path, "UPDATE runs SET seconds = -1, seed = 9")
    ids = ", ".join(sorted(make_run(scale).run_id for scale in GRID)[:3])
    with open_warehouse(path, read_only=True) as store:
        assert store.verify() == [
            f"runs without a positive duration: {ids} …",
            f"runs whose id is not the hash of their parts: {ids} …",
        ]

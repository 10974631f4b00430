"""The one job: a choice from features, one finetune, and what is kept of it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import QUICK, named_source, write_task

from scalepred.data.task import read_task
from scalepred.errors import UsageError
from scalepred.job.choose import Prediction, _as_harvested, _guessed, given, other_sizes, predict
from scalepred.job.classifier import load
from scalepred.job.finetune import finetune_once
from scalepred.job.keep import keep_wanted
from scalepred.job.options import JobOptions
from scalepred.job.places import shipped_predictor
from scalepred.job.setup import Setup
from scalepred.job.tools import Tools, pick_predictor, usual_recipe
from scalepred.networks.source import new_network
from scalepred.predictor.artifact import MANIFEST
from scalepred.predictor.artifact import load as load_predictor
from scalepred.predictor.choice import Choice, choose
from scalepred.predictor.nearness import Neighbour
from scalepred.predictor.rule import RuleAnswer
from scalepred.predictor.train import Group, Predictor
from scalepred.recipe import RECIPES, run_id
from scalepred.records import DIVERGED
from scalepred.store.journal import journal_of
from scalepred.store.warehouse import open_warehouse
from scalepred.training.loop import Finetuned, finetune
from scalepred.training.scoring import Scores

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

CPU = torch.device("cpu")
CHOICE = Choice(scale=2.0, by="predicted", reason="because", fixed_scale=1.0, predicted_gain=0.01)


@pytest.fixture(scope="module")
def source():
    return named_source()


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return read_task(write_task(tmp_path_factory.mktemp("data") / "birds"), image_px=QUICK.image_px)


def knows(source_id):
    """Return a predictor without trees that has seen one task."""
    return Predictor(
        feature_names=("knn_accuracy",),
        scales=(1.0, 2.0),
        groups=(Group(source_id=source_id, recipe_id=QUICK.recipe_id, fixed_scale=2.0, n_tasks=1, n_origins=1),),
        threshold=0.0,
        centre=(0.0,),
        spread=(1.0,),
        reach=1.0,
        neighbours=(
            Neighbour(name="a", source_id=source_id, recipe_id=QUICK.recipe_id, best_scale=2.0, features=(0.0,)),
        ),
        gain_errors=(),
    )


def met(source_id, **tasks_of):
    """Return a predictor that has met a source with these recipes, in so many tasks each."""
    recipes = {name: RECIPES.get(name, QUICK) for name in tasks_of}
    groups = tuple(
        Group(source_id=source_id, recipe_id=recipes[name].recipe_id, fixed_scale=2.0, n_tasks=n, n_origins=n)
        for name, n in tasks_of.items()
    )
    facts = {
        "recipes": {recipe.recipe_id: name for name, recipe in recipes.items()},
        "recipe_fields": {recipe.recipe_id: recipe.to_json() for recipe in recipes.values()},
    }
    return dataclasses.replace(knows(source_id), groups=groups, facts=facts)


def untrained(source, train, held_out, *, n_classes, recipe, scale, **_):
    """Take the place of ``finetune``: a new head on the source, and one image in two right."""
    network = new_network(source, n_classes=n_classes, generator=torch.Generator().manual_seed(0))
    scores = {
        name: Scores(
            accuracy=0.5,
            loss=0.7,
            correct=split.labels == 0,
            logits=np.eye(n_classes, dtype=np.float32)[0 * split.labels],
        )
        for name, split in held_out.items()
        if len(split.labels)
    }
    return Finetuned(
        network=network,
        status="done",
        diverged_step=None,
        epoch_losses=[0.5],
        rates=[(0.0,) * 6],
        scores=scores,
        train_seconds=2.0,
        evaluate_seconds=1.0,
    )


def tools_of(source, recipe=QUICK):
    return Tools(source=source, recipe=recipe, recipe_name="quick", device=CPU, asked=None)


def once(task, source, output, *, choice=CHOICE, recipe=QUICK, on_epoch=None, **options):
    setup = Setup(task=task, tools=tools_of(source, recipe), dtype=torch.float32, scan_seconds=0.5)
    prediction = Prediction(choice=choice, features={}, seconds=0.25)
    return finetune_once(setup, prediction, JobOptions(**options), output=output, on_epoch=on_epoch)


@pytest.fixture
def job(task, source, tmp_path, monkeypatch):
    monkeypatch.setattr("scalepred.training.bundle.finetune", untrained)
    return once(task, source, tmp_path / "model")


# --- predicting -------------------------------------------------------------------------------------------------------


def test_a_prediction_is_a_choice_with_the_features_it_was_made_from(task, source):
    prediction = predict(task, source, knows(source.source_id), recipe=QUICK, device=CPU)
    assert (prediction.choice.by, prediction.scale) == ("fallback", 2.0)
    assert {"knn_accuracy", "emd_similarity", "log2_n_train", "source_log10_parameters"} <= set(prediction.features)
    assert prediction.seconds > 0


def test_the_json_of_a_prediction_has_these_fields():
    choice = dataclasses.replace(
        CHOICE,
        curve=((1.0, -0.01), (2.0, 0.01)),
        gain_interval=(0.0, 0.02),
        same_scales=(2.0,),
        contributions={"knn_accuracy": 0.01},
        neighbours={"birds": 2.0},
    )
    values = Prediction(choice=choice, features={"knn_accuracy": 0.5}, seconds=1.5).to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == {
        "schema": 2,
        "scale": 2.0,
        "by": "predicted",
        "reason": "because",
        "fixed_scale": 1.0,
        "curve": [{"scale": 1.0, "relative_accuracy": -0.01}, {"scale": 2.0, "relative_accuracy": 0.01}],
        "predicted_gain": 0.01,
        "gain_interval": [0.0, 0.02],
        "same_scales": [2.0],
        "rule": None,
        "outlook": None,
        "lines": {},
        "probe": None,
        "contributions": {"knn_accuracy": 0.01},
        "neighbours": [{"task": "birds", "best_scale": 2.0}],
        "features": {"knn_accuracy": 0.5},
        "seconds": 1.5,
    }


def test_a_given_scale_is_the_users_own():
    assert given(3) == Choice(scale=3.0, by="given", reason="chosen by the user", fixed_scale=3.0)
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="A scale is a finite number above 0"):
            given(bad)


def test_the_shipped_predictor_is_a_folder_and_what_it_holds_loads():
    folder = shipped_predictor()
    assert folder.is_dir()
    if (folder / MANIFEST).exists():
        assert load_predictor(folder).groups


def test_the_first_predictor_that_has_met_the_source_is_asked_and_the_first_of_all_where_none_has(source):
    near, strange = knows(source.source_id), knows("another")
    users, ships = Path("users"), Path("ships")
    assert pick_predictor({users: near, ships: near}, source) == users
    assert pick_predictor({users: strange, ships: near}, source) == ships
    assert pick_predictor({users: strange, ships: strange}, source) == users


# --- one job ----------------------------------------------------------------------------------------------------------


def test_a_job_saves_the_model_and_says_what_it_did(job, task, source, tmp_path):
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md", "classes.json", "config.json", "metrics.json", "model.safetensors", "none_of_these.safetensors",
        "report.html", "run.json", "scalepred.json", "training_images.safetensors",
    ]  # fmt: skip
    values = json.loads(json.dumps(job.to_json(), allow_nan=False))
    assert values["choice"]["scale"] == 2.0
    assert values["classes"] == ["dark", "light"]
    assert values["output"] == str((tmp_path / "model").resolve())
    metrics = values["metrics"] | {"probe": values["probe"]}
    assert metrics == json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert (metrics["val_accuracy"], metrics["n_test"], metrics["trained_on"], metrics["refit"]) == (
        0.5,
        4,
        "train",
        None,
    )
    evaluate = values["seconds"].pop("evaluate")
    assert evaluate > 1.0  # scoring the probe is part of it
    assert values["seconds"] == {"scan": 0.5, "features": 0.25, "train": 2.0, "total": pytest.approx(2.75 + evaluate)}


def test_a_jobs_run_has_the_identity_that_a_harvest_would_give_it(job, task, source):
    ids = {"task_id": task.record.task_id, "source_id": source.source_id, "recipe_id": QUICK.recipe_id}
    assert job.run.run_id == run_id(**ids, scale=2.0, seed=0)


def test_a_model_that_is_there_is_kept_unless_overwritten(job, task, source, tmp_path, monkeypatch):
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    monkeypatch.setattr("scalepred.training.bundle.finetune", None)  # refused before any training
    with pytest.raises(UsageError, match="holds a model already: give another --output, or --overwrite"):
        once(task, source, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    monkeypatch.setattr("scalepred.training.bundle.finetune", untrained)
    once(task, source, tmp_path / "model", overwrite=True, seed=1)
    assert json.loads((tmp_path / "model" / "run.json").read_text())["seed"] == 1


def test_a_diverged_job_says_what_to_try_and_saves_nothing(task, source, tmp_path, monkeypatch):
    def diverging(*args, **settings):
        return dataclasses.replace(untrained(*args, **settings), status=DIVERGED, diverged_step=7, scores={})

    monkeypatch.setattr("scalepred.training.bundle.finetune", diverging)
    with pytest.raises(UsageError) as caught:
        once(task, source, tmp_path / "model")
    assert str(caught.value) == (
        "At scale 2 the loss stopped being finite at step 7, so nothing was saved. Try a lower one: --scale 0.5."
    )
    assert not (tmp_path / "model").exists()


def test_what_was_chosen_and_came_out_is_kept_in_a_warehouse(job, source, tmp_path):
    path = tmp_path / "w.duckdb"
    for _ in range(2):
        keep_wanted(job, tools_of(source), JobOptions(warehouse=path, lock_timeout_seconds=0))
    assert journal_of(path).keys("runs") == {job.run.run_id}
    with open_warehouse(path) as store:
        assert store.verify() == []
        assert store.runs() == [job.run]
        assert [each.name for each in store.recipes()] == ["quick"]
        first, second = store.predictions()
    assert first.prediction_id != second.prediction_id
    assert (first.scale, first.by, first.reason) == (2.0, "predicted", "because")
    assert (first.val_accuracy, first.test_accuracy) == (0.5, 0.5)
    assert first.predicted["predicted_gain"] == 0.01


@pytest.mark.slow
def test_a_real_job_learns_and_its_model_classifies_as_it_was_scored(task, source, tmp_path):
    recipe = dataclasses.replace(QUICK, epochs=4, multipliers=(1, 1, 1, 1, 1, 16))
    epochs = []
    job = once(task, source, tmp_path / "model", recipe=recipe, on_epoch=lambda n, loss: epochs.append((n, loss)))
    assert [n for n, _ in epochs] == [1, 2, 3, 4]
    assert epochs[-1][1] < epochs[0][1]
    paths = [Path(path) for path in task.test.paths]
    names = load(tmp_path / "model", device="cpu").predict(paths)
    right = [name == task.classes[label] for name, label in zip(names, task.test.labels, strict=True)]
    assert sum(right) / len(right) == job.run.test_accuracy


@pytest.mark.slow
def test_a_job_gives_the_numbers_of_the_same_finetune(task, source, tmp_path):
    job = once(task, source, tmp_path / "model", choice=given(0.5))
    splits = {"val": task.val, "test": task.test}
    alone = finetune(source, task.train, splits, n_classes=2, recipe=QUICK, scale=0.5, seed=0, device=CPU)
    assert job.run.epoch_losses == pytest.approx(alone.epoch_losses, rel=1e-4)  # in parts it rounds differently
    assert job.run.rates == alone.rates
    assert job.choice.by == "given"


def test_a_recipe_that_was_harvested_at_other_sizes_alone_takes_the_scale_of_the_nearest():
    mine = dataclasses.replace(QUICK, image_px=128)
    sizes = {px: dataclasses.replace(QUICK, image_px=px) for px in (32, 96, 224)}
    unlike = (dataclasses.replace(mine, epochs=mine.epochs + 1), mine)
    texts = {recipe.recipe_id: recipe.to_json() for recipe in (*sizes.values(), *unlike)}
    predictor = dataclasses.replace(met("net", graduated=50), facts={"recipe_fields": texts})
    others = other_sizes(predictor, mine)
    assert list(others.items()) == [(sizes[px].recipe_id, px) for px in (96, 224, 32)]
    groups = tuple(
        Group(source_id="net", recipe_id=recipe.recipe_id, fixed_scale=scale, n_tasks=9, n_origins=9)
        for scale, recipe in ((1.0, sizes[224]), (4.0, sizes[96]))
    )
    predictor = dataclasses.replace(predictor, groups=(*predictor.groups, *groups))
    choice = choose(predictor, {}, source_id="net", recipe_id=mine.recipe_id, other_sizes=others)
    assert (choice.scale, choice.by) == (4.0, "fallback")
    assert choice.reason == (
        "this source with this recipe was not harvested with images of this size; "
        "4, the best fixed scale of 9 tasks at 96 px, is a guess"
    )
    stranger = choose(predictor, {}, source_id="another", recipe_id=mine.recipe_id, other_sizes=others)
    assert stranger.scale == 1.0
    rule = RuleAnswer(scale=0.5, critical_scale=2, safe_factor=2, n_points=9, n_origins=9, n_sources=3)
    sides = [
        choose(predictor, {}, source_id=name, recipe_id=mine.recipe_id, other_sizes=others, rule=rule)
        for name in ("net", "another")
    ]
    assert [(each.by, each.scale, each.rule) for each in sides] == [("fallback", 4.0, rule), ("rule", 0.5, rule)]


def test_a_recipe_that_was_harvested_without_class_weights_alone_takes_the_fixed_scale_of_that(task, source):
    balanced = dataclasses.replace(QUICK, class_weights="balanced")
    predictor = knows(source.source_id)
    choice = predict(task, source, predictor, recipe=balanced, device=CPU).choice
    assert (choice.scale, choice.by) == (2.0, "fallback")
    asked = dataclasses.replace(CHOICE, fixed_scale=4.0, curve=((1.0, 0.1),), neighbours={"a": 1.0})
    guessed = _guessed(asked, "class weights")
    assert (guessed.scale, guessed.by, guessed.curve, guessed.neighbours) == (4.0, "fallback", (), {})
    assert guessed.reason == (
        "this source was harvested with all of this recipe but its class weights; 4, the best fixed scale there, is "
        "a guess"
    )


def test_what_suited_others_is_told_without_the_class_weights_that_they_had_not(task, source):
    balanced = dataclasses.replace(QUICK, class_weights="balanced")
    elsewhere = knows("another")
    plain, weighed = (predict(task, source, elsewhere, recipe=r, device=CPU).choice for r in (QUICK, balanced))
    assert "suited this recipe best on 1 other network" in plain.reason
    assert "suited all of this recipe but its class weights best on 1 other network" in weighed.reason
    assert weighed.scale == plain.scale


def test_of_a_recipe_that_was_not_harvested_as_little_as_can_be_is_left_away(source):
    padded, balanced = dataclasses.replace(QUICK, resize="pad"), dataclasses.replace(QUICK, class_weights="balanced")
    both = dataclasses.replace(padded, class_weights="balanced")
    known = knows(source.source_id)
    of_padded = dataclasses.replace(known.groups[0], recipe_id=padded.recipe_id)
    with_padded = dataclasses.replace(known, groups=(*known.groups, of_padded))
    found = {
        (name, recipe): _as_harvested(predictor, source, recipe)
        for name, predictor in (("quick", known), ("padded too", with_padded), ("none", met("another", quick=9)))
        for recipe in (QUICK, padded, balanced, both)
    }
    assert found["quick", QUICK] == found["padded too", QUICK] == found["none", QUICK] == (QUICK, "")
    assert found["quick", padded] == (QUICK, "resize")
    assert found["padded too", padded] == (padded, "")
    assert found["quick", balanced] == (QUICK, "class weights")
    assert found["quick", both] == found["none", both] == (QUICK, "resize and class weights")
    assert found["padded too", both] == (padded, "class weights")


def test_without_a_recipe_it_is_the_default_unless_the_predictor_knows_the_source_with_others_alone(source):
    source_id = source.source_id
    usual = ("frozen-statistics-128", RECIPES["frozen-statistics-128"])
    assert usual_recipe(met(source_id, **{"quick": 9, "frozen-statistics-128": 1}), source, "timm/x") == usual
    assert usual_recipe(met(source_id, quick=9, graduated=8), source, "timm/x") == ("quick", QUICK)
    assert usual_recipe(met("another", quick=9), source, "timm/x") == usual
    assert usual_recipe(dataclasses.replace(met(source_id, quick=9), facts={}), source, "timm/x") == usual

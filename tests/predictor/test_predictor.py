"""The predictor on harvests whose answer is known, and its folder under damage."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import RECIPE, SCALES, SOURCE, curve_table, true_accuracies

from scalepred.errors import UsageError, VersionError
from scalepred.predictor import artifact as artifact_module
from scalepred.predictor import choice as choice_module
from scalepred.predictor import model as model_module
from scalepred.predictor import nearness as nearness_module
from scalepred.predictor import table as table_module
from scalepred.predictor import train as train_module
from scalepred.predictor.artifact import MANIFEST, MODEL, load, save
from scalepred.predictor.choice import choose
from scalepred.predictor.train import Predictor, train
from scalepred.recipe import content_id

MEND = ". Copy it again as a whole, or train one with `scalepred train-predictor`."


@pytest.fixture(scope="module")
def predictor():
    return dataclasses.replace(train(curve_table(24)), facts={"label": "fake"})


@pytest.fixture(scope="module")
def saved(predictor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save(predictor, folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "predictor"))


def ask(predictor, hint=0.0, *, source_id=SOURCE, recipe_id=RECIPE, **features):
    known = {"hint": hint, "nothing": 0.0, "size": 8.0} | features
    return choose(predictor, known, source_id=source_id, recipe_id=recipe_id)


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_it_chooses_near_the_optimum_of_unseen_tasks_and_beats_the_fixed_scale(predictor):
    new = curve_table(60, per_origin=1, noise=0, seed=9)
    choices = [choose(predictor, dict(zip(new.feature_names, row, strict=True)), source_id=SOURCE, recipe_id=RECIPE)
               for row in new.features]  # fmt: skip
    rows, columns = np.arange(60), [list(SCALES).index(choice.scale) for choice in choices]
    fixed = list(SCALES).index(choices[0].fixed_scale)
    chosen, best = new.accuracies[rows, columns].mean(), new.accuracies.max(axis=1).mean()
    assert best - chosen < 0.2 * (best - new.accuracies[:, fixed].mean())
    assert {choice.by for choice in choices} == {"predicted"}


def test_with_noise_only_it_stays_at_the_fixed_scale():
    left, lost = [], []
    for seed in range(6):
        trained = train(curve_table(24, per_origin=1, slope=0, noise=0.02, seed=seed))
        truth = true_accuracies(np.array([1.0]))[0]
        for row in curve_table(40, per_origin=1, slope=0, seed=100 + seed).features:
            choice = ask(trained, row[0], nothing=row[1], size=row[2])
            left.append(choice.scale != choice.fixed_scale)
            at = [list(SCALES).index(scale) for scale in (choice.scale, choice.fixed_scale)]
            lost.append(truth[at[1]] - truth[at[0]])
    assert np.mean(left) < 0.2
    assert np.mean(lost) < 0.001


def test_a_choice_says_what_it_is_and_why(predictor):
    choice = ask(predictor, 1.4)
    assert (choice.by, choice.scale, choice.fixed_scale) == ("predicted", 7.0, 2.0)
    gain = 100 * choice.predicted_gain
    assert gain > 3
    other = next(name for name in choice.contributions if name not in ("hint", "log2_scale"))
    assert choice.reason == (
        f"predicted {gain:.1f} points above the best fixed scale of 2, because of hint and {other}; "
        f"{choice_module._span(choice.same_scales)}"
    )
    assert choice.scale in choice.same_scales
    assert len(choice.neighbours) == 3
    assert set(choice.neighbours.values()) <= set(SCALES)


def test_where_the_fixed_scale_is_predicted_best_the_reason_says_so(predictor):
    hints = np.linspace(-1, 1, 41)
    choice = next(c for c in (ask(predictor, h) for h in hints) if c.scale == c.fixed_scale and not c.contributions)
    assert choice.reason.startswith("2, the best fixed scale, is also predicted best for this task; any scale from ")
    assert choice.predicted_gain == 0
    assert choice.gain_interval is None


def test_a_gain_under_the_threshold_leaves_the_fixed_scale(predictor):
    careful = dataclasses.replace(predictor, threshold=0.5)
    choice = ask(careful, 1.4)
    gain = 100 * sum(choice.contributions.values())
    assert (choice.scale, choice.by, choice.predicted_gain) == (2.0, "predicted", 0)
    assert choice.reason.startswith(
        f"7 is predicted {gain:.1f} points above 2, no more than the 50.00 points that pay on held-out tasks, "
        "so that stays; "
    )


def test_where_no_gain_paid_the_reason_says_so(predictor):
    choice = ask(dataclasses.replace(predictor, threshold=math.inf), 1.4)
    assert choice.scale == 2
    assert ", but leaving the best fixed scale did not pay on held-out tasks, so that stays; " in choice.reason


def test_the_curve_has_every_scale_of_the_grid(predictor):
    choice = ask(predictor, 1.4)
    assert [scale for scale, _ in choice.curve] == list(SCALES)
    best = max(choice.curve, key=lambda point: point[1])
    assert best[0] == choice.scale
    curve = dict(choice.curve)
    assert choice.predicted_gain == curve[choice.scale] - curve[choice.fixed_scale]


@pytest.mark.parametrize("hint", [-1.4, -0.7, 0.5, 1.4])
def test_contributions_sum_to_the_predicted_gain(predictor, hint):
    choice = ask(predictor, hint)
    curve = dict(choice.curve)
    gain = max(curve.values()) - curve[choice.fixed_scale]
    assert sum(choice.contributions.values()) == pytest.approx(gain, abs=1e-5)
    sizes = [abs(value) for value in choice.contributions.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_same_scales_are_an_unbroken_run_around_the_best():
    scales = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    assert choice_module._same_scales(np.array([0.1, 0.0, 0.098, 0.1001, 0.0]), scales) == (2.0, 4.0)
    assert choice_module._same_scales(np.array([0.1, 0.0, 0.0, 0.0, 0.0]), scales) == (0.5,)
    assert choice_module._same_scales(np.zeros(5), scales) == tuple(scales)


def test_the_span_of_good_scales_is_said_in_words():
    assert (
        choice_module._span((1.5, 2.0, 4.0)) == "any scale from 1.5 to 4 is predicted within half a point of the best"
    )
    assert choice_module._span((4.0,)) == "no scale beside it is predicted within half a point of the best"


def test_the_gain_interval_adds_held_out_errors_to_the_predicted_gain(predictor):
    errors = tuple(np.linspace(-0.1, 0.0, 11).tolist())
    choice = ask(dataclasses.replace(predictor, gain_errors=errors), 1.4)
    assert choice.gain_interval == pytest.approx((choice.predicted_gain - 0.1, choice.predicted_gain))
    assert ask(dataclasses.replace(predictor, gain_errors=errors[:9]), 1.4).gain_interval is None


@pytest.mark.parametrize("n_errors", [10, 19, 40])
def test_a_further_error_lies_in_the_interval_as_often_as_promised_however_few_are_known(n_errors):
    drawn = np.random.default_rng(0).normal(size=(4000, n_errors + 1))
    intervals = np.array([choice_module.error_interval(row[1:].tolist()) for row in drawn])
    inside = (drawn[:, 0] >= intervals[:, 0]) & (drawn[:, 0] <= intervals[:, 1])
    assert 0.78 < inside.mean() < 0.84


def test_a_bundle_of_many_seeds_weighs_more():
    table = curve_table(12)
    many = dataclasses.replace(table, n_seeds=np.where(np.arange(len(table.names)) == 0, 30, 1))
    other = dataclasses.replace(table, n_seeds=np.full(len(table.names), 1))
    low = other.accuracies.copy()
    low[0] = low[0][::-1]  # a bundle that contradicts the rest
    bent = [
        model_module.predict_curves(
            model_module.fit(dataclasses.replace(each, accuracies=low)), table.features[:1], table.scales
        )[0]
        for each in (many, other)
    ]
    wanted = low[0] - low[0].mean()
    assert np.abs(bent[0] - wanted).mean() < np.abs(bent[1] - wanted).mean()


def test_missing_features_are_harmless(predictor):
    absent = choose(predictor, {"hint": 1.4}, source_id=SOURCE, recipe_id=RECIPE)
    unknown = choose(
        predictor, {"hint": 1.4, "nothing": math.nan, "size": math.nan}, source_id=SOURCE, recipe_id=RECIPE
    )
    assert absent == unknown
    assert absent.by == "predicted"
    assert absent.scale > absent.fixed_scale
    assert choose(predictor, {}, source_id=SOURCE, recipe_id=RECIPE).by == "predicted"


def test_it_learns_from_tasks_whose_features_are_not_all_known():
    table = curve_table(12)
    table.features[::3, 1:] = np.nan
    choice = ask(train(table), 1.3)
    assert choice.by == "predicted"
    assert all(math.isfinite(value) for _, value in choice.curve)


# --- falling back -----------------------------------------------------------------------------------------------------


def test_few_origins_give_the_fixed_scale_and_say_how_many():
    trained = train(curve_table(7, per_origin=3))
    choice = ask(trained)
    assert trained.booster is None
    assert (choice.by, choice.scale, choice.curve) == ("fallback", trained.groups[0].fixed_scale, ())
    assert choice.reason == (
        "only 21 tasks of 7 collections harvested with this source and recipe, and predicting takes 8 collections; "
        f"{choice.scale:g} is the best fixed scale of those"
    )


def test_a_source_with_few_origins_is_not_predicted_for_beside_one_with_many():
    choice = ask(train(two_groups(n_other=1)), source_id="source-b")
    assert choice.by == "fallback"
    assert choice.reason.startswith("only 1 task of 1 collection harvested with this source and recipe, ")


def test_each_source_and_recipe_has_its_own_fixed_scale_and_neighbours():
    table = two_groups(n_other=8)
    trained = train(table)
    assert [group.fixed_scale for group in trained.groups] == [2.0, 0.25]
    assert (trained.groups[1].n_tasks, trained.groups[1].n_origins) == (8, 8)
    assert all(name.startswith("b-") for name in ask(trained, source_id="source-b").neighbours)
    assert not any(name.startswith("b-") for name in ask(trained).neighbours)


@pytest.mark.parametrize(
    ("source_id", "recipe_id", "whose"),
    [
        (SOURCE, "other", "this source with another recipe"),
        ("other", RECIPE, "another source with this recipe"),
    ],
)
def test_an_unknown_source_or_recipe_gets_a_guess_that_is_called_one(predictor, source_id, recipe_id, whose):
    choice = ask(predictor, source_id=source_id, recipe_id=recipe_id)
    assert (choice.by, choice.scale) == ("fallback", 2.0)
    assert choice.reason == (
        "this source with this recipe was not harvested; "
        f"2, the best fixed scale of {whose}, is a guess"
    )  # fmt: skip


def test_with_neither_source_nor_recipe_known_no_scale_is_carried_over(predictor):
    choice = ask(predictor, source_id="other", recipe_id="other")
    assert (choice.by, choice.scale, choice.fixed_scale) == ("fallback", 1.0, 1.0)
    assert choice.reason == (
        "neither this source nor this recipe was harvested, and the scales of others mean nothing for them; "
        "1 leaves the recipe's rates as they are"
    )


def test_a_guess_is_taken_from_the_same_source_before_the_larger_group():
    assert ask(train(two_groups(n_other=8)), source_id="source-b", recipe_id="other").scale == 0.25


def test_a_task_unlike_all_others_gets_the_fixed_scale(predictor):
    choice = ask(predictor, 50.0)
    assert (choice.by, choice.scale, choice.predicted_gain) == ("fallback", 2.0, 0)
    assert choice.reason == (
        "this task is unlike all 48 that were harvested; 2 is the best fixed scale of those"
    )  # fmt: skip
    assert len(choice.neighbours) == 3


def test_a_task_is_alike_up_to_one_and_a_half_times_the_largest_gap_between_origins():
    table = curve_table(8, per_origin=1)
    table = dataclasses.replace(table, features=np.column_stack([np.arange(8.0), np.zeros(8), np.zeros(8)]))
    trained = train(table)
    assert trained.reach == pytest.approx(1.5 / np.arange(8.0).std())
    assert ask(trained, 8.49, nothing=0, size=0).by == "predicted"
    assert ask(trained, 8.51, nothing=0, size=0).by == "fallback"
    for beyond, expected in ((1.49, False), (1.51, True)):
        moved = dataclasses.replace(table, features=table.features + np.array([beyond, 0, 0]))
        assert nearness_module.abstains(table, moved)[-1] == expected


def two_groups(*, n_other):
    """Return 24 tasks of one source, and others of a second, whose optimum is 0.25."""
    first = curve_table(12)
    second = curve_table(n_other, per_origin=1, seed=5, prefix="b-")
    low = true_accuracies(np.full(n_other, -2.0))
    both = {
        name: (*getattr(first, name), *getattr(second, name)) for name in ("names", "origins", "recipe_ids")
    }  # fmt: skip
    return dataclasses.replace(
        first,
        **both,
        source_ids=(*first.source_ids, *("source-b",) * n_other),
        features=np.concatenate([first.features, second.features]),
        accuracies=np.concatenate([first.accuracies, low]),
        n_held_out=np.concatenate([first.n_held_out, second.n_held_out]),
        n_seeds=np.concatenate([first.n_seeds, second.n_seeds]),
    )


# --- folds, columns, thresholds ---------------------------------------------------------------------------------------


def test_folds_hold_out_every_row_once_and_never_split_an_origin():
    origins = [f"o{i % 7}" for i in range(30)]
    for n_folds, expected in ((None, 7), (5, 5), (20, 7)):
        folds = table_module.origin_folds(origins, n_folds=n_folds, seed=1)
        assert len(folds) == expected
        assert sorted(np.concatenate([held for held, _ in folds])) == list(range(30))
        for held, rest in folds:
            assert {origins[i] for i in held}.isdisjoint({origins[i] for i in rest})
            assert len(held) + len(rest) == 30


def test_a_column_is_left_only_for_more_than_the_threshold():
    curves = np.array([[0.0, 0.01, 0.02], [0.03, 0.01, 0.02], [0.0, 0.0, 0.0]])
    fixed = np.array([1, 1, 1])
    assert train_module.choose_columns(curves, fixed, 0.0).tolist() == [2, 0, 1]
    assert train_module.choose_columns(curves, fixed, 0.015).tolist() == [1, 0, 1]
    assert train_module.choose_columns(curves, fixed, math.inf).tolist() == [1, 1, 1]


def test_of_thresholds_that_score_the_same_the_highest_is_taken_whatever_rounding_does(monkeypatch):
    table = curve_table(10, per_origin=1)
    table = dataclasses.replace(table, accuracies=np.tile([0.1, 0.7, 0.3], (10, 4))[:, :11])
    monkeypatch.setattr(model_module, "predict_curves", lambda *_: np.tile(np.arange(11) % 3 == 1, (2, 1)) * 0.3)
    monkeypatch.setattr(train_module, "fixed_columns", lambda _, own: np.arange(len(own.names)) * 3 + 1)
    assert train_module.inner_threshold(table) == math.inf


def test_the_threshold_is_low_where_predicted_gains_come_true(predictor):
    assert predictor.threshold <= 0.02


def test_joint_inputs_run_through_the_scales_for_each_task():
    inputs = model_module.joint_inputs(np.array([[7.0], [8.0]]), np.array([1.0, 4.0]))
    assert inputs.tolist() == [[7, 0], [7, 2], [8, 0], [8, 2]]


# --- the folder -------------------------------------------------------------------------------------------------------


def probes(predictor):
    hints = [-1.4, -0.5, 0.0, 0.9, 1.4, 50.0]
    return [ask(predictor, hint) for hint in hints] + [ask(predictor, recipe_id="other")]


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        save(train(curve_table(10), seed=3), tmp_path / name)
    save(train(curve_table(10), seed=4), tmp_path / "other")
    for file in (MANIFEST, MODEL):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert (tmp_path / "one" / MODEL).read_bytes() != (tmp_path / "other" / MODEL).read_bytes()


def test_a_saved_predictor_chooses_the_same(predictor, folder):
    loaded = load(folder)
    assert probes(loaded) == probes(predictor)
    for field in dataclasses.fields(Predictor):
        if field.name != "booster":
            assert getattr(loaded, field.name) == getattr(predictor, field.name)
    assert sorted(path.name for path in folder.iterdir()) == [MODEL, MANIFEST]


def test_a_predictor_without_trees_replaces_one_with_them(folder):
    few = train(curve_table(3))
    save(few, folder)
    assert [path.name for path in folder.iterdir()] == [MANIFEST]
    loaded = load(folder)
    assert loaded.threshold == math.inf
    assert ask(loaded) == ask(few)


def test_no_predictor_says_how_to_get_one(tmp_path):
    with pytest.raises(VersionError) as caught:
        load(tmp_path / "none")
    assert str(caught.value) == f"No predictor at {tmp_path / 'none'}: train one with `scalepred train-predictor`."


@pytest.mark.parametrize("schema", [2, 0, None, "1", [1]])
def test_another_schema_is_refused(folder, schema):
    rewrite(folder, lambda manifest: manifest.update(schema=schema))
    with pytest.raises(VersionError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"The predictor at {folder} has schema {schema!r}, and this scalepred reads 1: "
        "train it again with `scalepred train-predictor`."
    )


def refusal(folder):
    with pytest.raises(VersionError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.startswith(f"The predictor at {folder} is damaged: ")
    assert message.endswith(MEND)
    return message.removeprefix(f"The predictor at {folder} is damaged: ").removesuffix(MEND)


def rewrite(folder, change, *, sealed=True):
    """Change the manifest as a hostile author would, with its own hash made right."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    if sealed:
        bare = {name: value for name, value in manifest.items() if name != "predictor_id"}
        manifest["predictor_id"] = content_id("predictor", bare)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_missing_model_is_refused(folder):
    (folder / MODEL).unlink()
    assert refusal(folder) == "model.txt is missing"


def test_an_edited_model_is_refused(folder):
    path = folder / MODEL
    path.write_text(path.read_text().replace("shrinkage=0.05", "shrinkage=0.06", 1))
    assert refusal(folder) == "model.txt is not the file that predictor.json describes"


def test_a_hostile_model_with_a_right_hash_is_refused_before_lightgbm_sees_it(folder):
    path = folder / MODEL
    path.write_text(path.read_text().replace("left_child=1", "left_child=7", 1))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rewrite(folder, lambda manifest: manifest.update(model_sha256=digest))
    with pytest.raises(VersionError, match="The predictor's model can't be used: the children of tree"):
        load(folder)


def test_trees_of_another_predictor_are_refused(folder, tmp_path):
    save(train(curve_table(10)), tmp_path / "other")
    (folder / MODEL).write_bytes((tmp_path / "other" / MODEL).read_bytes())
    assert refusal(folder) == "model.txt is not the file that predictor.json describes"


def test_a_manifest_changed_by_hand_is_refused(folder):
    rewrite(folder, lambda manifest: manifest["facts"].update(label="better"), sealed=False)
    assert refusal(folder) == "predictor.json was changed after it was written"


def test_a_manifest_that_is_too_large_is_refused(folder, monkeypatch):
    monkeypatch.setattr(artifact_module, "MAX_MANIFEST_BYTES", 100)
    assert refusal(folder) == "predictor.json is larger than 100 bytes"


@pytest.mark.parametrize("text", ["", "null", "7", "[]", "{", "[" * 100_000, "\xff", '{"schema"', '"schema"', "{}"])
def test_what_is_no_manifest_is_refused(folder, text):
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    assert refusal(folder) == "predictor.json is no manifest"


FIELDS = ["feature_names", "scales", "groups", "threshold", "centre", "spread", "reach", "neighbours", "gain_errors",
          "evaluation", "facts", "model_sha256"]  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_a_manifest_without_a_field_is_refused(folder, name):
    rewrite(folder, lambda manifest: manifest.pop(name))
    assert name in refusal(folder)


@pytest.mark.parametrize(
    "value", [True, -1, "x", [[]], ["x", 1], {"x": 1}, [None], [1e300], 10**400], ids=lambda value: str(value)[:12]
)
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_a_wrong_kind_is_refused(folder, name, value):
    if (name, str(value)) in {("evaluation", "{'x': 1}"), ("facts", "{'x': 1}")}:
        return
    rewrite(folder, lambda manifest: manifest.update({name: value}))
    if (name, value) == ("model_sha256", "x"):
        assert refusal(folder) == "model.txt is not the file that predictor.json describes"
    else:
        assert name in refusal(folder)


@pytest.mark.parametrize("facts", [{"recipes": []}, {"recipe_fields": {"id": 7}}, {"recipe_fields": "x"}])
def test_recipes_that_are_no_texts_are_refused(folder, facts):
    rewrite(folder, lambda manifest: manifest.update(facts=facts))
    assert refusal(folder) == "predictor.json has no sound facts"


def _first_group(**changes):
    return lambda manifest: manifest["groups"][0].update(changes)


def _first_neighbour(**changes):
    return lambda manifest: manifest["neighbours"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m["centre"].pop(), "centre"),
        (lambda m: m["spread"].append(1.0), "spread"),
        (lambda m: m["spread"].__setitem__(0, 0.0), "spread"),
        (lambda m: m["feature_names"].pop(), "centre, spread, neighbours"),
        (lambda m: m["scales"].reverse(), "scales"),
        (lambda m: m["scales"].__setitem__(0, 0.0), "scales"),
        (lambda m: m["scales"].clear(), "scales, groups, neighbours"),
        (lambda m: m["groups"].clear(), "groups"),
        (lambda m: m["neighbours"].clear(), "groups, neighbours"),
        (_first_group(fixed_scale=3.3), "groups"),
        (_first_group(fixed_scale=True), "groups"),
        (_first_group(source_id=3), "groups"),
        (_first_group(source_id="never harvested"), "groups"),
        (_first_group(n_origins="12"), "groups"),
        (_first_group(more=1), "groups"),
        (_first_neighbour(features=[0.0]), "neighbours"),
        (_first_neighbour(name=None), "neighbours"),
        (_first_neighbour(best_scale=3.3), "neighbours"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(folder, change, named):
    rewrite(folder, change)
    found = refusal(folder)
    assert found.startswith("predictor.json has no sound ")
    assert set(named.split(", ")) <= set(found.removeprefix("predictor.json has no sound ").split(", "))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(folder, word):
    text = (folder / MANIFEST).read_text()
    reach = json.loads(text)["reach"]
    (folder / MANIFEST).write_text(text.replace(f'"reach": {reach}', f'"reach": {word}'))
    assert refusal(folder) == "predictor.json has no sound reach"


def test_every_prefix_of_both_files_is_refused(folder):
    for name, step in ((MANIFEST, 53), (MODEL, 397)):
        whole = (folder / name).read_bytes()
        for length in [*range(0, len(whole) - 2, step), len(whole) - 2]:
            (folder / name).write_bytes(whole[:length])
            with pytest.raises(VersionError):
                load(folder)
        (folder / name).write_bytes(whole)
    load(folder)


@pytest.mark.parametrize("name", [MANIFEST, MODEL])
def test_random_edits_are_refused_or_change_nothing(predictor, folder, name):
    rng = np.random.default_rng(0)
    expected, whole, loaded = probes(predictor), (folder / name).read_bytes(), 0
    for _ in range(300):
        edited = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(edited)))
            kind = rng.integers(3)
            edited[at : at + int(kind != 0)] = b"" if kind == 1 else bytes([int(rng.integers(256))])
        (folder / name).write_bytes(edited)
        try:
            found = load(folder)
        except VersionError:
            continue
        loaded += 1
        assert probes(found) == expected
    assert loaded < 150


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(("name", "says"), [(MANIFEST, "No predictor at"), (MODEL, "model.txt is missing")])
def test_a_pipe_in_place_of_a_file_does_not_hang(folder, name, says):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(VersionError, match=says):
        load(folder)


@pytest.mark.parametrize("n", [1, 2])
def test_a_save_that_fails_leaves_the_old_predictor(predictor, folder, tmp_path, monkeypatch, n):
    new, real, calls = train(curve_table(9, seed=2)), os.fsync, []

    def fail_at(handle):
        calls.append(handle)
        if len(calls) == n:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fail_at)
    with pytest.raises(OSError, match="No space left"):
        save(new, folder)
    calls.clear()
    with pytest.raises(OSError, match="No space left"):
        save(new, tmp_path / "first")
    assert sorted(path.name for path in folder.iterdir()) == [MODEL, MANIFEST]
    assert probes(load(folder)) == probes(predictor)
    assert list((tmp_path / "first").iterdir()) == []


def test_stopped_between_its_two_files_a_save_leaves_a_predictor_that_is_refused(folder, monkeypatch):
    real = Path.replace

    def stop(path, target):
        if path.name == MANIFEST:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save(train(curve_table(9, seed=2)), folder)
    assert refusal(folder) == "model.txt is not the file that predictor.json describes"


@pytest.mark.parametrize("name", [MANIFEST, MODEL, "README.md"])
@pytest.mark.parametrize("n_origins", [3, 10])
def test_files_of_anything_but_a_predictor_are_never_replaced(tmp_path, name, n_origins):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError) as caught:
        save(train(curve_table(n_origins)), tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no predictor of scalepred, but has {name} already, which a predictor would replace: "
        "give another --output."
    )
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_predictor_is_replaced_with_its_card_and_so_is_a_damaged_one(predictor, folder):
    (folder / "README.md").write_text("a card")
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-3])
    (folder / MODEL).unlink()
    save(predictor, folder)
    assert probes(load(folder)) == probes(predictor)

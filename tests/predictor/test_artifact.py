"""A predictor's folder loads as it was saved, and any damage to it is refused."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import RECIPE, SOURCE, ask, curve_table

from scalepred.errors import UsageError, VersionError
from scalepred.predictor import artifact as artifact_module
from scalepred.predictor import model as model_module
from scalepred.predictor.artifact import MANIFEST, MODEL, load, save
from scalepred.predictor.own_runs import LOG2_SCALES, OwnCurve
from scalepred.predictor.probe_choice import Beside
from scalepred.predictor.train import Group, Predictor, train
from scalepred.recipe import content_id, text_id

MEND = ". Copy it again as a whole, or train one with `scalepred train-predictor`."


@pytest.fixture(scope="module")
def saved(predictor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save(predictor, folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "predictor"))


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


def test_a_large_table_uses_all_cores_and_gives_the_same_bytes(tmp_path, monkeypatch):
    save(train(curve_table(10)), tmp_path / "one")
    monkeypatch.setattr(model_module, "ONE_THREAD_ROWS", 0)
    save(train(curve_table(10)), tmp_path / "all")
    for file in (MANIFEST, MODEL):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "all" / file).read_bytes()


def test_a_saved_predictor_chooses_the_same(predictor, folder):
    loaded = load(folder)
    assert probes(loaded) == probes(predictor)
    for field in dataclasses.fields(Predictor):
        if field.name != "booster":
            assert getattr(loaded, field.name) == getattr(predictor, field.name)
    assert sorted(path.name for path in folder.iterdir()) == [MODEL, MANIFEST]


OVER_OCTAVES = Group(source_id="mine", recipe_id="r", fixed_scale=24.7, n_tasks=3, n_origins=2)


def test_what_was_run_over_octaves_is_kept_and_a_predictor_without_it_has_no_word_of_it(predictor, folder, tmp_path):
    assert "octave_groups" not in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    more = dataclasses.replace(predictor, octave_groups=(OVER_OCTAVES,))
    save(more, tmp_path / "more")
    loaded = load(tmp_path / "more")
    assert loaded.octave_groups == (OVER_OCTAVES,)
    assert ask(loaded, source_id="mine", recipe_id="r").scale == 24.7


@pytest.mark.parametrize(
    "groups",
    [
        "x",
        [3],
        [{}],
        [dataclasses.asdict(OVER_OCTAVES) | {"fixed_scale": 0.0}],
        [dataclasses.asdict(OVER_OCTAVES) | {"n_tasks": 0}],
    ],
)
def test_groups_over_octaves_that_are_none_are_refused(folder, groups):
    rewrite(folder, lambda manifest: manifest.update(octave_groups=groups))
    assert refusal(folder) == "predictor.json has no sound octave_groups"


OWN = OwnCurve(source_id=SOURCE, recipe_id=RECIPE, n_tasks=3, relative=(-0.25, 0.0) * (len(LOG2_SCALES) // 2) + (0.0,))


def test_the_curves_of_few_own_tasks_are_kept(predictor, folder, tmp_path):
    assert "own_curves" not in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    save(dataclasses.replace(predictor, own_curves=(OWN,)), tmp_path / "more")
    assert load(tmp_path / "more").own_curves == (OWN,)


@pytest.mark.parametrize(
    "curve",
    [
        3,
        {},
        dataclasses.asdict(OWN) | {"n_tasks": 0},
        dataclasses.asdict(OWN) | {"n_tasks": 2.5},
        dataclasses.asdict(OWN) | {"recipe_id": "never met"},
        dataclasses.asdict(OWN) | {"relative": [0.0]},
        dataclasses.asdict(OWN) | {"relative": [0.1] * len(LOG2_SCALES)},
    ],
)
def test_curves_of_own_tasks_that_are_none_are_refused(folder, curve):
    rewrite(folder, lambda manifest: manifest.update(own_curves=[curve]))
    assert refusal(folder) == "predictor.json has no sound own_curves"


BESIDE = Beside(source_id=SOURCE, recipe_id=RECIPE, n_train=(8, 8, 20), origins=(0, 1, 0), gains=(0.02, -0.01, 0.0))


def test_the_probe_beside_finetunes_is_kept(predictor, folder, tmp_path):
    assert "besides" not in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    save(dataclasses.replace(predictor, besides=(BESIDE,)), tmp_path / "more")
    loaded = load(tmp_path / "more")
    assert loaded.besides == (BESIDE,)
    assert loaded.beside_of(SOURCE, RECIPE) == BESIDE
    assert loaded.beside_of(SOURCE, "other") is None


@pytest.mark.parametrize(
    "beside",
    [
        3,
        {},
        dataclasses.asdict(BESIDE) | {"n_train": []},
        dataclasses.asdict(BESIDE) | {"n_train": [8, 20, 8]},
        dataclasses.asdict(BESIDE) | {"n_train": [0, 8, 20]},
        dataclasses.asdict(BESIDE) | {"n_train": [8.5, 9.5, 20.5]},
        dataclasses.asdict(BESIDE) | {"n_train": ["8", "8", "9"]},
        dataclasses.asdict(BESIDE) | {"origins": [0, 1]},
        dataclasses.asdict(BESIDE) | {"origins": [0, 1, 0.5]},
        dataclasses.asdict(BESIDE) | {"gains": [0.1]},
        dataclasses.asdict(BESIDE) | {"gains": [0.1, 0.1, "x"]},
        dataclasses.asdict(BESIDE) | {"gains": None},
        dataclasses.asdict(BESIDE) | {"recipe_id": "never met"},
    ],
)
def test_a_probe_beside_no_finetunes_is_refused(folder, beside):
    rewrite(folder, lambda manifest: manifest.update(besides=[beside]))
    assert refusal(folder) == "predictor.json has no sound besides"


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


def test_a_manifest_with_other_blanks_and_order_is_the_same_predictor(predictor, folder):
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(dict(reversed(values.items())), indent=1))
    again = load(folder)
    assert (again.groups, again.neighbours) == (predictor.groups, predictor.neighbours)


def test_a_seal_that_stands_twice_is_no_way_around_it(folder):
    text = (folder / MANIFEST).read_text()
    told = json.loads(text)["predictor_id"]
    (folder / MANIFEST).write_text(text.replace('"reach":', f'"predictor_id":"{told}","reach":1', 1))
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
    message = refusal(folder)
    assert message.startswith("predictor.json has no sound ")
    assert set(named.split(", ")) <= set(message.removeprefix("predictor.json has no sound ").split(", "))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(folder, word):
    text = (folder / MANIFEST).read_text()
    reach = json.loads(text)["reach"]
    (folder / MANIFEST).write_text(text.replace(f'"reach":{reach}', f'"reach":{word}'))
    assert refusal(folder) == "predictor.json has no sound reach"


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400"])
def test_they_are_refused_where_nothing_is_computed_from_them_too_with_a_right_hash(folder, word):
    text = (folder / MANIFEST).read_text()
    told = json.loads(text)["predictor_id"]
    changed = text.replace('"facts":{', f'"facts":{{"at":{word},', 1)
    bare = changed.removesuffix("\n").replace(f'"predictor_id":"{told}",', "", 1)
    (folder / MANIFEST).write_text(changed.replace(told, text_id("predictor", bare)))
    assert refusal(folder) == "predictor.json has no sound facts"


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
            loaded_edit = load(folder)
        except VersionError:
            continue
        loaded += 1
        assert probes(loaded_edit) == expected
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

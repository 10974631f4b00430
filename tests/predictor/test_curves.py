"""Harvested curves: shifted to the rule's scale, weighed by kind of recipe, and kept in a file that is checked."""

import dataclasses
import json

import numpy as np
import pytest
from wide_points import ADAMW, SGD, wide_points

from scalepred.errors import VersionError
from scalepred.predictor.curves import FILE, OCTAVES, Curves, curves_of, load_curves, save_curves
from scalepred.predictor.rule import DECLARED, fit_rule, kind_of
from scalepred.recipe import content_id


@pytest.fixture(scope="module")
def points():
    return wide_points(24, per_octave_of_steps=0.0)


@pytest.fixture(scope="module")
def rule(points):
    return fit_rule(points, DECLARED)


@pytest.fixture(scope="module")
def curves(points, rule):
    return curves_of(points, rule)


def test_curves_are_counted_from_the_rules_scale_and_from_their_best(points, rule, curves):
    for point, curve in zip(points, curves.curves, strict=True):
        place = rule.log2_scale(point.facts, point.recipe)
        best = OCTAVES[int(np.argmax(curve.relative))]
        assert best == pytest.approx(point.best_log2_scale - place, abs=0.76)
        assert max(curve.relative) == pytest.approx(0, abs=0.03)
        assert curve.rule_scale == pytest.approx(2**place, rel=0.01)
        assert curve.best_scale == pytest.approx(2**point.best_log2_scale, rel=0.01)
        assert curve.log2_steps == pytest.approx(point.facts["log2_steps"], abs=0.01)


def test_a_cliff_is_where_runs_diverged_and_no_slope_leads_to_it(points, rule, curves):
    for point, curve in zip(points, curves.curves, strict=True):
        place = rule.log2_scale(point.facts, point.recipe)
        for octave, is_beyond in zip(OCTAVES, np.arange(len(OCTAVES)) >= curve.diverges, strict=True):
            assert is_beyond == point.diverges_at(place + octave)
        ran = point.accuracies[~point.diverged]
        assert min(curve.relative) >= ran.min() - ran.max() - 0.05


def test_beyond_what_was_run_a_curve_goes_on_as_it_ended(points, rule):
    short = dataclasses.replace(
        points[0],
        **{name: getattr(points[0], name)[4:9] for name in ("log2_scales", "accuracies", "diverged", "n_seeds")},
    )
    (curve,) = curves_of([short], rule).curves
    assert curve.relative[0] == curve.relative[1]
    assert curves_of([short], rule).relative_at(np.array([-20.0]))[0, 0] == curve.relative[0]


def test_a_point_that_diverged_at_every_scale_says_just_that(points, rule):
    gone = dataclasses.replace(points[0], diverged=np.ones(len(points[0].log2_scales), bool))
    one = curves_of([gone], rule)
    assert one.curves[0].diverges == 0
    assert (one.diverged_at(OCTAVES) == 1).all()
    assert (one.relative_at(OCTAVES) == 0).all()


def test_a_point_that_the_rule_can_not_place_has_no_curve(points, rule):
    unplaced = dataclasses.replace(points[0], facts={"log2_steps": 5.0})
    assert curves_of([unplaced], rule).curves == ()


def test_curves_of_the_same_kind_of_recipe_weigh_most(curves):
    kinds = [curve.kind for curve in curves.curves]
    weights = curves.weights(kind_of(ADAMW))
    assert weights.sum() == pytest.approx(1)
    assert weights[kinds.index(kind_of(ADAMW))] == pytest.approx(10 * weights[kinds.index(kind_of(SGD))])
    fitted = curves.weights(kind_of(dataclasses.replace(SGD, head_start="fitted")))
    assert fitted[kinds.index(kind_of(SGD))] == pytest.approx(2.5 * fitted[kinds.index(kind_of(ADAMW))])


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path, curves):
    save_curves(Curves(curves=curves.curves[:2], rule_id=curves.rule_id), tmp_path)
    return tmp_path


def test_curves_are_read_as_they_were_saved(saved, rule, curves):
    assert load_curves(saved, rule).curves == curves.curves[:2]


def test_every_prefix_of_the_file_is_refused(saved, rule):
    raw = (saved / FILE).read_bytes()
    for end in range(len(raw) - 1):  # the last byte is the end of the line
        (saved / FILE).write_bytes(raw[:end])
        with pytest.raises(VersionError, match=r"can't be used"):
            load_curves(saved, rule)


def forged(folder, change):
    """Change what the file holds, and seal it again."""
    values = json.loads((folder / FILE).read_text())
    change(values)
    bare = {name: value for name, value in values.items() if name != "curves_id"}
    (folder / FILE).write_text(json.dumps(bare | {"curves_id": content_id("curves", bare)}))


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["curves"][0]["relative"].pop(),
        lambda values: values["curves"][0]["relative"].__setitem__(0, "0"),
        lambda values: values["curves"][0].update(diverges=99),
        lambda values: values["curves"][0].update(kind="lion, fitted head"),
        lambda values: values["curves"][0].update(best_scale=-1.0),
        lambda values: values["curves"][0].update(source=None),
        lambda values: values["curves"][0].pop("log2_steps"),
        lambda values: values["curves"][0].update(more=1),
        lambda values: values.update(curves=3),
        lambda values: values.update(schema=1),
        lambda values: values.pop("octaves"),
    ],
)
def test_a_forged_seal_does_not_let_unsound_curves_in(saved, rule, change):
    forged(saved, change)
    with pytest.raises(VersionError, match=r"can't be used"):
        load_curves(saved, rule)


def test_a_changed_number_breaks_the_seal(saved, rule):
    text = (saved / FILE).read_text()
    (saved / FILE).write_text(text.replace('"log2_steps":', '"log2_steps":1', 1))
    with pytest.raises(VersionError, match=r"it was changed after it was written"):
        load_curves(saved, rule)


def test_curves_of_another_rule_are_refused(saved, points):
    other = fit_rule(points, {"sgd": "rate", "adamw": "rate"})
    with pytest.raises(VersionError, match=r"belongs to another rule"):
        load_curves(saved, other)


def test_curves_that_are_missing_are_refused(tmp_path, rule):
    with pytest.raises(VersionError, match=r"curves.json can't be used: No such file"):
        load_curves(tmp_path, rule)

"""Tests of the check that stands between a model's text and LightGBM."""

import contextlib
import json
import math
import re
import subprocess
import sys

import lightgbm as lgb
import numpy as np
import pytest

from scalepred.errors import VersionError
from scalepred.predictor.model_text import MAX_DEPTH, MAX_LEAVES, check_model_text, safe_model_text

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

NAMES = ["log2_scale", "a=b", "knn@5", "it's_(1)/2"]
MEND = ". Train the predictor again, or copy its folder again, whole."


def _rows(n: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, len(NAMES)))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[:, 2] = np.round(rows[:, 2])
    return rows


def _train(*, trees: int = 3, noise: float = 0.1, **settings: object) -> str:
    rows = _rows()
    rng = np.random.default_rng(1)
    targets = (np.nan_to_num(rows[:, 0]) + rng.normal(size=len(rows))) * noise
    if settings.get("objective") == "poisson":
        targets = np.abs(targets)
    data = lgb.Dataset(rows, targets, weight=rng.random(len(rows)), feature_name=NAMES)
    params = {"objective": "regression", "num_leaves": 5, "num_threads": 1, "verbose": -1, "deterministic": True}
    return str(lgb.train({**params, **settings}, data, num_boost_round=trees).model_to_string())


@pytest.fixture(scope="module")
def model() -> str:
    return _train()


def _check(text: str) -> None:
    check_model_text(text, feature_names=NAMES)


def _refusal(text: str) -> str:
    with pytest.raises(VersionError) as caught:
        _check(text)
    message = str(caught.value)
    assert message.startswith("The predictor's model can't be used: ")
    assert message.endswith(MEND)
    return message.removeprefix("The predictor's model can't be used: ").removesuffix(MEND)


def _resized(text: str) -> str:
    """Return the text with ``tree_sizes`` made right for its trees, as a hostile author would."""
    blocks = re.findall(r"^Tree=.*?(?=^Tree=|^end of trees|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    sizes = " ".join(str(len(block)) for block in blocks)
    return re.sub(r"^tree_sizes=.*$", f"tree_sizes={sizes}", text, count=1, flags=re.MULTILINE)


def _edited(text: str, key: str, values: str, *, tree: int = 0) -> str:
    """Return the text with one line of one tree replaced and ``tree_sizes`` made right."""
    starts = [match.start() for match in re.finditer(r"^Tree=", text, flags=re.MULTILINE)]
    body = re.sub(rf"^{key}=.*$", f"{key}={values}", text[starts[tree] :], count=1, flags=re.MULTILINE)
    return _resized(text[: starts[tree]] + body)


def _field(text: str, key: str) -> list[str]:
    match = re.search(rf"^{key}=(.*)$", text, flags=re.MULTILINE)
    assert match is not None
    return match.group(1).split(" ")


# ---------------------------------------------------------------------------------------------- what is accepted


SETTINGS = [
    {"trees": 1},
    {"trees": 200},
    {"trees": 2, "num_leaves": 2},
    {"noise": 0.0},
    {"num_leaves": 63, "min_data_in_leaf": 1},
    {"num_leaves": 255, "min_data_in_leaf": 0, "min_sum_hessian_in_leaf": 0, "trees": 5},
    {"zero_as_missing": True},
    {"use_missing": False},
    {"boosting": "dart"},
    {"data_sample_strategy": "goss"},
    {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.5},
    {"extra_trees": True, "path_smooth": 1.0},
    {"use_quantized_grad": True},
    {"monotone_constraints": [1, 0, -1, 0]},
    {"objective": "quantile", "alpha": 0.1},
    {"objective": "regression_l1"},
    {"objective": "huber"},
    {"objective": "fair"},
    {"objective": "mape"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_models_that_lightgbm_trains_pass_and_predict_the_same_without_their_parameters(settings):
    text = _train(**settings)
    safe = safe_model_text(text, feature_names=NAMES)
    rows = _rows()
    before, after = lgb.Booster(model_str=text), lgb.Booster(model_str=safe)
    np.testing.assert_array_equal(after.predict(rows, num_threads=1), before.predict(rows, num_threads=1))
    contributions = after.predict(rows, pred_contrib=True, num_threads=1)
    np.testing.assert_array_equal(contributions, before.predict(rows, pred_contrib=True, num_threads=1))
    np.testing.assert_allclose(contributions.sum(axis=1), after.predict(rows, num_threads=1), atol=1e-9)
    np.testing.assert_allclose(_plain_predictions(safe, rows), after.predict(rows, num_threads=1), atol=1e-12)


def test_a_model_of_single_leaves_is_accepted():
    text = _train(noise=0.0)
    assert "num_leaves=1\n" in text
    _check(text)


def test_single_leaves_may_stand_between_other_trees(model):
    leaf = re.search(r"^num_leaves=1\n.*?\n\n\n", _train(noise=0.0), flags=re.MULTILINE | re.DOTALL)
    assert leaf is not None
    mixed = re.sub(r"(?<=^Tree=1\n).*?\n\n\n", leaf.group(), model, count=1, flags=re.MULTILINE | re.DOTALL)
    _check(_resized(mixed))


def test_a_split_between_all_numbers_and_nan_is_accepted():
    text = _train(trees=300, max_bin=15, feature_fraction=0.7)
    assert re.search(r"^threshold=.*\binf\b", text, flags=re.MULTILINE)
    _check(text)


def test_infinity_is_refused_anywhere_else(model):
    for key, value in (("threshold", "-inf"), ("threshold", "infinity"), ("leaf_value", "inf"), ("split_gain", "inf")):
        text = _edited(model, key, " ".join([value, *_field(model, key)[1:]]))
        assert _refusal(text).startswith(f"{key} of tree 0 is ")


def test_the_safe_text_has_no_parameters_and_passes_unchanged(model):
    safe = safe_model_text(model, feature_names=NAMES)
    assert "parameters" not in safe
    assert safe_model_text(safe, feature_names=NAMES) == safe


def test_a_model_saved_again_by_the_booster_that_loaded_it_passes(model):
    for text in (model, safe_model_text(model, feature_names=NAMES)):
        again = lgb.Booster(model_str=text).model_to_string()
        assert safe_model_text(again, feature_names=NAMES) == safe_model_text(model, feature_names=NAMES)


# ------------------------------------------------------------------------------------- each measured fault, by name


def test_a_child_out_of_range_is_refused(model):
    left = ["99", *_field(model, "left_child")[1:]]
    assert _refusal(_edited(model, "left_child", " ".join(left))) == (
        "the children of tree 0 are not every split and every leaf once"
    )


def test_a_leaf_out_of_range_is_refused(model):
    text = _edited(model, "right_child", " ".join(["-6", *_field(model, "right_child")[1:]]))
    assert _refusal(text) == "the children of tree 0 are not every split and every leaf once"


def test_a_child_that_leads_back_to_the_root_is_refused(model):
    text = _edited(model, "left_child", " ".join(["0", *_field(model, "left_child")[1:]]))
    assert _refusal(text) == "the children of tree 0 are not every split and every leaf once"


def test_a_cycle_apart_from_the_root_is_refused(model):
    # splits 1 and 2 below each other, so that every split and every leaf is a child exactly once
    text = _edited(_edited(model, "left_child", "-1 2 1 -5"), "right_child", "3 -2 -3 -4")
    assert _refusal(text) == "tree 0 has split 1 below split 2"


def test_a_feature_out_of_range_is_refused(model):
    text = _edited(model, "split_feature", " ".join(["4", *_field(model, "split_feature")[1:]]))
    assert _refusal(text) == "split_feature of tree 0 has a value outside 0..3"
    text = _edited(model, "split_feature", " ".join(["-1", *_field(model, "split_feature")[1:]]), tree=2)
    assert _refusal(text) == "split_feature of tree 2 has a value outside 0..3"


def test_every_prefix_is_refused():
    small = _train(trees=1)
    for text in (small, safe_model_text(small, feature_names=NAMES)):
        for length in range(len(text)):
            _refusal(text[:length])


def test_a_tree_that_is_not_where_its_size_says_is_refused(model):
    size = int(_field(model, "tree_sizes")[0])
    for wrong in (size - 1, size + 1, 10 * len(model), 2**31 - 1):
        text = model.replace(f"tree_sizes={size}", f"tree_sizes={wrong}", 1)
        assert _refusal(text) == f"tree 0 is not in the {wrong} bytes that tree_sizes gives it"


def test_an_array_of_another_length_is_refused(model):
    values = _field(model, "leaf_value")
    assert _refusal(_edited(model, "leaf_value", " ".join(values[:-1]))) == "leaf_value of tree 0 has 4 values, not 5"
    text = _edited(model, "num_leaves", "6")
    assert _refusal(text) == "leaf_value of tree 0 has 5 values, not 6"
    assert _refusal(_edited(model, "num_leaves", "0")) == f"tree 0 has 0 leaves, and 1 to {MAX_LEAVES} are allowed"


@pytest.mark.parametrize("value", ["nan", "-inf", "1e999", "0x10", "1_0", "+1", " 1", "1,5", "", "9" * 400])
def test_a_value_that_is_no_plain_finite_number_is_refused(model, value):
    for key in ("threshold", "leaf_value", "split_gain", "leaf_weight", "internal_value", "internal_weight"):
        text = _edited(model, key, " ".join([value, *_field(model, key)[1:]]))
        assert f"{key} of tree 0 " in _refusal(text)


def test_a_number_that_lightgbm_would_warn_of_is_refused(model):
    text = _edited(model, "threshold", " ".join(["1e-320", *_field(model, "threshold")[1:]]))
    assert _refusal(text) == "threshold of tree 0 has a value too small or too large to hold"


def test_leaves_whose_sum_could_overflow_are_refused(model):
    text = _edited(model, "leaf_value", " ".join(["-1e+300", *_field(model, "leaf_value")[1:]]))
    assert _refusal(text) == "leaf_value of tree 0 has a value above 1e+100"


def test_counts_that_contributions_would_divide_by_wrongly_are_refused(model):
    counts = _field(model, "internal_count")
    text = _edited(model, "internal_count", " ".join(["0", *counts[1:]]))
    assert _refusal(text) == f"internal_count of tree 0 has 0 at split 0, not {counts[0]}"
    text = _edited(model, "leaf_count", " ".join(["0", *_field(model, "leaf_count")[1:]]))
    assert _refusal(text) == "leaf_count of tree 0 has a value below 1"


@pytest.mark.parametrize("value", ["1", "3", "9", "12", "-2", "258"])
def test_a_split_that_is_not_numerical_is_refused(model, value):
    text = _edited(model, "decision_type", " ".join([value, *_field(model, "decision_type")[1:]]))
    assert _refusal(text) == "decision_type of tree 0 has a value that is no numerical split"


def _chain(n_leaves: int) -> str:
    """Return the text of one tree in which every split hangs on the one before."""
    n = n_leaves - 1
    lines = {
        "num_leaves": [n_leaves],
        "num_cat": [0],
        "split_feature": [0] * n,
        "split_gain": [1] * n,
        "threshold": range(n),
        "decision_type": [2] * n,
        "left_child": range(-1, -n_leaves, -1),
        "right_child": [*range(1, n), -n_leaves],
        "leaf_value": [0.5] * n_leaves,
        "leaf_weight": [1] * n_leaves,
        "leaf_count": [1] * n_leaves,
        "internal_value": [0] * n,
        "internal_weight": [1] * n,
        "internal_count": range(n_leaves, 1, -1),
        "is_linear": [0],
        "shrinkage": [1],
    }
    tree = "".join(f"{key}={' '.join(map(str, values))}\n" for key, values in lines.items())
    header = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=3\n"
        f"objective=regression\nfeature_names={' '.join(NAMES)}\nfeature_infos=none none none none\ntree_sizes=0\n\n"
    )
    return _resized(
        f"{header}Tree=0\n{tree}\n\nend of trees\n\nfeature_importances:\n\npandas_categorical:null\n",
    )


def test_a_tree_so_deep_that_contributions_would_never_end_is_refused():
    _check(_chain(MAX_DEPTH + 1))
    assert _refusal(_chain(MAX_DEPTH + 2)) == f"tree 0 is {MAX_DEPTH + 1} splits deep, and at most 64 are allowed"
    assert _refusal(_chain(100_000)) == f"tree 0 has 100000 leaves, and 1 to {MAX_LEAVES} are allowed"


def test_too_many_trees_and_too_many_bytes_are_refused(model):
    text = re.sub(r"tree_sizes=.*", "tree_sizes=" + " ".join(["5"] * 20_001), model)
    assert _refusal(text) == "it has 20001 trees, and at most 20000 are allowed"
    with pytest.raises(VersionError, match=f"it has {len(model)} bytes, and at most 100 are allowed"):
        check_model_text(model, feature_names=NAMES, max_bytes=100)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("tree\n", "forest\n", "its header has 'forest' where 'tree' belongs"),
        ("version=v4", "version=v3", "its header has 'version=v3' where 'version=v4' belongs"),
        ("num_class=1", "num_class=2", "its header has 'num_class=2' where 'num_class=1' belongs"),
        (
            "num_tree_per_iteration=1",
            "num_tree_per_iteration=0",
            "its header has 'num_tree_per_iteration=0' where 'num_tree_per_iteration=1' belongs",
        ),
        (
            "max_feature_idx=3",
            "max_feature_idx=4",
            "its header has 'max_feature_idx=4' where 'max_feature_idx=3' belongs",
        ),
        (
            "objective=regression\n",
            "objective=regression sqrt\n",
            "its objective 'regression sqrt' is none of regression, regression_l1, huber, fair, quantile, mape",
        ),
        (
            "objective=regression\n",
            "objective=regression\naverage_output\n",
            "its header goes on with 'objective average_output feature_names feature_infos tree_si…', not "
            "'objective feature_names feature_infos tree_sizes'",
        ),
        (
            "a=b knn@5",
            "a=b knn_5",
            "its features are \"log2_scale a=b knn_5 it's_(1)/2\", not \"log2_scale a=b knn@5 it's_(1)/2\"",
        ),
        ("feature_infos=[", "feature_infos=none [", "feature_infos has 5 values, not 4"),
        ("num_cat=0", "num_cat=1", "num_cat of tree 0 is '1', not 0"),
        ("is_linear=0", "is_linear=1", "is_linear of tree 0 is '1', not 0"),
        ("end of trees\n", "end of trees \n", "what follows its trees begins with"),
        ("end of parameters", "end of parameter", "its parameters have no end"),
        ("[boosting: gbdt]", "[boosting gbdt]", "its parameters have a line that is no [name: value], or a name twice"),
        ("[boosting: gbdt]", "[metric: l2]", "its parameters have a line that is no [name: value], or a name twice"),
        ("[data: ]", "[data: /etc/passwd]", "its parameters have a line that is no [name: value], or a name twice"),
        ("pandas_categorical:null", "pandas_categorical:[]", "what follows its trees begins with"),
        ("log2_scale=", "log3_scale=", "its feature_importances are "),
        ("\n", "\r\n", "character 4 is no printable ASCII"),
        ("version", "versi\0n", "character 10 is no printable ASCII"),
        ("version", "versiön", "character 10 is no printable ASCII"),
    ],
)  # fmt: skip
def test_anything_but_what_lightgbm_writes_is_refused(model, old, new, problem):
    assert old in model
    assert _refusal(_resized(model.replace(old, new, 1))).startswith(problem)


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a b"], ["a\nb"], ["ä"], ["a:b"], [""]])
def test_names_that_no_model_can_have_are_refused(model, names):
    with pytest.raises(VersionError, match=r"no feature can have the name|are none, or repeat a name"):
        check_model_text(model, feature_names=names)


@pytest.mark.parametrize("settings", [{"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1},
                                      {"linear_tree": True}, {"objective": "poisson"}, {"reg_sqrt": True},
                                      {"categorical_feature": [2], "min_data_per_group": 1}])  # fmt: skip
@pytest.mark.filterwarnings("ignore:categorical_feature")
def test_models_of_another_kind_are_refused(settings):
    _refusal(_train(**settings))


# --------------------------------------------------------------------- random edits, and real LightGBM on the survivors


_WORKER = """
import json, sys
import lightgbm as lgb, numpy as np
rows = np.array(json.loads(sys.stdin.readline()), dtype=float)
for line in sys.stdin:
    text, trusted = json.loads(line)
    try:
        booster = lgb.Booster(model_str=text)
    except (lgb.basic.LightGBMError, ValueError) as error:
        assert not trusted, error
        print("=", json.dumps(None), flush=True)
        continue
    predictions = booster.predict(rows, num_threads=1)
    contributions = booster.predict(rows, pred_contrib=True, num_threads=1)
    assert np.isfinite(contributions).all()
    print("=", json.dumps(predictions.tolist()), flush=True)
"""


def _lightgbm_predictions(texts: list[tuple[str, bool]], rows: np.ndarray) -> list[list[float] | None]:
    """Load and predict in another process; a text that isn't trusted may raise there, but none may crash or hang."""
    lines = [json.dumps(rows.tolist()), *map(json.dumps, texts)]
    command = [sys.executable, "-c", _WORKER]
    done = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, timeout=600 + len(texts), check=False
    )
    said = [line[2:] for line in done.stdout.splitlines() if line.startswith("= ")]  # LightGBM warns on stdout
    assert done.returncode == 0, f"{done.returncode} after {len(said)} of {len(texts)}: {done.stderr[-2000:]}"
    return [json.loads(line) for line in said]


def _plain_predictions(text: str, rows: np.ndarray) -> list[float]:
    """Predict by the letter of the text, row by row: what a model that passed must mean to LightGBM too."""
    blocks = re.findall(r"^Tree=.*?\n\n", text, flags=re.MULTILINE | re.DOTALL)
    trees = [{k: v.split() for k, _, v in (line.partition("=") for line in b.split("\n"))} for b in blocks]
    return [sum(_plain_leaf(tree, row) for tree in trees) for row in rows]


def _plain_leaf(tree: dict[str, list[str]], row: np.ndarray) -> float:
    node = 0 if tree["left_child"] else -1
    while node >= 0:
        value, kind = float(row[int(tree["split_feature"][node])]), int(tree["decision_type"][node])
        missing = kind >> 2
        if math.isnan(value) and missing != 2:
            value = 0.0
        if (missing == 2 and math.isnan(value)) or (missing == 1 and abs(value) <= 1e-35):
            left = bool(kind & 2)
        else:
            left = value <= float(tree["threshold"][node])
        node = int(tree["left_child" if left else "right_child"][node])
    return float(tree["leaf_value"][~node])


def _bytes_edited(text: str, rng: np.random.Generator) -> str:
    at, other = (int(i) for i in rng.integers(len(text), size=2))
    kind = rng.integers(5)
    if kind == 0:
        return text[:at] + chr(rng.integers(128)) + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at + int(rng.integers(1, 20)) :]
    if kind == 2:
        return text[:at] + text[other : other + int(rng.integers(1, 20))] + text[at:]
    if kind == 3:
        return text[:at] + str(rng.integers(10)) + text[at + 1 :]
    return text[: max(at, 1)]


def _lines_edited(text: str, rng: np.random.Generator) -> str:
    lines = text.split("\n")
    a, b = (int(i) for i in rng.integers(len(lines), size=2))
    kind = rng.integers(4)
    if kind == 0:
        lines[a], lines[b] = lines[b], lines[a]
    elif kind == 1:
        lines.insert(b, lines[a])
    elif kind == 2:
        del lines[a]
    else:
        lines[a] = lines[b]
    return "\n".join(lines)


_ODD = [
    "-1",
    "0",
    "1",
    "2",
    "3",
    "4",
    "8",
    "10",
    "-2",
    "2147483647",
    "-2147483648",
    "4294967296",
    "nan",
    "1e+300",
    "",
    "-0",
]


def _tokens_edited(text: str, rng: np.random.Generator) -> str:
    """Change, swap, drop or double values in the arrays of the trees: the edits that LightGBM itself can't see."""
    lines = text.split("\n")
    arrays = [i for i, line in enumerate(lines) if re.match(r"[a-z_]+=-?[0-9]", line)]
    at = int(rng.choice(arrays))
    key, _, value = lines[at].partition("=")
    tokens = value.split(" ")
    a, b = (int(i) for i in rng.integers(len(tokens), size=2))
    kind = rng.integers(6)
    if kind == 0:
        tokens[a] = str(rng.choice(_ODD))
    elif kind == 1:
        tokens[a], tokens[b] = tokens[b], tokens[a]
    elif kind == 2:
        del tokens[a]
    elif kind == 3:
        tokens.insert(a, tokens[b])
    elif kind == 4:
        tokens[a] = str(rng.integers(-len(tokens) - 2, len(tokens) + 2))
    else:
        tokens[a] = repr(float(rng.normal()))
    lines[at] = f"{key}={' '.join(tokens)}"
    return "\n".join(lines)


def _shape_edited(text: str, rng: np.random.Generator) -> str:
    """Rewire one tree: swap two children, or two subtrees, or shuffle features and decisions, all within range."""
    tree = int(rng.integers(text.count("\nTree=")))
    start = text.index(f"\nTree={tree}\n")
    keys = [("left_child", "right_child"), ("left_child", "right_child"), ("split_feature", "split_feature"),
            ("decision_type", "decision_type"), ("threshold", "threshold"), ("leaf_count", "leaf_value")]  # fmt: skip
    first, second = keys[int(rng.integers(len(keys)))]
    one, two = _field(text[start:], first), _field(text[start:], second)
    a, b = int(rng.integers(len(one))), int(rng.integers(len(two)))
    if first == second and first == "split_feature":
        one[a] = str(rng.integers(-1, len(NAMES) + 1))
    elif first == second and first == "decision_type":
        one[a] = str(rng.choice([0, 2, 4, 6, 8, 10, 1, 12]))
    elif first == second:
        one[a], one[b] = one[b], one[a]
    else:
        one[a], two[b] = two[b], one[a]
    text = _edited(text, first, " ".join(one), tree=tree)
    return text if first == second else _edited(text, second, " ".join(two), tree=tree)


def _random_edit(text: str, rng: np.random.Generator) -> str:
    kinds = [_bytes_edited, _lines_edited, _tokens_edited, _tokens_edited, _shape_edited, _shape_edited]
    kind = kinds[int(rng.integers(len(kinds)))]
    edited = kind(text, rng)
    for _ in range(int(rng.integers(3)) if kind in {_shape_edited, _tokens_edited} else 0):
        edited = kind(edited, rng)
    return _resized(edited) if rng.random() < 0.7 else edited


def _assert_edits_are_refused_or_harmless(texts: list[str], *, n_edits: int, seed: int) -> tuple[int, int]:
    """Return how many edits were refused and how many passed; what passed is what LightGBM then computes."""
    rng = np.random.default_rng(seed)
    rows = _rows(6)
    survivors = []
    for number in range(n_edits):
        edited = _random_edit(texts[number % len(texts)], rng)
        with contextlib.suppress(VersionError):
            survivors.append((edited, safe_model_text(edited, feature_names=NAMES)))
    texts = [*((safe, True) for _, safe in survivors), *((edited, False) for edited, _ in survivors)]
    predicted = _lightgbm_predictions(texts, rows)
    trusted, with_parameters = predicted[: len(survivors)], predicted[len(survivors) :]
    for (_, safe), predictions in zip(survivors, trusted, strict=True):
        np.testing.assert_allclose(predictions, _plain_predictions(safe, rows), rtol=1e-12, atol=1e-12)
    assert all(p is None or p == q for p, q in zip(with_parameters, trusted, strict=True))
    return n_edits - len(survivors), len(survivors)


def test_random_edits_are_refused_or_harmless(model):
    refused, passed = _assert_edits_are_refused_or_harmless([model], n_edits=400, seed=0)
    assert refused > 200
    assert passed > 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_thousands_of_random_edits_are_refused_or_harmless(model, seed):
    others = [_train(noise=0.0), _train(trees=2, num_leaves=2), _train(trees=8, num_leaves=9, zero_as_missing=True)]
    safe = [safe_model_text(text, feature_names=NAMES) for text in (model, *others)]
    _, passed = _assert_edits_are_refused_or_harmless([model, *others, *safe], n_edits=4000, seed=seed)
    assert passed > 300

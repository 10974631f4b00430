"""Checks the text of a LightGBM model completely before LightGBM sees it, for LightGBM trusts what it reads."""

import math
import re
import sys
from collections.abc import Collection, Sequence

from scalepred.errors import VersionError

OBJECTIVES = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
"""The objectives whose prediction is the plain sum of the trees' leaves."""

MAX_TREES = 20_000

MAX_LEAVES = 1024

MAX_DEPTH = 64
"""Far above our small trees. LightGBM recurses once per level, and contributions cost leaves x depth^2 for each row."""

MAX_LEAF_VALUE = 1e100
"""Predictions stay finite: they are sums of at most ``MAX_TREES`` of these."""

_MAX_INT = 2**31 - 1

_MIN_NORMAL = sys.float_info.min

_DECISIONS = {0, 2, 4, 6, 8, 10}  # numerical: default left (2) or not, missing is none (0), zero (4) or NaN (8)

# One spelling for each number, so LightGBM's own lenient parsers can't read another value than Python does
_INT = r"(?:0|-?[1-9][0-9]{0,9})"

_FLOAT = r"-?(?:0|[1-9][0-9]{0,16})(?:\.[0-9]{1,20})?(?:e[+-][0-9]{2,3})?"

_INTS = re.compile(f"{_INT}(?: {_INT})*")

_FLOATS = re.compile(f"{_FLOAT}(?: {_FLOAT})*")

_NAME = re.compile(r'[^\x00-\x20\x7f-\U0010ffff",:\[\]{}]{1,200}')  # LightGBM itself refuses JSON's characters

_IMPORTANCE = re.compile(r"(.+)=([1-9][0-9]{0,17})")

_PARAMETER = re.compile(r"\[([a-z][a-z0-9_]{0,63}): ([A-Za-z0-9_.,+-]{0,4096})\]")

_FORBIDDEN = re.compile(r"[^\n -~]")

_SPLIT_INTS = ("split_feature", "decision_type", "left_child", "right_child", "internal_count")

_SPLIT_FLOATS = ("split_gain", "threshold", "internal_value", "internal_weight")

_TREE_KEYS = (
    *("num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type", "left_child"),
    *("right_child", "leaf_value", "leaf_weight", "leaf_count", "internal_value", "internal_weight", "internal_count"),
    *("is_linear", "shrinkage"),
)

_AFTER_TREES = "end of trees\n\nfeature_importances:\n"

_END = "\npandas_categorical:null\n"


def check_model_text(text: str, *, feature_names: Sequence[str], max_bytes: int = 20_000_000) -> None:
    """Refuse every text but a whole, sound regression model of numerical features.

    LightGBM 4.x crashes, hangs or mispredicts on a damaged text where no ``try`` helps: it follows child indices
    unchecked, starts each tree where ``tree_sizes`` says, and divides by the counts. So this accepts only what LightGBM
    4.5 and later write, line for line and in their order: format v4, one output, ``gbdt`` or ``dart`` trees that are
    trees (each node is a child once, and comes after its parent), counts that add up, plain numbers, finite ones but
    for the threshold ``inf``.

    Args:
        text: what ``Booster.model_to_string()`` or :func:`safe_model_text` returned.
        feature_names: the columns that predictions will be given, in order.
        max_bytes: the longest text to look at.

    Raises:
        VersionError: at the first thing that is wrong, naming it.
    """
    if len(text) > max_bytes:
        raise _unusable(f"it has {len(text)} bytes, and at most {max_bytes} are allowed")
    if odd := _FORBIDDEN.search(text):
        raise _unusable(f"character {odd.start()} is no printable ASCII")
    _check_feature_names(feature_names)
    header, _, rest = text.partition("\n\n")
    sizes = _check_header(header.split("\n"), feature_names)
    start = 0
    for index, size in enumerate(sizes):
        _check_tree(rest[start : start + size], size=size, index=index, n_features=len(feature_names))
        start += size
    _check_tail(rest[start:], feature_names)


def safe_model_text(text: str, *, feature_names: Sequence[str], max_bytes: int = 20_000_000) -> str:
    """Return the checked text without its training parameters: the only form to hand to LightGBM.

    ``Booster(model_str=...)`` turns the parameters back into JSON with a parser that reads past the end of a line
    without a colon, and raises on a word where a number belongs. Predictions and contributions don't use them, so they
    are left out, as LightGBM allows. The result passes the same check, and this function returns it unchanged.

    Args:
        text: what ``Booster.model_to_string()`` or this function returned.
        feature_names: the columns that predictions will be given, in order.
        max_bytes: the longest text to look at.

    Raises:
        VersionError: as :func:`check_model_text`.
    """
    check_model_text(text, feature_names=feature_names, max_bytes=max_bytes)
    body, parameters, _ = text.partition("\nparameters:\n")
    return body + _END if parameters else text


def _unusable(problem: str) -> VersionError:
    return VersionError(
        f"The predictor's model can't be used: {problem}. Train the predictor again, or copy its folder again, whole."
    )


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:60] + "…")


def _check_feature_names(names: Sequence[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise _unusable("the features expected of it are none, or repeat a name")
    for name in names:
        if not _NAME.fullmatch(name):
            raise _unusable(f"no feature can have the name {_short(name)}")


def _check_header(lines: list[str], names: Sequence[str]) -> list[int]:
    """Check everything before the first tree and return the trees' sizes in bytes."""
    first = ["tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0"]
    first.append(f"max_feature_idx={len(names) - 1}")
    for expected, line in zip(first, lines, strict=False):
        if line != expected:
            raise _unusable(f"its header has {_short(line)} where {expected!r} belongs")
    pairs = [line.partition("=") for line in lines[len(first) :]]
    keys = [key for key, _, _ in pairs]
    constraints = ["monotone_constraints"] if "monotone_constraints" in keys else []
    wanted = ["objective", "feature_names", *constraints, "feature_infos", "tree_sizes"]
    if keys != wanted:
        raise _unusable(f"its header goes on with {_short(' '.join(keys))}, not {' '.join(wanted)!r}")
    return _check_header_values({key: value for key, _, value in pairs}, names)


def _check_header_values(header: dict[str, str], names: Sequence[str]) -> list[int]:
    if header["objective"] not in OBJECTIVES:
        raise _unusable(f"its objective {_short(header['objective'])} is none of {', '.join(OBJECTIVES)}")
    if header["feature_names"] != " ".join(names):
        raise _unusable(f"its features are {_short(header['feature_names'])}, not {_short(' '.join(names))}")
    signs = header.get("monotone_constraints")
    if signs is not None and not set(_ints(signs, len(names), "monotone_constraints")) <= {-1, 0, 1}:
        raise _unusable("monotone_constraints has a value other than -1, 0 and 1")
    _check_infos(header["feature_infos"].split(" "), len(names))
    return _tree_sizes(header["tree_sizes"])


def _check_infos(infos: list[str], n_features: int) -> None:
    if len(infos) != n_features:
        raise _unusable(f"feature_infos has {len(infos)} values, not {n_features}")
    for info in infos:
        bounds = info.removeprefix("[").removesuffix("]").split(":")
        if info != "none" and (len(bounds) != 2 or info != f"[{bounds[0]}:{bounds[1]}]"):
            raise _unusable(f"feature_infos has {_short(info)}, which is no range")
        if info not in {"none", "[-inf:inf]"}:
            _floats(" ".join(bounds), 2, "feature_infos")


def _tree_sizes(value: str) -> list[int]:
    count = value.count(" ") + 1
    if count > MAX_TREES:
        raise _unusable(f"it has {count} trees, and at most {MAX_TREES} are allowed")
    sizes = _ints(value, count, "tree_sizes")
    if min(sizes) < 1:
        raise _unusable("tree_sizes has a value below 1")
    return sizes


def _check_tree(block: str, *, size: int, index: int, n_features: int) -> None:
    """Check one tree: from ``Tree=`` to the two empty lines after it, all of which ``tree_sizes`` counts."""
    where = f"tree {index}"
    fields = _tree_fields(block, size=size, index=index)
    for key in ("num_cat", "is_linear"):
        if fields[key] != "0":
            raise _unusable(f"{key} of {where} is {_short(fields[key])}, not 0")
    _floats(fields["shrinkage"], 1, f"shrinkage of {where}")
    n_leaves = _ints(fields["num_leaves"], 1, f"num_leaves of {where}")[0]
    if not 1 <= n_leaves <= MAX_LEAVES:
        raise _unusable(f"{where} has {n_leaves} leaves, and 1 to {MAX_LEAVES} are allowed")
    values = _floats(fields["leaf_value"], n_leaves, f"leaf_value of {where}")
    if max(map(abs, values)) > MAX_LEAF_VALUE:
        raise _unusable(f"leaf_value of {where} has a value above {MAX_LEAF_VALUE:g}")
    if n_leaves == 1:
        _check_single_leaf(fields, where)
    else:
        _check_branches(fields, n_leaves=n_leaves, n_features=n_features, where=where)


def _tree_fields(block: str, *, size: int, index: int) -> dict[str, str]:
    lines = block.split("\n")
    if len(block) != size or lines[0] != f"Tree={index}" or lines[-3:] != ["", "", ""]:
        raise _unusable(f"tree {index} is not in the {size} bytes that tree_sizes gives it")
    pairs = [line.partition("=") for line in lines[1:-3]]
    keys = tuple(key for key, _, _ in pairs)
    if keys != _TREE_KEYS:
        raise _unusable(f"tree {index} has the lines {_short(' '.join(keys))}, not LightGBM's")
    return {key: value for key, _, value in pairs}


def _check_single_leaf(fields: dict[str, str], where: str) -> None:
    for key in (*_SPLIT_INTS, *_SPLIT_FLOATS):
        if fields[key]:
            raise _unusable(f"{where} has one leaf, and a {key}")
    if fields["leaf_weight"]:
        _floats(fields["leaf_weight"], 1, f"leaf_weight of {where}")
    if fields["leaf_count"] and _ints(fields["leaf_count"], 1, f"leaf_count of {where}")[0] < 0:
        raise _unusable(f"leaf_count of {where} has a value below 0")


def _check_branches(fields: dict[str, str], *, n_leaves: int, n_features: int, where: str) -> None:
    floats = {key: fields[key] for key in _SPLIT_FLOATS}
    # LightGBM writes the threshold inf for "any number left, NaN right"
    floats["threshold"] = re.sub(r"(?<!\S)inf(?!\S)", "0", floats["threshold"])
    if not _are_floats(floats.values(), n_leaves - 1):
        for key, value in floats.items():
            _floats(value, n_leaves - 1, f"{key} of {where}")
    _floats(fields["leaf_weight"], n_leaves, f"leaf_weight of {where}")
    ints = {key: _ints(fields[key], n_leaves - 1, f"{key} of {where}") for key in _SPLIT_INTS}
    if not set(ints["split_feature"]) <= set(range(n_features)):
        raise _unusable(f"split_feature of {where} has a value outside 0..{n_features - 1}")
    if not set(ints["decision_type"]) <= _DECISIONS:
        raise _unusable(f"decision_type of {where} has a value that is no numerical split")
    children = list(zip(ints["left_child"], ints["right_child"], strict=True))
    _check_shape(children, where)
    leaf_counts = _ints(fields["leaf_count"], n_leaves, f"leaf_count of {where}")
    _check_counts(children, split_counts=ints["internal_count"], leaf_counts=leaf_counts, where=where)


def _check_shape(children: list[tuple[int, int]], where: str) -> None:
    """Check that n splits and the leaves -1..-(n+1) form one tree with split 0 as its root."""
    n_splits = len(children)
    once = sorted(child for pair in children for child in pair)
    if once != [*range(-n_splits - 1, 0), *range(1, n_splits)]:
        raise _unusable(f"the children of {where} are not every split and every leaf once")
    depths = [1] * n_splits
    for node, pair in enumerate(children):
        for child in (child for child in pair if child > 0):
            # LightGBM numbers a split after the one that it hangs on; where all do so, there is no cycle
            if child <= node:
                raise _unusable(f"{where} has split {child} below split {node}")
            depths[child] = depths[node] + 1
    if max(depths) > MAX_DEPTH:
        raise _unusable(f"{where} is {max(depths)} splits deep, and at most {MAX_DEPTH} are allowed")


def _check_counts(
    children: list[tuple[int, int]], *, split_counts: list[int], leaf_counts: list[int], where: str
) -> None:
    """Check that every leaf has rows and every split those of its children: contributions divide by the counts."""
    if min(leaf_counts) < 1:
        raise _unusable(f"leaf_count of {where} has a value below 1")
    for node, pair in enumerate(children):
        rows = sum(split_counts[child] if child >= 0 else leaf_counts[~child] for child in pair)
        if split_counts[node] != rows:
            raise _unusable(f"internal_count of {where} has {split_counts[node]} at split {node}, not {rows}")


def _check_tail(tail: str, names: Sequence[str]) -> None:
    if not (tail.startswith(_AFTER_TREES) and tail.endswith(_END)):
        raise _unusable(f"what follows its trees begins with {_short(tail[:40])} and ends with {_short(tail[-40:])}")
    importances, mark, parameters = tail[len(_AFTER_TREES) : -len(_END)].partition("\nparameters:\n")
    matches = [_IMPORTANCE.fullmatch(line) for line in _closed_lines(importances, "feature_importances")]
    listed = [match.group(1) if match else "" for match in matches]
    if len(set(listed)) < len(listed) or not set(listed) <= set(names):
        raise _unusable(f"its feature_importances are {_short(importances)}")
    if mark:
        _check_parameters(parameters)


def _check_parameters(section: str) -> None:
    end = "\nend of parameters\n"
    if not section.endswith(end):
        raise _unusable("its parameters have no end")
    matches = [_PARAMETER.fullmatch(line) for line in _closed_lines(section.removesuffix(end), "parameters")]
    names = [match.group(1) if match else "" for match in matches]
    if "" in names or len(set(names)) < len(names):
        raise _unusable("its parameters have a line that is no [name: value], or a name twice")


def _closed_lines(section: str, what: str) -> list[str]:
    *lines, last = section.split("\n")
    if last:
        raise _unusable(f"its {what} end with {_short(last)}")
    return lines


def _ints(value: str, count: int, what: str) -> list[int]:
    tokens = _tokens(value, count, what)
    if not _INTS.fullmatch(value):
        raise _unusable(f"{what} is {_short(value)}, not whole numbers")
    numbers = [int(token) for token in tokens]
    if max(map(abs, numbers)) > _MAX_INT:
        raise _unusable(f"{what} has a value above {_MAX_INT}")
    return numbers


def _floats(value: str, count: int, what: str) -> list[float]:
    tokens = _tokens(value, count, what)
    if not _FLOATS.fullmatch(value):
        raise _unusable(f"{what} is {_short(value)}, not plain finite numbers")
    numbers = [float(token) for token in tokens]
    sizes = [*map(abs, numbers)]
    if min(sizes) >= _MIN_NORMAL and max(sizes) < math.inf:
        return numbers
    # LightGBM warns on stdout about a number too small or too large to hold
    if not all(_held(number, token) for number, token in zip(numbers, tokens, strict=True)):
        raise _unusable(f"{what} has a value too small or too large to hold")
    return numbers


def _are_floats(values: Collection[str], count: int) -> bool:
    """Say whether each of some values passes :func:`_floats`, in one go; False where one of them has a zero, too."""
    joined = " ".join(values)
    if any(value.count(" ") != count - 1 for value in values) or not _FLOATS.fullmatch(joined):
        return False
    sizes = [abs(float(token)) for token in joined.split(" ")]
    return min(sizes) >= _MIN_NORMAL and max(sizes) < math.inf


def _held(number: float, token: str) -> bool:
    return token in {"0", "-0"} if number == 0 else _MIN_NORMAL <= abs(number) < math.inf


def _tokens(value: str, count: int, what: str) -> list[str]:
    tokens = value.split(" ")
    if len(tokens) != count:
        raise _unusable(f"{what} has {len(tokens)} values, not {count}")
    return tokens

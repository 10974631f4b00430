"""Spaces of recipes that design points are drawn from: data, validated, versioned and shipped."""

import importlib.resources
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalepred.errors import UsageError, join_problems
from scalepred.recipe import Recipe

SHIPPED = "wide-1"
KINDS = ("choice", "log_uniform", "log_integer")
EXTRA = ("n_images",)
"""What a space draws besides the fields of a recipe: how many training and validation images a point may have."""

FEWEST_IMAGES = 2


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One thing that is drawn, from a number in [0, 1).

    Attributes:
        name: a recipe's field, or one of ``EXTRA``.
        kind: "choice" of weighed values, "log_uniform" numbers or "log_integer" whole ones.
        values: the values of a choice.
        weights: theirs, which need not sum to 1.
        low, high: ends of a range, both included.
        where: field -> values: it is drawn so only where those fields have one of these values.
    """

    name: str
    kind: str
    values: tuple[Any, ...] = ()
    weights: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    where: Mapping[str, tuple[Any, ...]]

    def among(self, values: Collection[Any]) -> "Dimension":
        """Return the choice of those of these values that it has, weighed as they are; of all if it has none."""
        kept = {value: w for value, w in zip(self.values, self.weights, strict=True) if value in values}
        kept = kept or dict.fromkeys(values, 1.0)
        return replace(self, kind="choice", values=tuple(kept), weights=tuple(kept.values()))

    def value(self, u: float) -> Any:
        """Return the value that a number in [0, 1) stands for."""
        if self.kind == "choice":
            left = u * sum(self.weights)
            for value, weight in zip(self.values, self.weights, strict=True):
                left -= weight
                if left < 0:
                    return value
            return self.values[-1]
        if self.kind == "log_integer":
            number = math.exp(math.log(self.low) + u * (math.log(self.high + 1) - math.log(self.low)))
            return max(int(self.low), min(int(number), int(self.high)))  # logarithms round
        return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))


@dataclass(frozen=True, kw_only=True)
class Space:
    """A named space of recipes; the order of its dimensions is that of the numbers they are drawn from."""

    name: str
    dimensions: tuple[Dimension, ...]

    def image_sizes(self) -> tuple[int, ...]:
        """Return the image sizes that may be drawn, in order; of a range its ends."""
        drawing = [dimension for dimension in self.dimensions if dimension.name == "image_px"]
        sizes = {px for each in drawing for px in each.values or (each.value(0.0), each.value(1 - 1e-9))}
        sizes |= {Recipe().image_px} if all(each.where for each in drawing) else set()
        return tuple(sorted(sizes))

    def draw(self, numbers: Sequence[float], *, sizes: Collection[int] | None = None) -> tuple[Recipe, dict[str, Any]]:
        """Return the recipe that these numbers in [0, 1) stand for, one for each dimension, and what else is drawn.

        A dimension whose condition does not hold is passed over, its number with it; what is not drawn has the recipe's
        own default.

        Args:
            numbers: one for each dimension.
            sizes: image sizes that the network takes; the others are not drawn. None if it takes all.
        """
        drawn: dict[str, Any] = {}
        for dimension, u in zip(self.dimensions, numbers, strict=True):
            if all(drawn.get(field) in values for field, values in dimension.where.items()):
                of = dimension.among(sizes) if sizes and dimension.name == "image_px" else dimension
                drawn[dimension.name] = of.value(u)
        if sizes and drawn.get("image_px", Recipe().image_px) not in sizes:
            drawn["image_px"] = min(sizes)
        extra = {name: drawn.pop(name) for name in EXTRA if name in drawn}
        return Recipe(**_fitting(drawn)), extra


def _fitting(drawn: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's fields as they go together: multipliers as numbers, and a warm-up that ends before the run."""
    fields = dict(drawn)
    if "multipliers" in fields:
        fields["multipliers"] = tuple(float(m) for m in fields["multipliers"])
    if "warmup_epochs" in fields:
        fields["warmup_epochs"] = min(fields["warmup_epochs"], fields.get("epochs", Recipe().epochs) - 1)
    return fields


def load_space(file: Path | None = None) -> Space:
    """Read a space from a JSON file, by default the one that ships.

    Raises:
        UsageError: naming everything that is wrong with it.
    """
    if file is None:
        text = (importlib.resources.files("scalepred.harvest") / "spaces" / f"{SHIPPED}.json").read_text("utf-8")
        return parse_space(text, where=SHIPPED)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The space {file} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    return parse_space(text, where=str(file))


def parse_space(text: str, *, where: str) -> Space:
    """Return the space of a JSON text; ``where`` names it in errors.

    Raises:
        UsageError: naming everything that is wrong with it.
    """
    try:
        document = json.loads(text)
        name, entries = str(document["name"]), list(document["dimensions"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f'The space {where} is not of the form {{"name": …, "dimensions": [{{"name": …, "kind": …}}, …]}}: {error}.'
        ) from error
    problems = [problem for at, entry in enumerate(entries) for problem in _problems(entry, entries[:at])]
    if problems or not entries:
        raise UsageError(join_problems(f"The space {where} can't be used:", problems or ["it has no dimensions"]))
    dimensions = tuple(map(_dimension, entries))
    _check_corners(dimensions, where)
    return Space(name=name, dimensions=dimensions)


def _dimension(entry: Mapping[str, Any]) -> Dimension:
    """Return the dimension of an entry without problems."""
    is_choice = entry["kind"] == "choice"
    values = entry["values"] if is_choice else ()
    return Dimension(
        name=entry["name"],
        kind=entry["kind"],
        values=tuple(_hashable(each["value"]) for each in values),
        weights=tuple(float(each.get("weight", 1)) for each in values),
        low=0.0 if is_choice else float(entry["low"]),
        high=0.0 if is_choice else float(entry["high"]),
        where={field: tuple(map(_hashable, allowed)) for field, allowed in entry.get("where", {}).items()},
    )


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _problems(entry: Any, before: Sequence[Any]) -> list[str]:
    """Return what is wrong with one dimension, given those before it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return [f"{entry!r:.60} is no dimension: give name and kind"]
    name, kind = entry["name"], entry.get("kind")
    fields = set(Recipe.__dataclass_fields__) | set(EXTRA)
    checks = [
        (name in fields, f"{name!r} is no field of a recipe, nor one of {', '.join(EXTRA)}"),
        (kind in KINDS, f"the kind of {name} is {kind!r}, not one of {', '.join(KINDS)}"),
    ]
    if kind == "choice":
        values = entry["values"] if isinstance(entry.get("values"), list) else []
        fine = all(isinstance(v, dict) and "value" in v and _is_positive(v.get("weight", 1)) for v in values)
        checks.append((bool(values), f"{name} has no values to choose from"))
        checks.append((fine, f'each value of {name} is {{"value": …, "weight": a number above 0}}'))
    elif kind in KINDS:
        low, high = entry.get("low", 0), entry.get("high", 0)
        fine = _is_positive(low) and _is_positive(high) and low <= high
        checks.append((fine, f"the range of {name} is {low!r} to {high!r}, not two numbers above 0, low first"))
    named = {str(each.get("name")) for each in before if isinstance(each, dict)}
    conditions = entry.get("where", {})
    fine = isinstance(conditions, dict) and all(isinstance(values, list) for values in conditions.values())
    checks.append((fine, f'the condition of {name} is no {{"field": [values]}}'))
    if fine:
        late = sorted(set(conditions) - named)
        checks.append((not late, f"{name} depends on {', '.join(late)}, which must come before it"))
    return [problem for is_fine, problem in checks if not is_fine]


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _check_corners(dimensions: Sequence[Dimension], where: str) -> None:
    """Raise UsageError for a value that no recipe takes; all ends and choices are tried with defaults beside them."""
    problems = []
    for dimension in dimensions:
        ends = dimension.values or (dimension.value(0.0), dimension.value(1 - 1e-9))
        for value in ends:
            if dimension.name in EXTRA:
                if not (isinstance(value, int) and value >= FEWEST_IMAGES):
                    problems.append(f"n_images must be a whole number of {FEWEST_IMAGES} or more, not {value!r}")
                continue
            try:
                longest = {} if dimension.name == "steps" else {"epochs": 100}
                Recipe(**_fitting(longest | {dimension.name: value}))
            except (UsageError, TypeError) as error:
                problems.append(f"{dimension.name}: {error}".replace("This recipe can't be used: ", ""))
    if problems:
        raise UsageError(join_problems(f"The space {where} can't be used:", problems))


def describe(recipe: Recipe) -> str:
    """Return a short name for a drawn recipe, for people: optimizer, multipliers, statistics, size."""
    rates = ",".join(f"{m:g}" for m in recipe.multipliers)
    return f"{recipe.optimizer} {rates} {recipe.batchnorm} {recipe.image_px}px {recipe.recipe_id[:8]}"

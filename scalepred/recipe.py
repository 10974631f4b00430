"""Recipes, the grid of scales, and the identities that are hashes of content."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalepred.errors import UsageError

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5", "head")
"""The five stages of a network and its head, input first (IL_1..IL_5 and LL in the paper)."""

GRID = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
"""The eleven scales. Source: Dube et al. 2018, section 4.3."""

GRADUATED = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Learning-rate multipliers per stage. Source: Dube et al. 2018, section 4.3."""

HEAD_ONLY = (0.0, 0.0, 0.0, 0.0, 0.0, 10.0)
"""Multipliers of the baseline, IL 0 and LL 10. Source: Dube et al. 2018, section 4.3."""

EPOCHS = 20
"""Passes over the training images, as in the paper."""

MIN_DECAY = 0.1
"""The strongest layer-wise decay: at less, the six decimals of conv1's multiplier say too little."""

SCHEDULES = ("step", "cosine")

AUGMENTATIONS = ("none", "flip", "crop", "crop-flip", "trivial")

BATCHNORM_MODES = ("batch", "frozen")
OPTIMIZERS = ("sgd", "adamw")
HEAD_STARTS = ("noise", "fitted")
CLASS_WEIGHTS = ("none", "balanced")
RESIZES = ("squash", "crop", "pad")

_NEUTRAL = {
    "warmup_epochs": 0,
    "optimizer": "sgd",
    "head_start": "noise",
    "label_smoothing": 0.0,
    "class_weights": "none",
    "resize": "squash",
    "steps": None,
}
"""Fields that recipes did not always have, with the values at which a recipe is what it was without them."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a finetune except task, source, scale and seed.

    What the paper does not fix is fixed here: batch size, momentum, weight decay, image size, augmentation, and whether
    batch normalisation uses the statistics of the batch or those of the source.

    Attributes:
        base_lr: the learning rate that multipliers and scale multiply.
        multipliers: one factor for each of ``STAGES``; 0 freezes the stage and its batch normalisation.
        epochs: passes over the training images; not used where ``steps`` is given.
        batch_size: images in a step, at most.
        momentum: of SGD, in [0, 1); with AdamW the decay of its mean of gradients (beta 1).
        weight_decay: with SGD added to the gradient, with AdamW decoupled from it (times the rate).
        schedule: "step" (tenfold lower after each third of the steps) or "cosine" (to 0).
        image_px: side of the square that images become.
        augmentation: "none", "flip", "crop", "crop-flip" or "trivial" (TrivialAugmentWide).
        batchnorm: "batch" or "frozen" statistics in the stages that learn.
        warmup_epochs: the rates rise evenly to the schedule's over the steps of so many epochs, fewer than ``epochs``;
            with ``steps`` over all steps but the last at most.
        optimizer: "sgd" or "adamw"; multipliers and scale mean the same with both.
        head_start: "noise" (a new head, drawn small) or "fitted" (a linear probe's solution for standardised features).
        label_smoothing: share of every target that is spread over all classes, in [0, 1).
        class_weights: "none", or "balanced" (a class's images weigh by the inverse of their number).
        resize: how an image becomes a square: "squash" (the whole image, its sides squeezed to the same length), "crop"
            (its middle, as much as fits) or "pad" (the whole image, between bars of the colours of its edges).
        steps: so many steps instead of ``epochs``, which then keeps its default; the last epoch may be cut short. None
            trains by epochs.

    Raises:
        UsageError: naming every field that is out of range.
    """

    base_lr: float = 0.001
    multipliers: tuple[float, ...] = GRADUATED
    epochs: int = EPOCHS
    batch_size: int = 32
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "step"
    image_px: int = 64
    augmentation: str = "none"
    batchnorm: str = "batch"
    warmup_epochs: int = 0
    optimizer: str = "sgd"
    head_start: str = "noise"
    label_smoothing: float = 0.0
    class_weights: str = "none"
    resize: str = "squash"
    steps: int | None = None

    def __post_init__(self) -> None:
        problems = _problems(self)
        if problems:
            raise UsageError("This recipe can't be used: " + "; ".join(problems) + ".")
        # 1 and 1.0 are the same setting, so they must be the same recipe_id
        object.__setattr__(self, "multipliers", tuple(float(m) for m in self.multipliers))
        for name in ("base_lr", "momentum", "weight_decay", "label_smoothing"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def recipe_id(self) -> str:
        """The hash of the recipe's canonical JSON; a field added later is left out while it has its neutral value."""
        return content_id("recipe", self._fields())

    def to_json(self) -> str:
        """Return the canonical JSON: sorted keys, no blanks."""
        return canonical_json(self._fields())

    def _fields(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        if self.steps is not None:
            del fields["epochs"]
        return {name: value for name, value in fields.items() if name not in _NEUTRAL or value != _NEUTRAL[name]}

    @property
    def length(self) -> str:
        """How long it trains, in words: "20 epochs" or "500 steps"."""
        n, what = (self.epochs, "epoch") if self.steps is None else (self.steps, "step")
        return f"{n} {what}" if n == 1 else f"{n} {what}s"

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read a recipe from a JSON object; missing fields take their defaults.

        In place of six numbers ``multipliers`` may hold the arguments of ``layer_decay``, such as
        ``{"decay": 0.65, "head": 10}``.

        Raises:
            UsageError: if the text is no JSON object, or names a field that recipes lack.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise UsageError(f"A recipe is a JSON object, and this is no JSON: {error}.") from error
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(fields) - set(names)) if isinstance(fields, dict) else ["not an object"]
        if unknown:
            raise UsageError(f"Unknown recipe fields: {', '.join(unknown)}. Known: {', '.join(names)}.")
        if isinstance(fields.get("multipliers"), list):
            fields["multipliers"] = tuple(fields["multipliers"])
        elif isinstance(fields.get("multipliers"), dict):
            fields["multipliers"] = _decayed(fields["multipliers"])
        return cls(**fields)


def layer_decay(decay: float, *, head: float = 1.0) -> tuple[float, ...]:
    """Return multipliers that shrink by the same factor from each stage to the one before it.

    The head's is ``head``; conv5's is ``decay``, conv4's its square, and so on to its fifth power at conv1. They are
    rounded to six decimals, so that a recipe has the same id on any machine.

    Args:
        decay: the factor, in [0.1, 1]; 1 is one rate for all stages.
        head: the head's own multiplier, 0 or more; more than 1 where a new head should learn faster.

    Raises:
        UsageError: if either is out of range.

    Source: Clark et al. 2020 (ELECTRA), appendix B ("layerwise LR decay"); Bao et al. 2022 (BEiT) do so
    for images. Departs: by the five stages of a network, not by its layers.
    """
    problems = [
        f"{rule}, not {value!r}"
        for fine, rule, value in (
            (_is_number(decay) and MIN_DECAY <= decay <= 1, f"decay must lie in [{MIN_DECAY}, 1]", decay),
            (_is_number(head) and head >= 0, "head must be 0 or more", head),
        )
        if not fine
    ]
    if problems:
        raise UsageError("This layer-wise decay can't be used: " + "; ".join(problems) + ".")
    n_stages = len(STAGES) - 1
    return (*(round(float(decay) ** (n_stages - at), 6) for at in range(n_stages)), float(head))


def _decayed(arguments: dict[str, Any]) -> tuple[float, ...]:
    """Return the multipliers of a layer-wise decay as a recipe's JSON has it."""
    if "decay" not in arguments or set(arguments) - {"decay", "head"}:
        raise UsageError(
            f"multipliers must be {len(STAGES)} numbers, or a layer-wise decay of the form "
            f'{{"decay": 0.65, "head": 1}}, not {arguments!r:.80}.'
        )
    return layer_decay(**arguments)


def _problems(recipe: Recipe) -> list[str]:
    r = recipe
    six = isinstance(r.multipliers, tuple) and len(r.multipliers) == len(STAGES)
    checks = [
        (_is_number(r.base_lr) and r.base_lr > 0, "base_lr must be above 0", r.base_lr),
        (
            six and all(_is_number(m) and m >= 0 for m in r.multipliers) and any(r.multipliers),
            f"multipliers must be a tuple of {len(STAGES)} numbers of 0 or more, not all 0",
            r.multipliers,
        ),
        (_is_count(r.epochs), "epochs must be a whole number of 1 or more", r.epochs),
        (_is_count(r.batch_size), "batch_size must be a whole number of 1 or more", r.batch_size),
        (_is_number(r.momentum) and 0 <= r.momentum < 1, "momentum must lie in [0, 1)", r.momentum),
        (_is_number(r.weight_decay) and r.weight_decay >= 0, "weight_decay must be 0 or more", r.weight_decay),
        (r.schedule in SCHEDULES, f"schedule must be one of {', '.join(SCHEDULES)}", r.schedule),
        (_is_count(r.image_px) and 16 <= r.image_px <= 1024, "image_px must lie in 16..1024", r.image_px),
        (r.augmentation in AUGMENTATIONS, f"augmentation must be one of {', '.join(AUGMENTATIONS)}", r.augmentation),
        (r.batchnorm in BATCHNORM_MODES, f"batchnorm must be one of {', '.join(BATCHNORM_MODES)}", r.batchnorm),
        (
            r.warmup_epochs == 0
            or (_is_count(r.warmup_epochs) and _is_count(r.epochs) and (bool(r.steps) or r.warmup_epochs < r.epochs)),
            "warmup_epochs must be a whole number of 0 or more, less than epochs",
            r.warmup_epochs,
        ),
        (r.optimizer in OPTIMIZERS, f"optimizer must be one of {', '.join(OPTIMIZERS)}", r.optimizer),
        (r.head_start in HEAD_STARTS, f"head_start must be one of {', '.join(HEAD_STARTS)}", r.head_start),
        (
            _is_number(r.label_smoothing) and 0 <= r.label_smoothing < 1,
            "label_smoothing must lie in [0, 1)",
            r.label_smoothing,
        ),
        (r.class_weights in CLASS_WEIGHTS, f"class_weights must be one of {', '.join(CLASS_WEIGHTS)}", r.class_weights),
        (r.resize in RESIZES, f"resize must be one of {', '.join(RESIZES)}", r.resize),
        (r.steps is None or _is_count(r.steps), "steps must be a whole number of 1 or more, or none", r.steps),
        (
            r.steps is None or r.epochs == EPOCHS,
            f"epochs and steps can't both be given: leave epochs at {EPOCHS} where steps decide, or steps away",
            (r.epochs, r.steps),
        ),
    ]
    return [f"{rule}, not {value!r}" for fine, rule, value in checks if not fine]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_FROZEN = Recipe(batchnorm="frozen", multipliers=tuple(multiplier / 10 for multiplier in GRADUATED))

RECIPES = {
    "graduated": Recipe(),
    "cosine": Recipe(schedule="cosine"),
    "frozen-statistics": _FROZEN,
    "frozen-statistics-128": dataclasses.replace(_FROZEN, image_px=128),
    "baseline": Recipe(multipliers=HEAD_ONLY),
}
"""Recipes by name: the paper's; ours for the networks of domains, and those for networks whose statistics are worth
keeping; and the paper's baseline."""


def load_recipe(name: str) -> Recipe:
    """Return the recipe of this name, or the one in the JSON file of this path.

    Raises:
        UsageError: if it is neither, or the file is no text or can't be read.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if not path.is_file():
        raise UsageError(
            f"No recipe {name!r}: give one of {', '.join(RECIPES)}, or the path of a JSON file with its fields."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"The recipe {path} is no text in UTF-8: save it as UTF-8.") from error
    except OSError as error:
        raise UsageError(f"The recipe {path} can't be read: {error.strerror or error}.") from error
    return Recipe.from_json(text)


def at_size(name: str, recipe: Recipe, image_px: int | None) -> tuple[str, Recipe]:
    """Return a recipe with images of this size, and its name, which then tells the size; None changes nothing."""
    if image_px is None or image_px == recipe.image_px:
        return name, recipe
    sized = dataclasses.replace(recipe, image_px=image_px)
    known = [other for other, each in RECIPES.items() if each == sized]
    return known[0] if known else f"{name.removesuffix(f'-{recipe.image_px}')}-{image_px}", sized


def changed(name: str, recipe: Recipe, **fields: str | None) -> tuple[str, Recipe]:
    """Return a recipe with these fields, and its name, which then tells those that are new; None changes nothing.

    Raises:
        UsageError: if a field can't have that value.
    """
    new = {field: value for field, value in fields.items() if value not in (None, getattr(recipe, field))}
    changed_recipe = dataclasses.replace(recipe, **new)  # type: ignore[arg-type]  # the recipe checks its own fields
    return "-".join([name, *map(str, new.values())]), changed_recipe


def baseline_of(recipe: Recipe) -> Recipe:
    """Return the paper's baseline with everything but the multipliers as in ``recipe``."""
    return dataclasses.replace(recipe, multipliers=HEAD_ONLY)


def check_scale(scale: float) -> float:
    """Return ``scale`` if it is a finite number above 0.

    Raises:
        UsageError: otherwise.
    """
    if not (_is_number(scale) and scale > 0):
        raise UsageError(
            f"A scale is a finite number above 0, not {scale!r}; the grid runs from {GRID[0]} to {GRID[-1]}."
        )
    return float(scale)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no blanks, only finite numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_id(kind: str, value: Any) -> str:
    """Return 32 hex digits that name this JSON value among its kind, the same on any machine."""
    return text_id(kind, canonical_json(value))


def text_id(kind: str, canonical: str) -> str:
    """Return the same of a value's canonical JSON."""
    return hashlib.sha256(f"{kind}:{canonical}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def run_id(*, task_id: str, source_id: str, recipe_id: str, scale: float | None, seed: int) -> str:
    """Return the identity of one finetune; ``scale`` is None for a recipe that has none, such as the baseline."""
    return content_id("run", [task_id, source_id, recipe_id, None if scale is None else float(scale), seed])

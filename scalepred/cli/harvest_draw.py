"""The draw of a harvest: its options, the design points that they give, and how balanced these are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scalepred.cli.output import console, table
from scalepred.errors import UsageError

if TYPE_CHECKING:
    from scalepred.data.task import Survey
    from scalepred.harvest.draw import DesignPoint
    from scalepred.harvest.request import Wanted

SHOWN = 20
"""Longer lists, as of tasks, are told by their number, least and most."""

Draw = Annotated[
    int | None,
    typer.Option(
        help="Instead of the grid: so many design points, drawn at random, each a task, source and recipe that places "
        "its scales itself. More continue the sequence.",
        min=1,
        show_default=False,
    ),
]
DrawSeed = Annotated[int | None, typer.Option(help="Of the sequence of points. Default: 0.", min=0, show_default=False)]
SpaceFile = Annotated[
    Path | None,
    typer.Option(
        "--space", help="A JSON file of what recipes are drawn from. Default: the space that ships.", show_default=False
    ),
]


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """Which design points are drawn: how many, the sequence's seed, and the space; ``n`` is None for a grid.

    With ``octaves`` nothing is drawn: what a grid would have is run as points, each of which places its scales.

    Raises:
        UsageError: if there is a seed or a space, and nothing is drawn.
    """

    n: int | None
    seed: int | None
    space: Path | None
    octaves: bool = False

    def __post_init__(self) -> None:
        if self.n is None and (self.seed is not None or self.space is not None):
            raise UsageError("--draw-seed and --space belong to --draw N: say how many points.")

    def check_alone(
        self,
        *,
        recipe: Sequence[str] | None,
        image_px: int | None,
        seeds: int | None,
        scale: Sequence[float] | None,
        extend: bool,
    ) -> None:
        """Raise UsageError if options of the grid are given beside a draw, or scales beside octaves."""
        if self.octaves and self.n is None and (scale or not extend):
            raise UsageError("--scale and --no-extend do not go with --octaves, which places its own scales.")
        given = {
            "--recipe": recipe,
            "--image-px": image_px,
            "--seeds": seeds,
            "--scale": scale,
            "--octaves": self.octaves or None,
            "--no-extend": None if extend else True,
        }
        named = [option for option, value in given.items() if value is not None]
        if self.n is not None and named:
            do = "does" if len(named) == 1 else "do"
            raise UsageError(
                f"{' and '.join(named)} {do} not go with --draw: the space draws recipes and image sizes, "
                "and each point places its own scales and seeds."
            )


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Design points, what the files of their tasks say, and how balanced they are."""

    points: "Sequence[DesignPoint]"
    surveys: "Mapping[str, Survey]"
    balance: Mapping[str, Mapping[str, int]]


def draw(options: DrawOptions, data: Sequence[str], sources: Sequence[str]) -> Drawn | None:
    """Return what is drawn, or None for a grid.

    Raises:
        UsageError: if the space can't be used, or there is no such network.
        WeightsError: if a source's folder can't be read.
    """
    if options.n is None:
        return None
    from scalepred.harvest.balance import balance_of
    from scalepred.harvest.draw import draw_points, survey_tasks
    from scalepred.harvest.sizes import sizes_taken
    from scalepred.harvest.space import load_space
    from scalepred.networks.names import family_of

    space = load_space(options.space)
    families = {source: family_of(source) for source in sources}
    surveys = survey_tasks(data)
    origins = {name: files.origin for name, files in surveys.items()}
    sizes = {source: taken for source in sources if (taken := sizes_taken(source, space))}
    points = draw_points(options.n, tasks=origins, sources=families, space=space, sizes=sizes, seed=options.seed or 0)
    return Drawn(points=points, surveys=surveys, balance=balance_of(points, origins=origins, families=families))


def with_points(wanted: "Wanted", drawn: Drawn | None, *, octaves: bool) -> "Wanted":
    """Return what is wanted with the points that were drawn, or, with ``octaves``, all that its grid would have."""
    from scalepred.harvest.draw import every_point

    if drawn:
        return replace(wanted, points=drawn.points, surveys=drawn.surveys)
    if octaves:
        points = every_point(wanted.data, wanted.sources, wanted.recipes, n_seeds=wanted.n_seeds)
        return replace(wanted, points=points, recipes={})
    return wanted


def show_balance(balance: Mapping[str, Mapping[str, int]]) -> None:
    """Print how many points each value has; of long lists how many values there are, and the least and most."""
    rows: list[tuple[str, str, int | None]] = []
    for what, counts in balance.items():
        if len(counts) <= SHOWN:
            rows += [(what if at == 0 else "", name, n) for at, (name, n) in enumerate(counts.items())]
            continue
        n_none = sum(n == 0 for n in counts.values())
        span = f"{min(counts.values())} to {max(counts.values())} points each"
        rows.append((what, f"{len(counts)}: {span}, {n_none} none at all", None))
    console().print(table(("drawn", "value", "points"), rows))

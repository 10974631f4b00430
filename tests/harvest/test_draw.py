"""Draws of design points: the sequence, its balance, and what it depends on."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest
from fakes import write_task

from scalepred.harvest.balance import balance_of
from scalepred.harvest.draw import DesignPoint, draw_points, survey_tasks
from scalepred.harvest.sizes import sizes_taken
from scalepred.harvest.space import load_space
from scalepred.networks.names import family_of
from scalepred.recipe import content_id

TASKS = {f"tasks/{origin}{at}": origin for origin, n in (("a", 1), ("b", 4), ("c", 15)) for at in range(n)}
SOURCES = {"lite0": "lite", "lite1": "lite", "vit": "vit", "convnext": "convnext", "resnet": "resnet"}


@pytest.fixture(scope="module")
def space():
    return load_space()


def drawn(n, space, *, tasks=TASKS, sources=SOURCES, seed=0):
    return draw_points(n, tasks=tasks, sources=sources, space=space, seed=seed)


def test_a_shorter_draw_is_the_beginning_of_a_longer_one(space):
    longest = drawn(300, space)
    assert [point.index for point in longest] == list(range(300))
    for n in (0, 1, 2, 20, 50, 64, 65, 299):
        assert drawn(n, space) == longest[:n]


def test_another_seed_draws_another_sequence_and_the_same_seed_the_same(space):
    assert drawn(20, space) == drawn(20, space)
    assert drawn(20, space) != drawn(20, space, seed=1)


def test_a_draw_depends_neither_on_where_files_lie_nor_on_the_order_they_are_named_in(space):
    elsewhere = {f"/other/{data}": origin for data, origin in reversed(TASKS.items())}
    sources = {f"/models/{name}": family for name, family in reversed(SOURCES.items())}
    there = drawn(100, space, tasks=elsewhere, sources=sources)
    here = drawn(100, space)
    assert [(f"/other/{p.data}", f"/models/{p.source}", p.recipe, p.n_images, p.n_seeds) for p in here] == [
        (p.data, p.source, p.recipe, p.n_images, p.n_seeds) for p in there
    ]


def test_a_draw_that_was_begun_before_sizes_were_looked_at_goes_on_as_it_was(space):
    root = Path(__file__).resolve().parents[2] / "models" / "sources"
    sources = [f"efficientnet_lite{at}" for at in (0, 1, 2)] + [str(root / n) for n in ("glyphs", "icons", "sprites")]
    sizes = {source: taken for source in sources if (taken := sizes_taken(source, space))}
    assert sizes == {}
    points = draw_points(50, tasks=TASKS, sources={s: family_of(s) for s in sources}, space=space, sizes=sizes)
    rows = [[p.data, Path(p.source).name, p.recipe.recipe_id, p.n_images, p.n_seeds] for p in points]
    assert content_id("points", rows) == "2d555b935aac6e8c98845eb3e3ac286f"


@pytest.mark.parametrize(
    ("source", "sizes"),
    [
        ("timm/vit_tiny_patch16_224:depth=5,embed_dim=16,img_size=64,num_heads=2,patch_size=8", (64,)),
        (
            "timm/vit_tiny_patch16_224:depth=5,embed_dim=16,num_heads=2",
            (224,),
        ),  # of its own, which the space does not have
        ("timm/test_vit:img_size=64,patch_size=8", None),  # timm stretches its positions
        ("timm/test_convnext", None),
        ("resnet27/8", None),
    ],
)
def test_a_network_is_asked_for_the_sizes_that_it_takes(source, sizes, space):
    assert sizes_taken(source, space) == sizes


def test_only_sizes_that_a_network_takes_are_drawn_for_it_and_nothing_else_changes(space):
    free = drawn(300, space)
    points = draw_points(300, tasks=TASKS, sources=SOURCES, space=space, sizes={"vit": (64,), "lite1": (32, 64, 48)})
    assert {p.recipe.image_px for p in points if p.source == "vit"} == {64}
    assert {p.recipe.image_px for p in points if p.source == "lite1"} == {32, 48, 64}
    assert {p.recipe.image_px for p in points if p.source == "convnext"} == {32, 48, 64, 96, 128}
    sized = [dataclasses.replace(p, recipe=dataclasses.replace(p.recipe, image_px=64)) for p in points]
    assert sized == [dataclasses.replace(p, recipe=dataclasses.replace(p.recipe, image_px=64)) for p in free]
    others = [at for at, point in enumerate(free) if point.source not in ("vit", "lite1")]
    assert [points[at] for at in others] == [free[at] for at in others]


@pytest.mark.parametrize("n", [64, 200, 1000])
def test_any_beginning_is_balanced_over_origins_families_sources_and_fields(space, n):
    points = drawn(n, space)
    counts = balance_of(points, origins=TASKS, families=SOURCES)
    assert all(abs(each - n / 3) <= 3 for each in counts["origins"].values())
    assert all(abs(each - n / 4) <= 3 for each in counts["families"].values())
    assert abs(counts["sources"]["lite0"] - n / 8) <= 3
    assert abs(counts["optimizer"]["adamw"] - 0.4 * n) <= 3
    assert abs(counts["head start"]["fitted"] - 0.75 * n) <= 3
    assert abs(counts["seeds"]["2"] - 0.1 * n) <= 3


def test_fields_are_balanced_within_families_too(space):
    points = drawn(1024, space)
    adamw = Counter(SOURCES[point.source] for point in points if point.recipe.optimizer == "adamw")
    assert all(abs(n - 0.4 * 256) <= 10 for n in adamw.values())


def test_a_balance_counts_what_was_never_drawn_too(space):
    points = drawn(3, space)
    counts = balance_of(points, origins=TASKS, families=SOURCES)
    assert len(counts["tasks"]) == len(TASKS)
    assert min(counts["tasks"].values()) == 0
    assert all(sum(values.values()) == 3 for values in counts.values())
    assert list(counts["origins"].values()) == sorted(counts["origins"].values(), reverse=True)


def test_a_balance_says_all_where_there_is_no_limit_of_images(space):
    point = DesignPoint(
        index=0, data="tasks/a0", source="vit", recipe=space.draw([0.0] * 16)[0], n_images=None, n_seeds=1
    )
    assert balance_of([point], origins=TASKS, families=SOURCES)["images"] == {"all": 1}


def test_tasks_that_cannot_be_used_are_not_drawn_from_and_none_give_no_points(tmp_path, space):
    good = write_task(tmp_path / "good")
    (good / "task.json").write_text(json.dumps({"name": "good", "origin": "zoo"}))
    surveys = survey_tasks([str(good), str(tmp_path / "nowhere")])
    assert {data: files.origin for data, files in surveys.items()} == {str(good): "zoo"}
    assert drawn(5, space, tasks={}) == []

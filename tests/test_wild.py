"""The suite's builder: what it finds in packages, how it splits images, and which tasks it cuts."""

import io
import json
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fakes
import numpy as np
import pytest
from image_files import noise, save
from PIL import Image, ImageFont
from rich.console import Console
from rows import SOURCE, TASK, make_run

from benchmarks import snapshot
from benchmarks.wild import __main__ as wild
from benchmarks.wild import carried, counts, cut, gather, glyphs, held_out, pilot, points
from benchmarks.wild.contact import write_sheets
from benchmarks.wild.cut import Sides, SuiteImage, plans, split_sides
from benchmarks.wild.harvest import Stage, chosen, harvest_command
from benchmarks.wild.origins import DIGITS, DOMAINS, ORIGINS, SHARED, Origin
from benchmarks.wild.packages import FetchError, Package, licences, unpacked
from benchmarks.wild.shared import print_shared
from scalepred.data.task import read_task
from scalepred.harvest.draw import DesignPoint
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.predictor import harvested as harvested_module
from scalepred.predictor.model import RUN_NOISE
from scalepred.recipe import GRID, Recipe, load_recipe, run_id
from scalepred.records import RecipeRecord


def images(sizes, *, group_of=lambda label, index: f"{label}{index}"):
    return [
        SuiteImage(f"pictures/o/{label}/{index}.png", label, group_of(label, index))
        for label, n in sizes.items()
        for index in range(n)
    ]


def package(root, name="some-data"):
    return Package(name, root, "1.0", "MIT")


def found_by(origin, root, name="some-data"):
    return sorted((f.label, f.name, f.group) for f in gather.FINDERS[origin.how](origin, [package(root, name)]))


# --- origins ----------------------------------------------------------------------------------------------------------


def test_every_origin_has_its_own_name_and_a_finder():
    everything = [*ORIGINS, *DOMAINS]
    assert [name for name, n in Counter(each.name for each in everything).items() if n > 1] == []
    assert {each.how for each in everything} <= set(gather.FINDERS)
    assert all(len(each.classes) >= 2 for each in everything)
    assert all(each.is_domain for each in DOMAINS)
    assert len(ORIGINS) >= 40


# --- splitting --------------------------------------------------------------------------------------------------------


def test_two_fifths_are_test_and_a_group_is_never_on_both_sides():
    suite = images({"a": 100, "b": 50}, group_of=lambda _, index: f"g{index // 4}")
    sides = split_sides(suite)
    for label, n in (("a", 100), ("b", 50)):
        assert len(sides.learn[label]) + len(sides.test[label]) == n
    assert 40 <= len(sides.test["a"]) <= 48
    learn, test = ({p.group for some in side.values() for p in some} for side in (sides.learn, sides.test))
    assert not learn & test


def test_the_split_depends_on_names_alone():
    suite = images({"a": 30, "b": 30})
    assert split_sides(suite) == split_sides(suite[::-1])


def test_a_label_that_is_too_small_is_left_out():
    assert set(split_sides(images({"a": 40, "b": 40, "rare": 4})).learn) == {"a", "b"}


def test_a_large_label_gives_test_no_more_than_its_share():
    assert len(split_sides(images({"a": 2000, "b": 30})).test["a"]) == cut.MAX_LABEL_TEST


# --- plans ------------------------------------------------------------------------------------------------------------


def sides_of(learn, test):
    def side(n):
        return {label: images({label: n}) for label in "abcdefgh"}

    return Sides(side(learn), side(test))


def test_a_ladder_has_the_same_classes_on_every_rung():
    ladder = [plan for plan in plans("o", sides_of(170, 20)) if plan.rung]
    assert [plan.rung for plan in ladder] == [10, 20, 40, 80, 160]
    assert {plan.classes for plan in ladder} == {("a", "b", "c", "d", "e")}
    assert all(plan.per_label == plan.rung for plan in ladder)


def test_a_ladder_ends_where_a_class_has_no_more():
    assert [plan.rung for plan in plans("o", sides_of(79, 20)) if plan.rung] == [10, 20, 40]
    assert [plan.rung for plan in plans("o", sides_of(19, 20)) if plan.rung] == []


def test_many_images_give_a_large_task():
    assert [plan.per_label for plan in plans("o", sides_of(300, 20)) if plan.name == "o-large"] == [400]
    assert not [plan for plan in plans("o", sides_of(100, 20)) if plan.name == "o-large"]


def test_too_few_test_images_give_no_task():
    assert plans("o", sides_of(100, 6)) == []
    assert plans("o", sides_of(100, 7)) != []


def test_no_two_tasks_of_an_origin_learn_from_the_same_images():
    cuts = plans("o", sides_of(10, 20))
    learned = [(plan.classes, min(plan.per_label, 10)) for plan in cuts]
    assert len(learned) == len(set(learned))


def test_plans_are_the_same_every_time():
    assert plans("o", sides_of(60, 20)) == plans("o", sides_of(60, 20))
    assert plans("o", sides_of(60, 20)) != plans("p", sides_of(60, 20))


# --- finders ----------------------------------------------------------------------------------------------------------


def test_folders_give_each_file_once_and_few_frames_of_an_animation(tmp_path):
    for index in range(9):
        save(tmp_path / "images" / "tux" / f"walk-{index}.png")
    save(tmp_path / "images" / "tux" / "jump.png")
    save(tmp_path / "images" / "other.jpg")
    classes = {"tux": ("tux",), "all": ("*",)}
    origin = Origin("o", ("some-data",), "images", classes, is_animated=True)
    files = found_by(origin, tmp_path)
    assert [(label, name) for label, name, _ in files] == [
        ("all", "other.jpg"),
        ("tux", "tux/jump.png"),
        *(("tux", f"tux/walk-{index}.png") for index in range(gather.MAX_FRAMES)),
    ]
    assert {group for _, name, group in files if "walk" in name} == {"tux/walk"}


def test_an_icon_is_found_once_in_its_largest_size_up_to_256(tmp_path):
    for size in ("16x16", "32x32", "64x64", "512x512"):
        save(tmp_path / size / "apps" / "mail.png")
    for size in ("22", "96"):
        save(tmp_path / "apps" / size / "clock.png")
    origin = Origin("o", ("some-data",), "", {"apps": ("apps",)}, "icons")
    icons = list(gather.FINDERS["icons"](origin, [package(tmp_path)]))
    assert sorted(f.item.relative_to(tmp_path).as_posix() for f in icons) == [
        "64x64/apps/mail.png",
        "apps/96/clock.png",
    ]


def test_a_flag_and_its_shield_share_a_group(tmp_path):
    for name in ("wales-large.png", "wales-shield-large.png", "wales.png"):
        save(tmp_path / "flags" / name)
    classes = {"shield": ("flags/*-shield-large.png",), "flag": ("flags/*-large.png",)}
    origin = Origin("o", ("some-data",), "", classes, "flags")
    assert found_by(origin, tmp_path) == [
        ("flag", "flags/wales-large.png", "flags/wales"),
        ("shield", "flags/wales-shield-large.png", "flags/wales"),
    ]


def test_frames_are_cut_from_the_largest_sheet(tmp_path):
    worker = tmp_path / "miner"
    frames = [np.full((5, 4, 3), 20 * number, np.uint8) for number in range(6)]
    sheet = np.concatenate([np.concatenate(frames[3 * row : 3 * row + 3], axis=1) for row in range(2)])
    save(worker / "walk_ne_1.png", sheet[::2])
    save(worker / "walk_ne_4.png", sheet)
    save(worker / "walk_ne_4_pc.png", sheet)
    (worker / "init.lua").write_text(
        "wl.X { name = 'x', spritesheets = { walk = { fps = 10, frames = 6, columns = 3, rows = 2, "
        "hotspot = { 1, 2 } }, idle = { frames = 5, hotspot = { 3, 4 } } } }"
    )
    origin = Origin("o", ("some-data",), "", {"miner": ("miner",)}, "workers")
    sheets = list(gather.FINDERS["workers"](origin, [package(tmp_path)]))
    assert [int(f.name.split()[-1]) for f in sheets] == [0, 1, 3, 4]
    assert [np.asarray(f.item().convert("RGB"))[0, 0, 0] for f in sheets] == [0, 20, 60, 80]
    assert {np.asarray(f.item()).shape for f in sheets} == {(5, 4, 4)}


def test_emoji_are_found_by_subcategory_and_by_tone(tmp_path):
    tones = {
        "1F3FB": {"image": "a-light.png", "has_img_google": True},
        "1F3FF": {"image": "a-dark.png", "has_img_google": True},
    }
    entries = [
        {"image": "a.png", "has_img_google": True, "subcategory": "hand", "skin_variations": tones},
        {"image": "b.png", "has_img_google": False, "subcategory": "hand"},
        {"image": "c.png", "has_img_google": True, "subcategory": "food"},
    ]
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "emoji.json").write_text(json.dumps(entries))
    by_kind = Origin("o", ("emoji",), "", {"hands": ("hand",)}, "emoji")
    assert found_by(by_kind, tmp_path) == [("hands", f"a{tone}.png", "a.png") for tone in ("-dark", "-light", "")]
    by_tone = Origin("o", ("emoji",), "", {"light": ("1F3FB",), "dark": ("1F3FF",)}, "tones")
    assert found_by(by_tone, tmp_path) == [("dark", "a-dark.png", "a.png"), ("light", "a-light.png", "a.png")]


def test_a_class_without_an_image_is_an_error(tmp_path):
    save(tmp_path / "a" / "1.png")
    origin = Origin("some", ("some-data",), "", {"a": ("a",), "b": ("b",)})
    with pytest.raises(SystemExit, match=r"some: nothing for b in some-data 1\.0"):
        gather.gather(origin, [package(tmp_path)], tmp_path / "out")


def test_gathered_images_are_small_and_what_is_none_is_counted(tmp_path):
    save(tmp_path / "a" / "wide.png", noise(300, 600))
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    origin = Origin("some", ("some-data",), "", {"a": ("a",)})
    gathered = gather.gather(origin, [package(tmp_path)], tmp_path / "out")
    assert (len(gathered.images), gathered.n_unreadable) == (1, 1)
    with Image.open(tmp_path / "out" / gathered.images[0].path) as image:
        assert image.size == (256, 128)


# --- glyphs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def font(tmp_path):
    """The font that Pillow carries, as a file."""
    path = tmp_path / "Some-Regular.ttf"
    path.write_bytes(ImageFont.load_default(size=20).font_bytes)
    return path


def test_a_glyph_is_whole_and_in_the_middle(font):
    ink = np.asarray(glyphs.render(font, "H")) < 128
    rows, columns = np.where(ink)
    assert ink.shape == (glyphs.SIDE_PX, glyphs.SIDE_PX)
    assert abs(rows.min() - (glyphs.SIDE_PX - 1 - rows.max())) <= 2
    assert abs(columns.min() - (glyphs.SIDE_PX - 1 - columns.max())) <= 2


def test_an_empty_glyph_is_refused(font):
    with pytest.raises(ValueError, match="nothing to show"):
        glyphs.render(font, " ")


def test_letters_are_found_in_fonts_that_have_them(font):
    assert "A" in glyphs.characters(font)
    assert "ก" not in glyphs.characters(font)


def test_the_domain_of_glyphs_has_no_font_that_a_task_shows():
    origins = [origin for origin in ORIGINS if origin.how == "families"]
    shown = [Path(f"{stem}.ttf") for origin in origins for stems in origin.classes.values() for stem in stems]
    assert any(map(gather.is_spared, shown))
    others = [Path(f"Family{number}-Regular.ttf") for number in range(30)]
    for font in (*shown, *others):
        assert not (gather.has_letters_for(font, is_domain=True) and gather.has_letters_for(font, is_domain=False))
    assert not any(gather.has_letters_for(font, is_domain=True) for font in shown)
    assert any(gather.has_letters_for(font, is_domain=True) for font in others)


@pytest.mark.parametrize("number", range(12))
def test_all_styles_of_a_family_are_on_one_side(number):
    styles = ("-Regular", "-BoldItalic", "Mono-Regular", "Condensed-Bold", "_Oblique", "")
    sides = {
        tuple(
            gather.has_letters_for(Path(f"Family{'abcdefghijkl'[number]}{style}.otf"), is_domain=side)
            for side in (True, False)
        )
        for style in styles
    }
    assert len(sides) == 1


def test_collections_that_share_images_have_one_origin(tmp_path):
    plan, sides = next(iter(plans("emoji-hands", sides_of(30, 20)))), sides_of(30, 20)
    about = json.loads((cut.write_task(plan, sides, tmp_path, "emoji-hands") / "task.json").read_text())
    assert about == {"name": plan.name, "origin": "emoji-people"}
    names = {origin.name for origin in ORIGINS}
    assert names >= {*SHARED, *SHARED.values()}
    assert not set(SHARED) & set(SHARED.values())  # no chains


# --- packages ---------------------------------------------------------------------------------------------------------


def test_a_package_in_the_cache_is_unpacked_without_a_network(tmp_path):
    content = tmp_path / "content"
    save(content / "usr" / "share" / "some" / "a.png")
    copyright_file = content / "usr" / "share" / "doc" / "some-data" / "copyright"
    copyright_file.parent.mkdir(parents=True)
    copyright_file.write_text("Files: *\nLicense: CC0-1.0\n\nLicense: GPL-2+\n text\n")
    (content / "DEBIAN").mkdir()
    (content / "DEBIAN" / "control").write_text(
        "Package: some-data\nVersion: 2:1.5-1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: d\n"
    )
    (tmp_path / "debs").mkdir()
    archive = tmp_path / "debs" / "some-data_2%3a1.5-1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(content), str(archive)], check=True, capture_output=True)
    unpacked_package = unpacked("some-data", tmp_path)
    assert (unpacked_package.version, unpacked_package.licence) == ("2:1.5-1", "CC0-1.0; GPL-2+")
    assert (unpacked_package.root / "usr/share/some/a.png").is_file()
    wild.keep_licences([unpacked_package], tmp_path / "suite")
    assert "CC0-1.0" in (tmp_path / "suite" / "licences" / "some-data").read_text()
    archive.rename(archive.with_name("some-data_1.6-1_all.deb"))
    assert unpacked("some-data", tmp_path).root != unpacked_package.root


def test_a_package_that_cannot_be_had_is_named_with_the_next_step(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match=r"some-data.*apt-get update"):
        unpacked("some-data", tmp_path)


def test_a_copyright_file_of_another_form_is_pointed_at(tmp_path):
    terms = tmp_path / "copyright"
    assert licences(terms, "some-data") == "not stated"
    terms.write_text("It is in the public domain.\n")
    assert licences(terms, "some-data") == "see licences/some-data"
    terms.write_text("License: the packaging is distributed under the same licence as the\n rest\n\nLicense: OFL-1.1\n")
    assert licences(terms, "some-data") == "OFL-1.1"


# --- the whole way ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """The digits' part of the suite: it needs no package."""
    out = tmp_path_factory.mktemp("suite")
    wild.build_all(out, cache=out / "cache", only=["digits"])
    return out


def test_the_digits_become_tasks_that_scalepred_reads(suite):
    (origin,) = json.loads((suite / "manifest.json").read_text(encoding="utf-8"))["origins"]
    assert origin["packages"][0]["name"] == DIGITS
    assert origin["packages"][0]["licence"] == "BSD-3-Clause"
    ladder = [task for task in origin["tasks"] if task["rung"]]
    assert [task["n_train"] + task["n_val"] for task in ladder] == [5 * rung for rung in (10, 20, 40, 80)]
    task = read_task(str(suite / "tasks" / "digits-040"), image_px=16)
    assert task.record.task_id == ladder[2]["task_id"]
    assert task.record.origin == "digits"
    assert len({each["n_test"] for each in ladder}) == 1


def test_a_second_build_gives_the_same_tasks(suite, tmp_path):
    wild.build_all(tmp_path, cache=tmp_path / "cache", only=["digits"])
    first, again = (json.loads((out / "manifest.json").read_text(encoding="utf-8")) for out in (suite, tmp_path))
    assert first == again


def test_what_is_built_is_not_built_again(suite, capsys):
    wild.build_all(suite, cache=suite / "cache", only=["digits"])
    assert capsys.readouterr().out == ""


def test_glyphs_are_not_drawn_without_the_library_that_lays_them_out(tmp_path, monkeypatch):
    monkeypatch.setattr(wild.features, "check", lambda name: name != "raqm")
    with pytest.raises(SystemExit, match="apt-get install libfribidi0"):
        wild.build_all(tmp_path, cache=tmp_path, only=["family-lato"])


def test_an_unknown_origin_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="No origin nothing; choose from clipart-animals"):
        wild.build_all(tmp_path, cache=tmp_path, only=["nothing"])


def test_a_contact_sheet_shows_every_class(suite):
    (sheet,) = write_sheets(suite)
    with Image.open(sheet) as image:
        assert image.height == 10 * 64


def test_counts_are_those_of_the_manifest(suite, capsys):
    counts.print_counts(json.loads((suite / "manifest.json").read_text(encoding="utf-8")))
    assert "tasks of 1 collections, held out as 1 origins; 1 ladders, 0 of them whole" in capsys.readouterr().out


def test_what_collections_and_domains_share_is_told(tmp_path, capsys):
    places = {"some/a": [0, 1, 2, 3], "other/b": [3, 4], "domain/c": [1, 9], "far/d": [7, 8]}
    for place, numbers in places.items():
        (tmp_path / "pictures" / place).mkdir(parents=True)
        for number in numbers:
            (tmp_path / "pictures" / place / f"{number}.png").write_bytes(bytes([number]))
    for kind, name, of in (("tasks", "x", "some/a"), ("tasks", "y", "other/b"), ("tasks", "z", "far/d")):
        task_of(tmp_path / kind / name, of, places[of])
    task_of(tmp_path / "domains" / "domain", "domain/c", places["domain/c"])
    print_shared(tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "50.0% other, some: 1 of 2 images",
        "domain: 1 of 2 images are in 1 of 3 tasks",
    ]


def task_of(folder, place, numbers):
    folder.mkdir(parents=True)
    cut.write_manifest(folder, [(SuiteImage(f"pictures/{place}/{n}.png", "label", "group"), "train") for n in numbers])


# --- the harvest and its pilot ----------------------------------------------------------------------------------------


def manifest_of(sizes):
    """Return a manifest of origins with tasks of so many images to learn from, numbered."""
    tasks = {origin: [{"name": f"{origin}-{n}", "n_train": n} for n in each] for origin, each in sizes.items()}
    return {"origins": [{"origin": origin, "tasks": each} for origin, each in tasks.items()]}


def test_a_stage_takes_every_origins_first_task_before_any_second():
    manifest = manifest_of({"a": [10, 20, 30, 4000], "b": [10, 20], "c": [10]})
    stage = Stage(what="", sources=(), recipes={}, max_train=100)
    names = chosen(stage, manifest)
    assert [sorted(name[0] for name in turn) for turn in (names[:3], names[3:5], names[5:])] == [
        ["a", "b", "c"],
        ["a", "b"],
        ["a"],
    ]
    assert "a-4000" not in names
    assert chosen(replace(stage, n_tasks=2), manifest) == names[:2]


def test_a_stages_command_holds_its_tasks_sources_and_recipes(tmp_path):
    stage = Stage(what="", sources=("x", "y"), recipes={"small": Recipe(image_px=32)}, tasks=("t",), n_seeds=3)
    command = harvest_command(stage, {}, Path("suite"), tmp_path)
    assert command[3:] == (
        f"harvest suite/tasks/t --source x --source y --recipe {tmp_path}/small.json --seeds 3 --dtype float32".split()
    )
    assert load_recipe(str(tmp_path / "small.json")) == Recipe(image_px=32)


def test_the_pilots_variants_differ_in_one_thing_each():
    changed = []
    for variants in pilot.ROUNDS:
        first, *others = (json.loads(recipe.to_json()) for recipe in variants.values())
        changed.append([{name for name in other if other[name] != first.get(name)} for other in others])
    assert changed[0] == [{"batchnorm"}, {"augmentation"}, {"augmentation"}, {"schedule"}, {"warmup_epochs"}]
    assert changed[1] == [{"augmentation"}, {"schedule"}]
    assert changed[2] == [{"batchnorm", "multipliers"}]
    assert changed[3] == [{"schedule"}]
    assert [pilot.VARIANTS[name] for name in pilot.SCHEDULES] == list(pilot.SCHEDULES.values())


def test_the_table_compares_variants_on_tasks_that_all_have_finished():
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(
        pilot.compared(pilot_rows(best={"graduated": 60, "frozen": 90}), pilot.VARIANTS, SOURCE.source_id, "net")
    )
    lines = console.export_text().splitlines()
    assert "net: 2 tasks" in lines[0]
    (frozen,) = (line for line in lines if "frozen" in line)
    cells = [cell.strip() for cell in frozen.split("│")[1:8]]
    assert cells == ["frozen", "3", "90.0 %", "+30.0 (+30.0 to +30.0)", "", "2 / 0", "0.0 %"]


def test_the_schedules_are_compared_over_all_domains_a_task_once():
    assert pilot.on_domains(pilot_rows(best={"cosine": 70})).endswith("together, 0 tasks: not harvested")
    icons, glyphs = (replace(SOURCE, name=name, source_id=name[0] * 32) for name in ("icons", "glyphs"))
    rows = snapshot.Rows(tasks=[], sources=[icons, glyphs], recipes=[], runs=[], harvested=None)
    for source, best in ((icons, 70), (glyphs, 80)):
        by_schedule = pilot_rows(best={"cosine": best})
        rows.tasks[:], rows.recipes[:] = by_schedule.tasks, by_schedule.recipes
        rows.runs.extend(
            replace(run, source_id=source.source_id, run_id=f"{source.name}{at}")
            for at, run in enumerate(by_schedule.runs)
            if source is icons or run.task_id != by_schedule.tasks[2].task_id
        )
    harvested = harvested_module.build(
        tasks=rows.tasks, sources=rows.sources, recipes=rows.recipes, features=[], runs=rows.runs
    )
    told = pilot.on_domains(replace(rows, harvested=harvested))
    assert "together, 3 tasks: +13.3 (" in told  # (15 + 15 + 10) / 3


def test_equal_recipes_rarely_win_clearly():
    rng = np.random.default_rng(0)
    hard = rng.standard_normal((1000, 1, 1, 200))  # some images are hard for every run
    luck = 0.1 * rng.standard_normal((1000, 2, 3, 1)) + 0.3 * rng.standard_normal((1000, 2, 3, 200))
    right = np.where(hard + luck < 0.5, 1.0, 0.0)
    noise = pilot.seed_noise(list(right[:, 0]))
    clear = [abs(pilot._apart(one, other, run_noise=noise)) > pilot.CLEAR for one, other in right]
    assert 0.01 < np.mean(clear) < 0.06
    assert pilot.seed_noise([right[0, 0, :1]]) == RUN_NOISE


def test_origins_of_one_package_are_held_out_together():
    rows = pilot_rows(best={})
    grid = rows.harvested.table
    origins = ("clipart-animals", "clipart-food", "my own")
    named = replace(rows.harvested, table=replace(grid, origins=tuple(origins[i % 3] for i in range(len(grid.names)))))
    assert held_out.by_package(named).table.origins[:3] == ("openclipart-png", "openclipart-png", "my own")
    assert held_out.tables(rows) == []  # too few packages


def test_what_carries_over_is_told_of_tasks_that_have_met_all():
    rows = snapshot.Rows(tasks=[], sources=[replace(SOURCE, name=DEFAULT_SOURCE)], recipes=[], runs=[], harvested=None)
    small, large = carried.SIZES[64], carried.SIZES[128]
    best = {small: (3, 60, 2.0), large: (5, 80, 8.0)}
    for recipe in best:
        rows.recipes.append(RecipeRecord(recipe_id=recipe.recipe_id, name=str(recipe.image_px), json=recipe.to_json()))
    for index, name in enumerate(carried.LARGE[:3]):
        task = replace(TASK, task_id=str(index) * 32, name=name, origin=name, n_val=10, n_test=100)
        rows.tasks.append(task)
        for recipe, (at, n_right, seconds) in best.items():
            met = {"recipe_id": recipe.recipe_id, "seconds": seconds}
            if (index, recipe) == (1, large):  # so only the first task tells what a CPU takes
                met |= {"device": "cuda (H100)", "seconds": 0.5}
            if index < 2:
                rows.runs.extend(grid_of(task, lambda s, at=at, n=n_right: n if s == at else 50, **met))
            elif recipe == small:  # has no say: it has not met the other size
                rows.runs.extend(grid_of(task, lambda s: 100 if s == 10 else 10, **met))
    harvested = harvested_module.build(
        tasks=rows.tasks, sources=rows.sources, recipes=rows.recipes, features=[], runs=rows.runs
    )
    console = Console(width=160, record=True, file=io.StringIO())
    members = [carried.AT_SIZE[px] for px in (64, 128)]
    console.print(carried.compared(replace(rows, harvested=harvested), "sizes", members, carried.LARGE))
    lines = console.export_text().splitlines()
    assert "sizes: 2 tasks" in lines[0]
    shown = [[cell.strip() for cell in line.split("│")[1:11]] for line in lines if "│" in line]
    assert shown[0] == ["64 px", "3", "60.0 %", "", "60.0 %", "60.0 %", "60.0 %", "", "", "2.0"]
    gain = "+20.0 (+20.0 to +20.0)"
    assert shown[1] == ["128 px", "5", "80.0 %", gain, "50.0 %", "80.0 %", "50.0 %", "", "", "8.0"]


@pytest.mark.parametrize("tasks_differ", [True, False])
def test_best_scales_go_together_by_what_tasks_share_and_not_by_single_images(tasks_differ):
    rng, n_tasks = np.random.default_rng(0), 60
    optima = 1 + 3 * tasks_differ * rng.uniform(-1, 1, n_tasks)
    accuracies = fakes.true_accuracies(optima)
    hard = rng.random((n_tasks, len(fakes.SCALES), 1, 80))  # which image at which scale: the same for both
    correct = list((accuracies[:, :, None, None] > hard).astype(float))
    told = carried.correlation(correct, correct, fakes.SCALES, tuple(map(str, range(n_tasks))))
    low, high = (float(bound) for bound in told.split("(")[1].strip(")").split(" to "))
    assert low > 0.3 if tasks_differ else low < 0 < high


def grid_of(task, n_right, **parts):
    """Return a run of the task at every scale with so many test images right."""
    parts = {"task_id": task.task_id, "source_id": SOURCE.source_id} | parts
    own = {key: parts[key] for key in ("task_id", "source_id", "recipe_id")}
    for scale in GRID:
        test, val = (np.packbits(np.arange(n) < n_right(scale) * n / 100).tobytes() for n in (100, task.n_val))
        named = run_id(**own, scale=scale, seed=0)
        yield make_run(scale, **parts, run_id=named, test_correct=test, val_correct=val)


def pilot_rows(best):
    """Return rows of three tasks, of which one lacks a variant; scale 3 is best, and variants tie but for ``best``."""
    rows = snapshot.Rows(tasks=[], sources=[SOURCE], recipes=[], runs=[], harvested=None)
    for name, recipe in pilot.VARIANTS.items():
        rows.recipes.append(RecipeRecord(recipe_id=recipe.recipe_id, name=name, json=recipe.to_json()))
    for index, name in enumerate(pilot.TASKS[:3]):
        task = replace(TASK, task_id=str(index) * 32, name=name, origin=name, n_val=5, n_test=100)
        rows.tasks.append(task)
        for variant, recipe in list(pilot.VARIANTS.items())[: 5 if index == 2 else None]:
            at_best = best.get(variant, 60)
            rows.runs.extend(grid_of(task, lambda s, n=at_best: n if s == 3 else 50, recipe_id=recipe.recipe_id))
    harvested = harvested_module.build(
        tasks=rows.tasks, sources=[SOURCE], recipes=rows.recipes, features=[], runs=rows.runs
    )
    return replace(rows, harvested=harvested)


def test_a_points_passes_and_steps_are_counted_by_its_images_size_and_epochs():
    recipe = Recipe(epochs=10, batch_size=8, image_px=128)
    point = DesignPoint(index=0, data="t", source="s", recipe=recipe, n_images=None, n_seeds=1)
    assert (points.passes(point, 20), points.steps(point, 20)) == (20 * 10 * 4, 10 * 3)
    few = replace(point, n_images=8)
    assert (points.passes(few, 20), points.steps(few, 20)) == (8 * 10 * 4, 10)
    manifest = {"origins": [{"tasks": [{"name": "t", "n_train": 20}]}]}
    assert points.sizes_of(manifest) == {"t": 20}

"""Images in whose path a pattern finds the same text share a split."""

import pytest
from image_files import make_classes, noise, save, write_manifest
from readings import refusal

from scalepred.data.layout import Layout
from scalepred.data.task import inspect, read_task


@pytest.fixture
def frames(tmp_path):
    """Return class folders with frames of ten clips for each class, four frames each, and one photo without a clip."""
    for at, name in enumerate("ab"):
        for clip in range(10):
            for frame in range(4):
                save(tmp_path / "12" / name / f"clip{10 * at + clip}_{frame}.png", noise(seed=[at, clip, frame]))
    save(tmp_path / "12" / "a" / "photo.png", noise(seed=99))
    return tmp_path / "12"


def test_images_of_a_group_share_a_split_and_the_groups_are_counted(frames):
    task = read_task(frames, layout=Layout(group_pattern=r"clip(\d+)_"))
    assert task.inspection.warnings == [
        "--group-pattern finds 20 groups in 80 images; 1 image is in none and stands alone"
    ]
    clips = [{path.rpartition("_")[0] for path in getattr(task, name).paths} for name in ("train", "val", "test")]
    assert clips[0] & clips[1] == clips[0] & clips[2] == clips[1] & clips[2] == set()
    assert min(map(len, clips)) >= 2


def test_nothing_above_the_data_is_looked_at(frames):
    words = refusal(frames, layout=Layout(group_pattern=r"(12)/"))
    assert words == r"--group-pattern '(12)/' finds nothing in any of 81 paths, such as 'a/clip0_0.png'."


def test_nothing_above_the_images_of_a_manifest_is_looked_at(tmp_path):
    make_classes(tmp_path / "site7" / "photos")
    rows = [f"photos/{name}/{index}.png,{name}" for name in "ab" for index in range(6)]
    manifest = write_manifest(tmp_path / "site7" / "m.csv", rows)
    words = refusal(manifest, layout=Layout(group_pattern=r"site\d"))
    assert words.endswith("finds nothing in any of 12 paths, such as 'a/0.png'.")


def test_images_of_a_manifest_without_a_group_take_that_of_the_pattern(tmp_path):
    make_classes(tmp_path)
    rows = [f"{name}/{index}.png,{name},{'mine' if index == 0 else ''}" for name in "ab" for index in range(6)]
    manifest = write_manifest(tmp_path / "m.csv", rows, header="path,label,group")
    inspection = inspect(manifest, layout=Layout(group_pattern=r"(\d)\.png"))
    assert inspection.warnings[0] == "--group-pattern finds 6 groups in 12 images"

"""What a user says of the layout on the command line, and what is told of it, end to end."""

import json
import shlex

import pytest
from image_files import make_classes, noise, save


def flat(folder, n=6):
    for at, label in enumerate(("cat", "dog")):
        for index in range(n):
            save(folder / f"{label}.{index}.png", noise(seed=[at, index]))


@pytest.mark.parametrize("inside", ["", "train", "photos", "train/train"])
def test_the_command_that_a_flat_folder_is_told_reads_it(run, tmp_path, inside):
    data = tmp_path / "my images"
    flat(data / inside)
    code, _, told = run("inspect", data)
    words = shlex.split(told.partition("`")[2].partition("`")[0])
    assert (code, words) == (3, ["scalepred", "inspect", str(data), "--label-pattern", "{label}.*"])
    code, out, _ = run(*words[1:], "--json")
    assert (code, json.loads(out)["classes"]) == (0, {"cat": 6, "dog": 6})


def test_every_option_of_folders_reaches_the_data(run, tmp_path):
    for name in "abc":
        make_classes(tmp_path / "t" / name, names=("x1", "y2"), n=4, seed=ord(name))
    save(tmp_path / "t" / "c" / "few" / "0.png", noise(seed=5))

    def classes(*options):
        code, out, err = run("inspect", tmp_path / "t", "--json", *options)
        assert code == 0, err
        return json.loads(out)["classes"]

    assert classes() == {"a": 8, "b": 8, "c": 9}
    assert classes("--class-depth", "2") == {"few": 1, "x1": 12, "y2": 12}
    assert classes("--class-depth", "2", "--min-images", "2") == {"x1": 12, "y2": 12}
    assert len(classes("--class-depth", "path")) == 7
    assert classes("--exclude-class", "a") == {"b": 8, "c": 9}
    assert run("inspect", tmp_path / "t", "--exclude-class", "a", "--exclude-class", "b")[0] == 3
    assert (
        "finds 2 groups in 24 images; 1 image is in none"
        in run("inspect", tmp_path / "t", "--group-pattern", r"[xy]\d")[1]
    )


def test_what_is_set_aside_is_in_the_document_and_strict_ends_with_code_3(run, tmp_path):
    make_classes(tmp_path / "t" / "train")
    make_classes(tmp_path / "t" / "test", names="abc", n=3, seed=1)
    code, out, _ = run("inspect", tmp_path / "t", "--json")
    assert (code, json.loads(out)["set_aside"]) == (
        0,
        [{"class": "c", "images": 3, "reason": "no training images"}],
    )
    assert run("inspect", tmp_path / "t", "--strict")[0] == 3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--class-depth", "0"),
        ("--class-depth", "9" * 5_000),
        ("--class-depth", "deep"),
        ("--label-pattern", "("),
        ("--group-pattern", "("),
        ("--exclude-class", "zebra"),
    ],
)
def test_values_that_can_not_be_used_are_errors_of_usage(run, tmp_path, option, value):
    code, out, err = run("inspect", make_classes(tmp_path / "t", n=1), option, value)
    assert (code, out) == (2, "")
    assert err.startswith(f"scalepred: {option} ")


@pytest.mark.slow
def test_a_model_of_labels_from_names_has_their_classes_and_none_that_is_set_aside(run, tmp_path):
    flat(tmp_path / "t" / "train", n=10)
    flat(tmp_path / "t" / "test", n=3)
    save(tmp_path / "t" / "test" / "ant.0.png", noise(seed=77))
    recipe = tmp_path / "quick.json"
    recipe.write_text(json.dumps({"epochs": 1, "image_px": 32, "batch_size": 16}))
    output = ("--output", tmp_path / "model", "--recipe", recipe, "--json")
    code, out, err = run("finetune", tmp_path / "t", "--scale", "1", "--label-pattern", "{label}.*", *output)
    assert code == 0, err
    assert json.loads(out)["classes"] == ["cat", "dog"]
    assert "1 class is set aside with 1 image (no training images): 'ant'" in err


@pytest.mark.slow
def test_classes_are_numbered_by_name_though_a_split_lacks_one(run, tmp_path):
    for channel, name in enumerate(("bird", "cat", "dog")):
        for index in range(16):
            pixels = noise(seed=[3, channel, index]) // 2
            pixels[..., channel] = 255
            split = "train" if index < 12 else "test"
            if (split, name) != ("test", "cat"):
                save(tmp_path / "t" / split / name / f"{index}.png", pixels)
    (tmp_path / "t" / "test" / "cat").mkdir()
    code, out, err = run("finetune", tmp_path / "t", "--probe", "--output", tmp_path / "model", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["test_accuracy"] == 1
    code, out, err = run("classify", tmp_path / "model", tmp_path / "t" / "test", "--json")
    assert code == 0, err
    images = json.loads(out)["images"]
    assert len(images) == 8
    assert {(each["path"].split("/")[-2], each["label"]) for each in images} == {("bird", "bird"), ("dog", "dog")}

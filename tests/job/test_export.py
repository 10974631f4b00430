"""A model that is exported computes the same elsewhere, or is not written."""

import dataclasses
import json
import re
import sys
import warnings
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from fakes import TINY, write_task
from PIL import Image
from saved_models import NASTY, photographs, saved

from scalepred.data.load import load_images
from scalepred.errors import DataError, UsageError
from scalepred.job import export as export_module
from scalepred.job.classifier import load
from scalepred.job.export import FORMATS, drawn_images, export
from scalepred.job.export_files import read_onnx, read_timm, read_torchscript
from scalepred.job.folder import load_model
from scalepred.job.pixel_network import calibrated_network, pixel_network

pytestmark = pytest.mark.slow

PX = 32
NETWORKS = {
    "efficientnet_lite0": 64,
    "torchvision/mobilenet_v3_small": 64,
    "resnet27/8": 32,
    "timm/vit_tiny_patch16_224:img_size=32,patch_size=8": 32,
    "efficientnet_lite0+stages": 64,
    "efficientnet_lite0+stages3": 64,
    "timm/vit_tiny_patch16_224:img_size=32,patch_size=8+stages3": 32,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models") / "birds", TINY, image_px=PX)


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "new").mkdir()
    for at, each in enumerate(photographs()):
        Image.fromarray(each).save(tmp_path / "new" / f"{at}.png")
    return sorted((tmp_path / "new").iterdir())


def scripted(path):
    """Load TorchScript with its metadata, without the warning that it is deprecated."""
    extra = {"classes": "", "scalepred": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(str(path), _extra_files=extra), extra


def squares(paths, px=PX):
    return load_images(paths, image_px=px).images


@pytest.mark.parametrize(("name", "image_px"), NETWORKS.items())
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_every_kind_of_network_gives_the_probabilities_of_classify_on_batches_of_any_size(
    tmp_path, paths, name, image_px, kind
):
    model, target = saved(tmp_path / "model", name, image_px=image_px), tmp_path / "out"
    exported = export(model, kind=kind, output=target, images=paths)
    assert (exported.n_images, exported.generated) == (len(paths), False)
    assert exported.difference < 1e-4
    expected = load(model, device="cpu").predict_proba(paths)
    computed = {"onnx": read_onnx, "torchscript": read_torchscript}[kind](target, load_model(model))
    for n in (1, 3, len(paths)):
        np.testing.assert_allclose(computed(squares(paths, image_px)[:n]), expected[:n], rtol=1e-2, atol=1e-6)


def test_an_onnx_file_says_what_it_takes_and_has_the_classes_whatever_their_names(folder, tmp_path):
    export(folder, kind="onnx", output=tmp_path / "birds.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "birds.onnx", providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("images", "tensor(uint8)", ["n", 3, PX, PX])
    assert (given.name, given.shape) == ("probabilities", ["n", len(NASTY)])
    about = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(about["classes"])) == NASTY
    assert about["classes"].isascii()
    assert json.loads(about["scalepred"])["resize"] == "squash"
    onnx.checker.check_model(onnx.load(tmp_path / "birds.onnx"), full_check=True)


def test_a_torchscript_file_has_the_classes_whatever_their_names(folder, tmp_path):
    export(folder, kind="torchscript", output=tmp_path / "birds.pt")
    network, extra = scripted(tmp_path / "birds.pt")
    assert network(torch.zeros(2, 3, PX, PX, dtype=torch.uint8)).shape == (2, len(NASTY))
    assert tuple(json.loads(extra["classes"])) == NASTY
    assert json.loads(extra["scalepred"])["image_px"] == PX


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_no_path_of_this_machine_goes_into_the_file(folder, tmp_path, kind):
    export(folder, kind=kind, output=tmp_path / "out")
    content = (tmp_path / "out").read_bytes()
    if kind == "torchscript":
        with zipfile.ZipFile(tmp_path / "out") as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
    places = {each.encode() for each in (str(tmp_path), timm.__file__, torch.__file__, sys.prefix)}
    assert [place for place in places if place in content] == []


def test_a_folder_of_timm_is_loaded_by_timm_alone(folder, tmp_path, paths):
    exported = export(folder, kind="timm", output=tmp_path / "birds", images=paths)
    assert sorted(path.name for path in exported.output.iterdir()) == ["config.json", "model.safetensors"]
    network = timm.create_model(f"local-dir:{exported.output}", pretrained=True)
    assert tuple(network.pretrained_cfg["label_names"]) == NASTY


def test_every_format_has_the_calibrated_probabilities(folder, tmp_path, paths, monkeypatch):
    plain = load(folder, device="cpu").predict_proba(paths)
    expected = torch.from_numpy(plain).log().div(2).softmax(dim=1).numpy()
    warm = dataclasses.replace(load_model(folder), temperature=2.0)
    monkeypatch.setattr(export_module, "load_model", lambda _: warm)
    readers = {"onnx": read_onnx, "torchscript": read_torchscript, "timm": read_timm}
    for name, reader in readers.items():
        export(folder, kind=name, output=tmp_path / name, images=paths)
        computed = reader(tmp_path / name, warm)(squares(paths))
        np.testing.assert_allclose(computed, expected, rtol=1e-2, atol=1e-6)
    assert np.abs(expected - plain).max() > 0.01


def test_the_model_itself_stays_as_it_is(folder):
    model = load_model(folder)
    before = {name: tensor.clone() for name, tensor in model.architecture.network.state_dict().items()}
    for parameter in (*calibrated_network(model).parameters(), *pixel_network(model).parameters()):
        parameter.data.zero_()
    after = model.architecture.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("kind", FORMATS)
def test_what_computes_anything_else_is_not_written(folder, tmp_path, monkeypatch, kind):
    form = FORMATS[kind]

    def another(model, path, *, example):
        head = model.architecture.network.get_submodule(model.architecture.head)
        with torch.no_grad():
            head.bias[0] += 0.05
        form.write(model, path, example=example)

    monkeypatch.setitem(FORMATS, kind, dataclasses.replace(form, write=another))
    with pytest.raises(UsageError, match=f"As {kind} the model gives other probabilities than here: on 32 images"):
        export(folder, kind=kind, output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_a_writer_that_fails_leaves_what_was_there(folder, tmp_path, monkeypatch, kind):
    export(folder, kind=kind, output=tmp_path / "out")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, kind, dataclasses.replace(FORMATS[kind], write=full))
    with pytest.raises(UsageError) as caught:
        export(folder, kind=kind, output=tmp_path / "out", overwrite=True)
    assert str(caught.value) == (
        f"{tmp_path / 'out'} can't be written: No space left on device. Give another --output."
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_network_that_can_not_be_followed_is_told(folder, tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr("torch.onnx.export", refuses)
    with pytest.raises(UsageError) as caught:
        export(folder, kind="onnx", output=tmp_path / "out")
    assert str(caught.value) == "timm/test_resnet can't be written as onnx: no such operator"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["resnet27/8", "timm/test_resnet+stages3"])
def test_a_network_that_timm_has_not_is_refused_as_timms(tmp_path, name):
    model = saved(tmp_path / "model", name, image_px=32)
    with pytest.raises(UsageError) as caught:
        export(model, kind="timm", output=tmp_path / "out")
    assert str(caught.value) == (
        f"timm has no network {name}, so it could not load the folder: give --format onnx or torchscript."
    )


def test_nothing_is_replaced_unless_asked_and_a_model_never(folder, tmp_path):
    for kind in ("torchscript", "timm"):
        target = tmp_path / kind
        export(folder, kind=kind, output=target)
        with pytest.raises(UsageError, match="is there already: give another --output, or --overwrite to replace it"):
            export(folder, kind=kind, output=target)
        export(folder, kind=kind, output=target, overwrite=True)
    with pytest.raises(UsageError, match="is a model of scalepred, and timm reads it as it is"):
        export(folder, kind="timm", output=folder, overwrite=True)
    with pytest.raises(UsageError, match="timm is a folder: give another --output"):
        export(folder, kind="onnx", output=tmp_path / "timm", overwrite=True)
    with pytest.raises(UsageError, match=f"There is no folder {re.escape(str(tmp_path / 'no'))}: give another"):
        export(folder, kind="onnx", output=tmp_path / "no" / "birds.onnx")


def test_a_format_that_is_unknown_and_images_that_are_none_are_told(folder, tmp_path):
    with pytest.raises(UsageError, match="format must be one of onnx, torchscript, timm, not 'tflite'"):
        export(folder, kind="tflite")
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(DataError, match="None of the 1 images to compare on can be read: not an image of JPEG"):
        export(folder, kind="onnx", output=tmp_path / "out", images=[tmp_path / "bad.png"])


def test_without_the_extra_the_error_names_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'scalepred\[onnx\]'"):
        export(folder, kind="onnx")


def test_many_images_are_compared_on_some_of_them(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "AT_MOST", 5)
    task = write_task(tmp_path / "task")
    exported = export(folder, kind="torchscript", output=tmp_path / "out", images=sorted(task.rglob("*.png")))
    assert exported.n_images == 5


def test_drawn_images_are_the_same_every_time_and_differ_from_each_other():
    images = drawn_images(8, image_px=30)
    assert (images.shape, images.dtype) == ((8, 3, 30, 30), np.uint8)
    np.testing.assert_array_equal(images, drawn_images(8, image_px=30))
    contrasts = images.reshape(8, -1).std(axis=1)
    assert contrasts.max() > 2 * contrasts.min() > 0


def test_the_command_exports_to_the_current_folder_and_tells_how_near_it_is(folder, tmp_path, run, monkeypatch, paths):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("export", folder, "--format", "onnx", "--images", tmp_path / "new", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert (document["output"], document["n_images"], document["generated"]) == ("birds.onnx", len(paths), False)
    code, out, err = run("export", folder, "--format", "torchscript")
    assert code == 0, err
    assert out.startswith("birds.pt: torchscript; its probabilities are within ")
    assert out.endswith(" of the model's on 32 drawn images\n")
    assert (tmp_path / "birds.pt").is_file()
    (tmp_path / "none").mkdir()
    assert run("export", folder, "--format", "onnx", "--images", tmp_path / "none")[0] == 3

"""Writes a model as a file of another program, and reads that back as what it computes."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from scalepred import __version__
from scalepred.errors import UsageError
from scalepred.job.folder import CONFIG, WEIGHTS, Model
from scalepred.job.pixel_network import (
    PixelNetwork,
    calibrated_network,
    pixel_network,
    probabilities_of,
)
from scalepred.networks.timm_config import is_of_timm, load_timm, timm_config

Computed = Callable[[np.ndarray], np.ndarray]
"""Takes (n, 3, px, px) uint8 images and returns (n, n_classes) float32 probabilities."""

INPUT, OUTPUT = "images", "probabilities"
"""The names of an exported network's input and output."""

ABOUT, CLASSES = "scalepred", "classes"
"""The keys of an exported file's metadata: what it is, and the classes' names. Both are JSON of ASCII alone."""


def metadata(model: Model) -> dict[str, str]:
    """Return what an exported file says of itself; the names of classes are JSON, so that none can do harm there."""
    about = {
        "scalepred": __version__,
        "architecture": model.architecture.name,
        "input": f"{INPUT}: (n, 3, {model.image_px}, {model.image_px}) uint8, RGB, raw values from 0 to 255",
        "output": f"{OUTPUT}: (n, {len(model.classes)}) float32, in the order of the classes",
        "image_px": model.image_px,
        "resize": model.resize,
        "interpolation": "bicubic",
        "temperature": model.temperature,
    }
    return {ABOUT: json.dumps(about), CLASSES: json.dumps(list(model.classes))}


def check_onnx() -> None:
    """Raise UsageError unless what writes and runs ONNX files is installed."""
    try:
        import onnx  # noqa: F401 - is it there?
        import onnxruntime  # noqa: F401 - is it there?
        import onnxscript  # noqa: F401 - is it there?
    except ImportError as error:
        raise UsageError(f"ONNX needs {error.name}, which is not installed: pip install 'scalepred[onnx]'.") from error


def write_onnx(model: Model, path: Path, *, example: np.ndarray) -> None:
    """Write a model as ONNX, its batch of any size, its classes in the metadata.

    Args:
        model: what to write.
        path: where to.
        example: (n, 3, px, px) uint8 images to follow the network with; n at least 2.
    """
    network, images = pixel_network(model), torch.from_numpy(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own inner workings
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("n")}},
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch's exporter returned nothing")
    proto = _without_traces(program.model_proto)
    for key, value in metadata(model).items():
        proto.metadata_props.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())


def _without_traces(proto: Any) -> Any:
    """Take from an ONNX model what torch notes of its own source files, whose paths are those of this machine."""
    parts = [proto.graph, *proto.functions]
    for part in parts:
        del part.metadata_props[:]
        for each in (*part.node, *part.value_info):
            del each.metadata_props[:]
    for each in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del each.metadata_props[:]
    return proto


def read_onnx(path: Path, _: Model) -> Computed:
    """Return what onnxruntime computes from an ONNX file, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run([OUTPUT], {INPUT: images})[0])


def write_torchscript(model: Model, path: Path, *, example: np.ndarray) -> None:
    """Write a model as TorchScript, by following it on two images; its classes are an extra file in it."""
    buffer = io.BytesIO()  # a file's name would go into it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch deprecates TorchScript, and the documents say so
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]  # torch has left it untyped
            pixel_network(model), torch.from_numpy(example), check_trace=False
        )
        torch.jit.save(traced, buffer, _extra_files=metadata(model))
    with zipfile.ZipFile(buffer) as written, zipfile.ZipFile(path, "w") as file:
        for each in written.infolist():
            if not each.filename.endswith(".debug_pkl"):  # what torch notes of source files, with paths of this machine
                file.writestr(each.filename, written.read(each))


def read_torchscript(path: Path, _: Model) -> Computed:
    """Return what torch computes from a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]  # as above
    return lambda images: probabilities_of(network, images)


def check_timm(model: Model) -> None:
    """Raise UsageError unless timm has a model's network."""
    if not is_of_timm(model.architecture.name):
        raise UsageError(
            f"timm has no network {model.architecture.name}, so it could not load the folder: "
            "give --format onnx or torchscript."
        )


def write_timm(model: Model, folder: Path, *, example: np.ndarray) -> None:
    """Write a folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads.

    The head's weights are divided by the temperature, so the softmax of its logits is the calibrated one.
    """
    del example
    state = calibrated_network(model).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
    config = timm_config(model.architecture, classes=model.classes, image_px=model.image_px, resize=model.resize)
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def read_timm(folder: Path, model: Model) -> Computed:
    """Return what timm computes from a folder, with the normalisation that scalepred has."""
    network = PixelNetwork(model.architecture, load_timm(folder)).eval()
    return lambda images: probabilities_of(network, images)

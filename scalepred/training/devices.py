"""Devices: which one to use, what a person calls it, and whether bfloat16 pays there."""

import contextlib
import ctypes
import platform
import time

import torch
from torch.nn import functional

from scalepred.errors import UsageError
from scalepred.networks.source import Source, new_network, normalise, on_device
from scalepred.recipe import Recipe

PAYS = 1.1
"""bfloat16 is used from this speed-up on, for it costs digits."""

_STEPS = 3

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h

_AT_MOST_BYTES = 1 << 30


def pick_device(name: str, *, index: int = 0) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda", and of several of CUDA the one with this index.

    On CUDA convolutions in float32 are then kept from TF32, torch's default, which has ten bits of mantissa for its 23:
    who wants speed has bfloat16, and numbers of a CPU and of CUDA can be compared.

    Raises:
        UsageError: if CUDA is wanted and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UsageError("There is no CUDA device here: use --device cpu, or auto.")
    if not has_cuda or name == "cpu":
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", index)


def device_name(device: torch.device) -> str:
    """Return the device as a person would name it, such as "cpu (x86_64, 2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def keep_freed_memory() -> None:
    """Have this process keep what it frees, where the C library is glibc; elsewhere this does nothing.

    Otherwise the maps of a training step are handed back to the system and asked for anew in every step, which took
    a sixth of its time (log of 2026-11-25).
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # the last where CDLL takes no None
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _AT_MOST_BYTES)
        mallopt(_TRIM_THRESHOLD, _AT_MOST_BYTES)


def has_bfloat16(device: torch.device) -> bool:
    """Say whether a device computes in bfloat16 by itself rather than through float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch has left it untyped
    return bool(has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pick_dtype(source: Source, recipe: Recipe, device: torch.device) -> torch.dtype:
    """Return bfloat16 where three steps of training a source are clearly faster in it, else float32."""
    if not has_bfloat16(device):
        return torch.float32
    plain, short = (_step_seconds(source, recipe, device, dtype) for dtype in (torch.float32, torch.bfloat16))
    return torch.bfloat16 if plain >= PAYS * short else torch.float32


def _step_seconds(source: Source, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> float:
    """Return the least seconds of three steps on random images, after one that warms up."""
    generator = torch.Generator().manual_seed(0)
    network = on_device(new_network(source, n_classes=2, generator=generator), device).train()
    shape = (min(8, recipe.batch_size) if device.type == "cpu" else recipe.batch_size, 3, *(recipe.image_px,) * 2)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(device)
    seconds = []
    for _ in range(1 + _STEPS):
        started = time.perf_counter()
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = network(normalise(images, source.architecture))
            loss = functional.cross_entropy(logits, torch.zeros(len(images), dtype=torch.int64, device=device))
        loss.backward()  # type: ignore[no-untyped-call]  # torch has left it untyped
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])

"""What a device needs to be told before it trains."""

import ctypes
import subprocess
import sys

import pytest
import torch

from scalepred.training.devices import has_bfloat16, keep_freed_memory, pick_device

PR_SET_THP_DISABLE = 41  # of linux/prctl.h: a huge page is one fault or five hundred, as the kernel's state has it

FAULTS = """
import ctypes, resource
ctypes.CDLL(None).prctl({huge_pages_off}, 1, 0, 0, 0)
import torch
from torch import nn
from scalepred.training.devices import keep_freed_memory
if {keeps}:
    keep_freed_memory()
torch.set_num_threads(1)
narrow, wide = (nn.Sequential(nn.Conv2d(n, m, 1), nn.BatchNorm2d(m), nn.ReLU()) for n, m in ((96, 16), (16, 96)))
network = nn.Sequential(narrow, wide, narrow, wide).to(memory_format=torch.channels_last)
maps = torch.randn(32, 96, 32, 32).to(memory_format=torch.channels_last)
for step in range(16):
    if step == 6:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(maps).mean().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_kept_for_the_next_step():
    kept, asked_anew = (
        int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
        for script in (FAULTS.format(keeps=keeps, huge_pages_off=PR_SET_THP_DISABLE) for keeps in (True, False))
    )
    assert kept < asked_anew / 4, f"{kept} page faults in ten steps, and {asked_anew} without"


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_without_glibc_memory_is_left_alone(monkeypatch, error):
    asked = []

    def refuse(name):
        asked.append(name)
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    keep_freed_memory()  # raises nothing
    assert asked == [None]


def test_a_torch_without_onednn_has_no_bfloat16_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", object())  # nor has it the operator that would tell
    assert has_bfloat16(torch.device("cpu")) is False


def test_convolutions_on_cuda_are_kept_from_tf32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert pick_device("cpu") == torch.device("cpu")
    assert torch.backends.cudnn.allow_tf32
    assert pick_device("auto", index=1) == torch.device("cuda", 1)
    assert not torch.backends.cudnn.allow_tf32

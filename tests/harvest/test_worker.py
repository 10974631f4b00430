"""What a worker reads and probes, called as a harvest does it."""

import pytest
from PIL import Image
from small_networks import tiny_source

from scalepred.data.task import read_task
from scalepred.harvest.calls import Squares, WorkerSettings
from scalepred.harvest.worker import Worker
from scalepred.recipe import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fakes")]


def test_a_dtype_that_is_asked_for_is_taken_without_a_probe(monkeypatch):
    monkeypatch.setattr("scalepred.harvest.worker.pick_dtype", None)  # it would fail if it was called
    worker = Worker(WorkerSettings(sources=(), dtype="bfloat16"))
    worker.sources = [tiny_source()]
    assert worker.pick_dtype(0, Recipe(image_px=32)) == "bfloat16"


def test_images_that_change_between_two_sources_are_read_again(tasks, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "scalepred.harvest.worker.read_task", lambda *args, **kw: read.append(args) or read_task(*args, **kw)
    )
    worker = Worker(WorkerSettings(sources=(("tiny", None), ("other", None)), device="cpu"))
    worker.hello()
    first, second = (worker.open(tasks[0], source, Squares(16), "float32") for source in (0, 1))
    assert (first, len(read)) == (second, 1)
    Image.new("RGB", (24, 24), (9, 200, 9)).save(tmp_path / "birds" / "dark" / "0.png")
    third = worker.open(tasks[0], 0, Squares(16), "float32")
    assert third.fingerprint != first.fingerprint
    assert third.task.task_id != first.task.task_id

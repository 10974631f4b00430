"""A bundle whose memory runs out, on a tiny real network: what it gives up, in which order, and what it records."""

import dataclasses

import pytest
import torch
from fakes import fake_finetune, write_task
from small_networks import tiny_source

from scalepred.data.merge import merged
from scalepred.data.task import Split, read_task
from scalepred.errors import UsageError
from scalepred.predictor.facts import facts_of
from scalepred.predictor.start_facts import start_facts_of
from scalepred.recipe import Recipe, baseline_of
from scalepred.records import POINT
from scalepred.training.bundle import Bundle
from scalepred.training.embed import embeddings
from scalepred.training.front import Prepared
from scalepred.training.planned import planned_run
from scalepred.training.start import fitted_start

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=1, batch_size=16, image_px=24)
FROZEN = dataclasses.replace(RECIPE, batchnorm="frozen")
ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return read_task(write_task(tmp_path_factory.mktemp("tasks") / "birds", n=30), image_px=24)


def bundle_of(task, fails=lambda bundle, module, n: False, *, error=ERROR, **settings):
    """Return a bundle with no memory where ``fails`` says so of a module's mode and its n images at once."""
    source = tiny_source()
    bundle = Bundle(task=task, source=source, device=CPU, **settings)

    def look(module, inputs):
        if fails(bundle, module, len(inputs[0])):
            raise error

    source.architecture.network.stages[4][0].register_forward_pre_hook(look)
    return bundle


def run(bundle, recipe=RECIPE):
    ids = bundle.task.record.task_id, bundle.source.source_id
    return bundle.run(planned_run(*ids, recipe=recipe, scale=1.0, seed=0))[0]


def test_a_recipe_that_has_other_squares_than_the_task_is_refused(task):
    bundle = bundle_of(task)
    with pytest.raises(ValueError, match="the recipe has resize pad, and the images were made by squash"):
        run(bundle, dataclasses.replace(RECIPE, resize="pad"))


def keeps(bundle):
    return [bool(prepared.activations) for prepared in bundle._prepared.values()]


def test_with_memory_enough_batches_are_whole_and_the_front_is_kept(task):
    assert run(bundle_of(task)).execution == {"dtype": "float32", "micro_batch": 16, "frozen_front_kept": True}


def test_the_kept_front_is_given_up_before_batches_are_cut(task):
    found = run(bundle_of(task, lambda bundle, module, n: module.training and any(keeps(bundle))))
    assert found.execution == {"dtype": "float32", "micro_batch": 16, "frozen_front_kept": False}
    whole = run(bundle_of(task, max_bytes=0))
    assert (found.epoch_losses, found.val_correct, found.test_loss) == (
        whole.epoch_losses,
        whole.val_correct,
        whole.test_loss,
    )


@pytest.mark.parametrize(("holds", "micro_batch"), [(12, 8), (7, 4), (3, 3)])
def test_micro_batches_are_halved_until_they_fit(task, holds, micro_batch):
    bundle = bundle_of(task, lambda bundle, module, n: n > holds)
    found = run(bundle)
    assert (found.status, found.execution["micro_batch"]) == ("done", micro_batch)
    assert run(bundle).epoch_losses == found.epoch_losses  # the next run begins with what fits


def test_a_step_in_micro_batches_is_the_same_step_where_no_statistics_are_taken(task):
    found, whole = (run(bundle_of(task, lambda b, m, n, most=most: n > most), FROZEN) for most in (1, 1000))
    assert found.execution["micro_batch"] == 1
    assert found.epoch_losses == pytest.approx(whole.epoch_losses, rel=1e-5)
    assert found.test_loss == pytest.approx(whole.test_loss, rel=1e-5)


@pytest.mark.parametrize("max_bytes", [0, 1 << 20])
def test_memory_that_runs_out_in_scoring_cuts_what_is_scored_at_once(task, max_bytes):
    small = dataclasses.replace(RECIPE, batch_size=8)
    found = run(bundle_of(task, lambda bundle, module, n: not module.training and n > 8, max_bytes=max_bytes), small)
    whole = run(bundle_of(task), small)
    assert (found.execution["micro_batch"], whole.execution["micro_batch"]) == (8, 8)
    assert found.epoch_losses == pytest.approx(whole.epoch_losses, rel=1e-6)
    assert found.test_correct == whole.test_correct


def test_without_memory_for_one_image_a_run_says_what_to_do(task):
    with pytest.raises(UsageError) as caught:
        run(bundle_of(task, lambda bundle, module, n: True), FROZEN)
    assert str(caught.value) == (
        "There is no memory to run tiny on one image of 24 px at a time: "
        "use fewer workers, smaller images (image_px) or a smaller network."
    )


def test_no_statistics_are_taken_of_fewer_images_than_three(task):
    bundle = bundle_of(task, lambda bundle, module, n: n > 1)
    assert run(bundle, FROZEN).execution["micro_batch"] == 1
    assert run(bundle, baseline_of(RECIPE)).execution["micro_batch"] == 1
    with pytest.raises(UsageError) as caught:
        run(bundle)
    assert str(caught.value) == (
        "There is no memory to run tiny on 3 images of 24 px at a time, and batch statistics need so many: "
        "use fewer workers, smaller images (image_px) or a smaller network."
    )


def test_features_are_computed_in_batches_that_fit_and_stay_the_same(task):
    found, whole = (facts_of(bundle_of(task, lambda b, m, n, most=most: n > most)) for most in (5, 1000))
    assert {row.name: row.value for row in found} == pytest.approx({row.name: row.value for row in whole}, rel=1e-5)
    with pytest.raises(UsageError, match="There is no memory to run tiny on one image of 24 px at a time: use fewer"):
        facts_of(bundle_of(task, lambda bundle, module, n: True))


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw"}, {"head_start": "fitted"}], ids=str)
def test_facts_of_a_start_are_measured_in_parts_that_fit_and_stay_the_same(task, changes):
    recipe = dataclasses.replace(FROZEN, **changes)
    short, whole = (start_facts_of(bundle_of(task, lambda b, m, n, most=most: n > most), recipe) for most in (5, 1000))
    values = {fact.name: fact.value for fact in whole}
    assert {fact.name: fact.value for fact in short} == pytest.approx(values, rel=1e-3, abs=1e-3)
    with pytest.raises(UsageError, match="There is no memory to run tiny on one image of 24 px at a time: use fewer"):
        start_facts_of(bundle_of(task, lambda bundle, module, n: True), recipe)


def test_the_features_of_the_source_are_taken_once_for_its_probe_and_for_the_fitted_head(task):
    passes = []
    bundle = bundle_of(task, lambda bundle, module, n: passes.append(n))
    start = bundle.probe_start()
    n_passes = len(passes)
    head = bundle.start_of(dataclasses.replace(FROZEN, head_start="fitted"))
    assert len(passes) == n_passes
    assert bundle.probe_start() is start
    assert head is bundle.start_of(FROZEN)
    own = embeddings(bundle.source, task.train.images, device=CPU, dtype=torch.float32)
    assert (head.features == own).all()
    assert (bundle.embedded() == own).all()
    assert start.features.shape[1] > own.shape[1]  # the probe takes what the stages give too
    assert bundle.start_of(RECIPE) is not start


def test_the_probe_is_the_same_whatever_the_dtype_of_the_bundle(task):
    whole, half = (bundle_of(task, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert half.probe_start().probe.weight.equal(whole.probe_start().probe.weight)
    assert half.probe_scores()["test"].loss == whole.probe_scores()["test"].loss
    assert half.probe_start() is not half.start_of(FROZEN)  # a job that starts from it sees features of its own dtype


def test_the_probe_is_scored_on_the_same_held_out_images_as_a_run(task):
    bundle = bundle_of(task)
    scores, start = bundle.probe_scores(), bundle.probe_start()
    for name in ("val", "test"):
        split = getattr(task, name)
        features = embeddings(bundle.probe_source, split.images, device=CPU, dtype=torch.float32)
        right = start.probe.logits(features).argmax(axis=1) == split.labels
        assert scores[name].correct.tolist() == right.tolist()
        assert scores[name].accuracy == right.mean()


def test_a_split_without_images_has_no_scores(task):
    bundle = bundle_of(merged(task, "val"))
    assert list(bundle.probe_scores()) == ["test"]
    assert run(bundle).val_accuracy is None
    nothing_left = run(bundle_of(merged(task, "val", "test")))
    assert (nothing_left.status, nothing_left.val_accuracy, nothing_left.test_accuracy) == ("done", None, None)


def test_the_probe_is_scored_in_batches_that_fit(task):
    found, whole = (bundle_of(task, lambda b, m, n, most=most: n > most).probe_scores() for most in (3, 1000))
    assert {name: each.correct.tolist() for name, each in found.items()} == {
        name: each.correct.tolist() for name, each in whole.items()
    }
    with pytest.raises(UsageError, match="There is no memory to run tiny on one image of 24 px at a time: use fewer"):
        bundle_of(task, lambda bundle, module, n: True).probe_scores()


@pytest.mark.parametrize(
    "error",
    [
        ERROR,
        MemoryError(),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to"),
    ],
)
def test_memory_runs_out_in_many_words(task, error):
    assert run(bundle_of(task, lambda bundle, module, n: n > 8, error=error)).execution["micro_batch"] == 8


def test_what_this_machine_says_when_memory_runs_out_is_understood(task):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    found = run(bundle_of(task, lambda bundle, module, n: n > 8, error=caught.value))
    assert found.execution["micro_batch"] == 8


def test_another_error_is_a_bug_and_propagates(task):
    with pytest.raises(RuntimeError, match="sizes do not match"):
        run(bundle_of(task, lambda bundle, module, n: n > 8, error=RuntimeError("sizes do not match")))


def test_the_fronts_of_several_recipes_are_kept_up_to_one_size_together(task):
    recipes = [RECIPE, FROZEN, dataclasses.replace(RECIPE, augmentation="flip")]
    roomy = bundle_of(task)
    for recipe in recipes:
        run(roomy, recipe)
    sizes = [prepared.kept_bytes for prepared in roomy._prepared.values()]
    assert 0 < sizes[0] == sizes[1] < sizes[2]
    for max_bytes, kept in [
        (sum(sizes), [True] * 3),
        (sum(sizes) - 1, [True, True, False]),
        (sizes[0], [True, False, False]),
    ]:
        bundle = bundle_of(task, max_bytes=max_bytes)
        assert [run(bundle, recipe).execution["frozen_front_kept"] for recipe in recipes] == kept


def test_the_peak_of_memory_on_cuda_is_that_of_the_run(task, monkeypatch):
    peak = 900

    def reset(device):
        nonlocal peak
        peak = 0

    def finetune(*arguments, **settings):
        nonlocal peak
        peak = max(peak, 70)
        return fake_finetune(*arguments, **settings)

    monkeypatch.setattr("scalepred.training.bundle.prepare", lambda *arguments, **settings: Prepared())
    monkeypatch.setattr("scalepred.training.bundle.finetune", finetune)
    monkeypatch.setattr("scalepred.training.bundle.device_name", str)
    monkeypatch.setattr("torch.cuda.init", lambda: None)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", reset)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: peak)
    bundle = dataclasses.replace(bundle_of(task), device=torch.device("cuda"))
    assert run(bundle).execution["peak_bytes"] == 70


def test_the_probe_is_fitted_once_for_all_scales_and_seeds_of_a_mode(task, monkeypatch):
    fitted = []

    def counting(*arguments, **settings):
        fitted.append(settings)
        return fitted_start(*arguments, **settings)

    monkeypatch.setattr("scalepred.training.bundle.fitted_start", counting)
    bundle = bundle_of(task)
    for recipe, n in ((FROZEN, 1), (RECIPE, 2), (dataclasses.replace(RECIPE, batch_size=8), 3)):
        warm = dataclasses.replace(recipe, head_start="fitted", epochs=2)
        for changes in ({}, {"schedule": "cosine"}, {"optimizer": "adamw"}):
            run(bundle, dataclasses.replace(warm, **changes))
        assert len(fitted) == n


def test_what_is_measured_in_the_course_of_a_run_takes_no_more_memory_than_its_steps(task):
    bundle = bundle_of(task, lambda bundle, module, n: n > 4)
    recipe = dataclasses.replace(FROZEN, epochs=40)
    ids = task.record.task_id, bundle.source.source_id
    found = bundle.run(planned_run(*ids, recipe=recipe, scale=1.0, seed=0, role=POINT))[0]
    assert (found.status, found.execution["micro_batch"]) == ("done", 4)
    assert found.course


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_batch_of_one_has_no_statistics_which_is_told_before_anything_runs(task, batch_size):
    train = task.train
    odd = dataclasses.replace(task, train=Split(train.images[:37], train.labels[:37], train.paths[:37]))
    recipe = dataclasses.replace(RECIPE, batch_size=batch_size)
    expected = f"37 images in batches of at most {batch_size} leave a batch of one: give it a larger batch_size, or"
    with pytest.raises(UsageError, match=expected):
        run(bundle_of(odd), recipe)
    with pytest.raises(UsageError, match=expected):
        start_facts_of(bundle_of(odd), recipe)
    assert run(bundle_of(odd), dataclasses.replace(recipe, batchnorm="frozen")).status == "done"

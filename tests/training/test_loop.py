"""The loop, on a tiny network: rates, frozen stages, divergence, and parity with a plain loop."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from small_networks import separable, tiny_source
from torch import nn

from scalepred.data.task import Split
from scalepred.networks.source import new_network, normalise
from scalepred.recipe import RECIPES, Recipe, baseline_of
from scalepred.training import loop as loop_module
from scalepred.training.augment import augment
from scalepred.training.devices import pick_device
from scalepred.training.front import prepare
from scalepred.training.loop import finetune
from scalepred.training.optimizer import fewest_at_once, set_mode
from scalepred.training.rates import epoch_rates, schedule_factor, stage_rates
from scalepred.training.scoring import predict_logits

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=4, batch_size=8, base_lr=0.01, image_px=32)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(recipe=RECIPE, scale=1.0, *, seed=0, source=None, train=None, **changes):
    settings = {
        "held_out": {"val": separable(10, seed=1), "test": separable(12, seed=2)},
        "n_classes": 2,
        "device": CPU,
    } | changes
    held_out = settings.pop("held_out")
    return finetune(
        source or tiny_source(), train or separable(), held_out, recipe=recipe, scale=scale, seed=seed, **settings
    )


def tensors(network, prefix=""):
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(prefix)}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_what_can_be_learnt():
    found = run(dataclasses.replace(RECIPE, epochs=12), scale=2.0)
    assert found.status == "done"
    assert found.epoch_losses[-1] < 0.5 * found.epoch_losses[0]
    assert {name: scores.accuracy for name, scores in found.scores.items()} == {"val": 1.0, "test": 1.0}


def test_scores_say_which_images_are_right():
    found = run(scale=0.25)
    for scores in found.scores.values():
        assert scores.accuracy == scores.correct.mean()
        assert scores.correct.dtype == bool


def test_the_same_seed_gives_the_same_numbers():
    first, again, other = run(seed=3), run(seed=3), run(seed=4)
    assert first.epoch_losses == again.epoch_losses
    assert same(tensors(first.network), tensors(again.network))
    assert first.epoch_losses != other.epoch_losses


def dropping_source(share):
    """Return the tiny network with dropout before its head."""
    source = tiny_source()
    source.architecture.network.stages[4].append(nn.Dropout(share))
    return source


def test_what_a_network_drops_comes_from_the_seed_too_and_torchs_own_generator_stays_as_it_was():
    source = dropping_source(0.3)
    state = torch.get_rng_state()
    first = run(seed=3, source=source)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    again, other = run(seed=3, source=source), run(seed=4, source=source)
    assert first.epoch_losses == again.epoch_losses
    assert same(tensors(first.network), tensors(again.network))
    assert first.epoch_losses != other.epoch_losses
    assert first.epoch_losses != run(seed=3).epoch_losses


def test_a_network_that_drops_nothing_gives_the_numbers_of_one_without_dropout():
    assert run(source=dropping_source(0.0)).epoch_losses == run().epoch_losses


def test_the_source_is_not_changed():
    source = tiny_source()
    before = copy.deepcopy(source.architecture.network.state_dict())
    run(source=source)
    assert same(before, source.architecture.network.state_dict())


def test_multiplier_0_freezes_a_stage_and_its_statistics():
    source = tiny_source()
    found = run(source=source)
    original = source.architecture.network
    assert same(tensors(original, "stages.0."), tensors(found.network, "stages.0."))
    for stage in (1, 2, 3, 4):
        before, after = (tensors(network, f"stages.{stage}.") for network in (original, found.network))
        assert not any(torch.equal(before[name], after[name]) for name in before)


def test_frozen_statistics_stay_those_of_the_source_everywhere():
    source = tiny_source()
    found = run(dataclasses.replace(RECIPE, batchnorm="frozen"), source=source)
    for name, tensor in source.architecture.network.state_dict().items():
        assert torch.equal(tensor, found.network.state_dict()[name]) == (
            "running" in name or "num_" in name or ".0." in name[:9]
        )


def test_the_baseline_trains_the_head_alone():
    source = tiny_source()
    found = run(baseline_of(RECIPE), None, source=source)
    assert same(tensors(source.architecture.network, "stages."), tensors(found.network, "stages."))
    assert found.epoch_losses[-1] < found.epoch_losses[0]


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged():
    found = run(dataclasses.replace(RECIPE, batchnorm="frozen"), scale=1e12)
    assert found.status == "diverged"
    assert found.scores == {}
    assert 0 < found.diverged_step < 4 * 3
    assert len(found.epoch_losses) == found.diverged_step // 3
    assert all(np.isfinite(found.epoch_losses))


@pytest.mark.parametrize("held_out", [{"val": separable(10, seed=1)}, {"val": separable(0)}, {}])
def test_weights_that_the_last_step_has_spoilt_are_diverged_too_whether_images_are_held_out_or_not(held_out):
    recipe = dataclasses.replace(RECIPE, epochs=1, batch_size=64, base_lr=1e30, batchnorm="frozen")
    found = run(recipe, held_out=held_out)
    assert (found.status, found.diverged_step, found.scores) == ("diverged", 0, {})


def test_where_nothing_is_held_out_training_images_are_not_scored():
    found = run(held_out={"val": separable(0)})
    assert (found.status, found.scores) == ("done", {})


def test_the_record_holds_the_rate_of_every_stage_at_every_epoch():
    found = run(RECIPES["graduated"], scale=0.5, train=separable(8))
    assert len(found.rates) == 20
    for epoch, rates in enumerate(found.rates):
        tenths = 0 if epoch < 7 else 1 if epoch < 14 else 2
        expected = [0.001 * multiplier * 0.5 * 0.1**tenths for multiplier in (0, 1, 2, 4, 8, 16)]
        assert rates == pytest.approx(expected)


def plain_loss(logits, labels, recipe, counts):
    """Return the mean loss of a batch, image by image."""
    losses = []
    for row, label in zip(logits.log_softmax(1), labels.tolist(), strict=True):
        weights = counts.sum() / (len(counts) * counts) if recipe.class_weights == "balanced" else np.ones(len(counts))
        spread = sum(weights[k] * row[k] for k in range(len(counts))) / len(counts)
        losses.append(-(1 - recipe.label_smoothing) * weights[label] * row[label] - recipe.label_smoothing * spread)
    return sum(losses) / len(losses)


def plain_loop(source, train, recipe, scale, seed):
    """Finetune as a slow plain loop would, without parameter groups or a fused optimizer."""
    generator = torch.Generator().manual_seed(seed)
    network = new_network(source, n_classes=2, generator=generator)
    velocity, squares = ({name: torch.zeros_like(p) for name, p in network.named_parameters()} for _ in range(2))
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    per_epoch = -(-len(labels) // recipe.batch_size)
    rates, step = stage_rates(recipe, scale), 0
    for _ in range(recipe.epochs):
        network.train(recipe.batchnorm == "batch")
        network.stages[0].eval()
        for rows in torch.randperm(len(labels), generator=generator).tensor_split(per_epoch):
            logits = network(normalise(images[rows], source.architecture))
            loss = plain_loss(logits, labels[rows], recipe, np.bincount(train.labels))
            network.zero_grad()
            loss.backward()
            factor = schedule_factor(recipe.schedule, step=step, n_steps=recipe.epochs * per_epoch)
            factor *= min(1.0, (step + 1) / max(1, recipe.warmup_epochs * per_epoch))
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    rate = rates[source.architecture.stages[name]] * factor
                    if recipe.optimizer == "adamw":
                        velocity[name].lerp_(parameter.grad, 1 - recipe.momentum)
                        squares[name].lerp_(parameter.grad**2, 0.001)
                        mean = velocity[name] / (1 - recipe.momentum ** (step + 1))
                        root = (squares[name] / (1 - 0.999 ** (step + 1))).sqrt()
                        parameter.mul_(1 - rate * recipe.weight_decay).sub_(rate * mean / (root + 1e-8))
                        continue
                    gradient = parameter.grad + recipe.weight_decay * parameter
                    velocity[name] = recipe.momentum * velocity[name] + gradient if step else gradient
                    parameter.sub_(rate * velocity[name])
            step += 1
    return network


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": "cosine"},
        {"warmup_epochs": 2},
        {"optimizer": "adamw", "base_lr": 0.001, "weight_decay": 0.1, "batchnorm": "frozen"},
        {"label_smoothing": 0.2},
        {"class_weights": "balanced"},
        {"class_weights": "balanced", "label_smoothing": 0.1},
    ],
    ids=str,
)
def test_it_agrees_with_a_plain_loop(changes):
    recipe = dataclasses.replace(RECIPE, **changes)
    source, train = tiny_source(), separable(21)
    trained = run(recipe, 0.5, source=source, train=train, seed=5)
    plain = plain_loop(source, train, recipe, 0.5, 5)
    for name, tensor in plain.state_dict().items():
        assert torch.allclose(tensor.float(), trained.network.state_dict()[name].float(), atol=2e-5), name


@pytest.mark.parametrize("augmentation", ["none", "trivial"])
def test_adamw_from_a_fitted_head_learns_and_repeats_itself(augmentation):
    recipe = dataclasses.replace(
        RECIPE, optimizer="adamw", base_lr=1e-3, head_start="fitted", augmentation=augmentation, epochs=12
    )
    first, again = run(recipe, seed=3), run(recipe, seed=3)
    assert first.epoch_losses == again.epoch_losses
    assert first.scores["test"].accuracy > 0.8


def test_held_out_images_change_nothing():
    first, other = run(), run(held_out={"val": separable(30, seed=9)})
    assert same(tensors(first.network), tensors(other.network))


def test_a_split_without_images_has_no_score():
    empty = Split(np.empty((0, 3, 32, 32), np.uint8), np.empty(0, np.int64), ())
    assert set(run(held_out={"val": separable(4), "test": empty}).scores) == {"val"}


def test_every_epoch_is_reported():
    seen = []
    found = run(on_epoch=lambda epoch, loss: seen.append((epoch, loss)))
    assert seen == list(enumerate(found.epoch_losses, start=1))


@pytest.mark.parametrize("augmentation", ["none", "crop-flip"])
def test_as_many_steps_as_some_epochs_have_give_the_same_numbers(augmentation):
    by_epochs = dataclasses.replace(RECIPE, augmentation=augmentation, schedule="cosine", warmup_epochs=1)
    by_steps = dataclasses.replace(by_epochs, epochs=20, steps=12)  # three an epoch
    first, second = run(by_epochs), run(by_steps)
    assert (first.epoch_losses, first.rates) == (second.epoch_losses, second.rates)
    assert same(tensors(first.network), tensors(second.network))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_it_takes_exactly_so_many_steps_and_cuts_the_last_epoch(steps, monkeypatch):
    losses, seen, real = [], [], loop_module._step

    def step(*arguments, **settings):
        losses.append(real(*arguments, **settings))
        return losses[-1]

    monkeypatch.setattr(loop_module, "_step", step)
    found = run(Recipe(steps=steps, batch_size=8, image_px=32), on_epoch=lambda *each: seen.append(each))
    assert len(losses) == steps
    means = [torch.stack(losses[at : at + 3]).mean() for at in range(0, steps, 3)]  # three steps an epoch
    assert found.epoch_losses == pytest.approx(list(map(float, means)))
    assert seen == list(enumerate(found.epoch_losses, start=1))
    assert len(found.epoch_losses) == len(found.rates) == -(-steps // 3)
    assert set(found.scores) == {"val", "test"}


def test_a_divergence_in_a_cut_epoch_names_its_step():
    found = run(Recipe(steps=5, batch_size=8, image_px=32, base_lr=1e30))
    assert found.status == "diverged"
    assert 0 < found.diverged_step < 5


@pytest.mark.parametrize("n", [2, 9, 17])
def test_any_number_of_images_can_be_trained_on(n):
    found = run(train=separable(n))
    assert found.status == "done"
    assert found.rates == epoch_rates(RECIPE, 1.0, n_train=n)


def test_scoring_uses_all_images_however_many():
    found = run(held_out={"val": separable(300)})
    assert len(found.scores["val"].correct) == 300


def test_parameters_of_the_network_itself_have_a_stage_too():
    source = tiny_source()
    network = source.architecture.network
    network.token = nn.Parameter(torch.zeros(1))
    architecture = dataclasses.replace(source.architecture, stages={**source.architecture.stages, "token": 0})
    set_mode(network, architecture, RECIPE)
    assert not network.stages[0][1].training
    assert network.stages[1][1].training


# --- what is computed once, and short memory ---


def assert_same(found, expected):
    """Compare runs whose steps round differently; the stated tolerance is a ten-thousandth of every loss."""
    assert found.status == expected.status
    assert found.epoch_losses == pytest.approx(expected.epoch_losses, rel=1e-4)
    for name, scores in expected.scores.items():
        assert found.scores[name].loss == pytest.approx(scores.loss, rel=1e-4)
        assert (found.scores[name].correct == scores.correct).all()


@pytest.mark.parametrize("augmentation", ["none", "flip", "crop", "crop-flip", "trivial"])
@pytest.mark.parametrize("base", [RECIPE, baseline_of(RECIPE)], ids=["graduated", "baseline"])
@pytest.mark.parametrize("batchnorm", ["batch", "frozen"])
def test_a_run_gives_the_same_whether_its_frozen_front_is_computed_once_or_not(base, augmentation, batchnorm):
    recipe = dataclasses.replace(base, augmentation=augmentation, batchnorm=batchnorm)
    source, splits = tiny_source(), {"train": separable(), "val": separable(10, seed=1), "test": separable(12, seed=2)}
    prepared = prepare(source, splits, recipe, device=CPU, max_bytes=1 << 20)
    kept = augmentation in ("none", "flip")
    assert (set(prepared.activations), prepared.mirrored is not None) == (
        set(splits if kept else ()),
        kept and augmentation == "flip",
    )
    assert_same(run(recipe, source=source, prepared=prepared), run(recipe, source=source))


def test_activations_that_would_take_too_much_memory_are_not_kept():
    splits = {"train": separable(), "val": separable(10, seed=1)}
    one = prepare(tiny_source(), splits, RECIPE, device=CPU, max_bytes=1 << 20).activations["train"][:1].nbytes
    assert not prepare(tiny_source(), splits, RECIPE, device=CPU, max_bytes=34 * one - 1).activations
    assert prepare(tiny_source(), splits, RECIPE, device=CPU, max_bytes=34 * one).activations


def test_micro_batches_give_the_same_as_whole_ones_where_no_statistics_are_taken_of_a_batch():
    recipe = dataclasses.replace(RECIPE, batchnorm="frozen")
    for micro_batch in (1, 3, 8, 100):
        assert_same(run(recipe, micro_batch=micro_batch), run(recipe))


def at_once(source):
    """Return two lists that the numbers of images in training and in scoring are added to."""
    training, scoring = [], []
    source.architecture.network.stages[4][0].register_forward_pre_hook(
        lambda module, inputs: (training if module.training else scoring).append(len(inputs[0]))
    )
    return training, scoring


@pytest.mark.parametrize("n", [3, 5, 7, 8, 17])
def test_micro_batches_are_even_so_that_statistics_are_never_those_of_one_image(n):
    source, recipe = tiny_source(), dataclasses.replace(RECIPE, epochs=1, batch_size=32)
    training, _ = at_once(source)
    fewest = fewest_at_once(source, recipe)
    for micro_batch in range(fewest, n + 1):
        training.clear()
        assert run(recipe, source=source, train=separable(n), micro_batch=micro_batch).status == "done"
        assert sum(training) == n
        assert 2 <= min(training) <= max(training) <= micro_batch
    assert fewest == 3


def test_a_single_image_at_once_will_do_where_no_statistics_are_taken_of_a_batch():
    assert fewest_at_once(tiny_source(), dataclasses.replace(RECIPE, batchnorm="frozen")) == 1
    assert fewest_at_once(tiny_source(), baseline_of(RECIPE)) == 1


def test_scoring_takes_no_more_images_at_once_than_training():
    source = tiny_source()
    _, scoring = at_once(source)
    run(source=source, held_out={"val": separable(100)}, micro_batch=6)
    assert (max(scoring), sum(scoring)) == (6, 100)
    scoring.clear()
    run(source=source, held_out={"val": separable(100)})
    assert scoring == [64, 36]


def test_a_trained_network_holds_what_its_parts_have_learnt():
    source, splits = tiny_source(), {"train": separable(), "val": separable(10, seed=1)}
    prepared = prepare(source, splits, RECIPE, device=CPU, max_bytes=1 << 20)
    found = run(source=source, prepared=prepared, held_out={"val": splits["val"]})
    logits = predict_logits(found.network, source.architecture, splits["val"].images, device=CPU, dtype=torch.float32)
    assert ((logits.argmax(1).numpy() == splits["val"].labels) == found.scores["val"].correct).all()


# --- augmentation ---


def ramp(n=50, px=16):
    """Return images whose pixels tell their own place."""
    rows, columns = np.mgrid[:px, :px]
    image = np.stack([rows * 10, columns * 10, rows + columns]).astype(np.uint8)
    return torch.from_numpy(np.repeat(image[None], n, axis=0))


def test_no_augmentation_gives_the_images_back():
    assert torch.equal(augment(ramp(), kind="none", generator=torch.Generator()), ramp())


def test_flipping_mirrors_about_half_of_the_images_whole():
    found = augment(ramp(400), kind="flip", generator=torch.Generator().manual_seed(0))
    mirrored = [torch.equal(image, ramp(1)[0].flip(2)) for image in found]
    straight = [torch.equal(image, ramp(1)[0]) for image in found]
    assert all(a != b for a, b in zip(mirrored, straight, strict=True))
    assert 150 < sum(mirrored) < 250


def test_cropping_shifts_by_up_to_an_eighth_and_repeats_the_edge():
    found = augment(ramp(), kind="crop", generator=torch.Generator().manual_seed(0)).int()
    rows, columns = found[:, 0] // 10, found[:, 1] // 10
    for shifts, axis in ((rows[:, :, 0] - torch.arange(16), 1), (columns[:, 0, :] - torch.arange(16), 1)):
        assert set(shifts[:, 8].tolist()) == {-2, -1, 0, 1, 2}
        inner = shifts.narrow(axis, 2, 12)
        assert (inner == inner[:, :1]).all()
    assert int(found.max()) <= 150


def test_augmentation_follows_its_generator():
    first, again, other = (
        augment(ramp(), kind="crop-flip", generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# --- CUDA ---

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("augmentation", ["none", "crop-flip"])
def test_on_cuda_float32_gives_the_losses_of_the_cpu(augmentation):
    recipe = dataclasses.replace(RECIPE, augmentation=augmentation)
    cpu, cuda = (run(recipe, 2.0, device=device) for device in (CPU, pick_device("cuda")))
    assert cuda.epoch_losses == pytest.approx(cpu.epoch_losses, rel=1e-3)


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_bfloat16_learns_as_float32_does_on_the_cpu():
    recipe = dataclasses.replace(RECIPE, epochs=12)
    cpu = run(recipe, 2.0)
    cuda = run(recipe, 2.0, device=torch.device("cuda"), dtype=torch.bfloat16)
    assert cuda.status == "done"
    assert cuda.epoch_losses == pytest.approx(cpu.epoch_losses, abs=0.1)
    assert cuda.scores["test"].accuracy == cpu.scores["test"].accuracy


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_what_a_network_drops_comes_from_the_seed_too():
    source, cuda = dropping_source(0.3), torch.device("cuda")
    state = torch.cuda.get_rng_state()
    first = run(source=source, device=cuda)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    torch.rand(7, device=cuda)
    assert run(source=source, device=cuda).epoch_losses == pytest.approx(first.epoch_losses, rel=1e-4)


@pytest.mark.gpu
@needs_cuda
def test_on_cuda_the_network_stays_on_the_device_in_channels_last():
    found = run(device=torch.device("cuda"), dtype=torch.bfloat16)
    weight = found.network.stages[1][0].weight
    assert weight.device.type == "cuda"
    assert weight.is_contiguous(memory_format=torch.channels_last)

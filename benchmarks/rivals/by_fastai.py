"""fastai's `fine_tune`, used as its documentation shows, on the same weights and images.

`ImageDataLoaders.from_df` over the image files with `Resize` and `aug_transforms()`, the network as `vision_learner`
makes one of timm's (`TimmBody`, `create_head` with concatenated pooling and dropout, `default_split`, Kaiming's
initialisation), `Adam`, `Learner.fine_tune` at its default rate 2e-3 or at what `lr_find` suggests (valley, on the
frozen body, as the documentation does it).

What is set so that nothing holds it back: `vision_learner` would download weights, so its steps are taken here with
the packaged ones (BatchNorm's eps 1e-3 and the normalisation (x - 127) / 128 are theirs); images are squeezed rather
than cropped (`ResizeMethod.Squish`), so that no part of a test image is cut off; the batch size is that of our recipe
instead of 64, and even, for fastai drops a last short batch, and of a task smaller than its batch it would learn
nothing; images are loaded in the process itself, for workers would have to start in every epoch.

Source: fastai 2.8, https://docs.fast.ai/vision.learner.html and https://docs.fast.ai/callback.schedule.html.
"""

import copy
import tempfile
import time

import pandas as pd
import torch
from fastai.callback.schedule import valley
from fastai.data.block import CategoryBlock
from fastai.data.transforms import Normalize
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
from fastai.vision.data import ImageDataLoaders
from fastai.vision.learner import TimmBody, add_head, default_split
from torch import nn

from benchmarks.rivals.ask import Answer, Asked, Listed, listed
from scalepred.networks.architecture import Architecture
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.networks.source import load_source


def fine_tune(asked: Asked, *, epochs: int, finds_rate: bool) -> Answer:
    """Finetune, and score the test images once."""
    started = time.perf_counter()
    set_seed(asked.seed)
    architecture = load_source(DEFAULT_SOURCE).architecture
    to_learn = asked.to_learn()
    test = listed(asked.folder, "test")
    with tempfile.TemporaryDirectory() as scratch:
        loaders = load(asked, to_learn, architecture)
        learner = Learner(
            loaders,
            make_network(architecture, n_classes=asked.n_classes()),
            splitter=default_split,
            metrics=accuracy,
            path=scratch,
        )
        with learner.no_bar(), learner.no_logging():
            rate = found_rate(learner) if finds_rate else None
            learner.fine_tune(epochs, **({} if rate is None else {"base_lr": rate}))
            predictions, labels = learner.get_preds(dl=loaders.test_dl(_frame(test), with_labels=True))
        n_steps = epochs * len(loaders.train)
    return Answer(
        accuracy=float((predictions.argmax(dim=1) == labels).float().mean()),
        n_test=len(test),
        work_seconds=time.perf_counter() - started,
        details={"base_lr": rate or 2e-3, "n_learnt": len(to_learn), "n_steps": n_steps},
    )


def load(asked: Asked, to_learn: Listed, architecture: Architecture) -> ImageDataLoaders:
    """Return fastai's loaders; the validation images only show how far it is."""
    shown = listed(asked.folder, "val") or to_learn[:1]
    frame = pd.concat([_frame(to_learn, is_valid=False), _frame(shown, is_valid=True)], ignore_index=True)
    mean, std = ([value / 255 for value in each] for each in (architecture.mean, architecture.std))
    return ImageDataLoaders.from_df(
        frame,
        path="/",
        valid_col="is_valid",
        y_block=_classes(asked.n_classes()),
        item_tfms=Resize(asked.image_px, method=ResizeMethod.Squish),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(mean, std)],
        bs=asked.even_batch(len(to_learn)),
        val_bs=64,
        num_workers=0,
        device=torch.device("cpu"),
    )


def _classes(n: int) -> object:
    return CategoryBlock(vocab=list(range(n)), sort=False)


def make_network(architecture: Architecture, *, n_classes: int) -> nn.Module:
    """Return the pretrained network as fastai's body with fastai's head, as ``create_timm_model`` makes it."""
    network = copy.deepcopy(architecture.network)
    network.reset_classifier(0)
    body = TimmBody(network)
    return add_head(body, network.num_features, n_classes, pool=body.needs_pool)


def found_rate(learner: Learner) -> float:
    """Return what ``lr_find`` suggests while the body is frozen, as it is when ``vision_learner`` gives it."""
    learner.freeze()
    return float(learner.lr_find(suggest_funcs=valley, show_plot=False).valley)


def _frame(images: Listed, **more: object) -> pd.DataFrame:
    return pd.DataFrame(
        {"name": [str(path.resolve())[1:] for path, _ in images], "label": [label for _, label in images], **more}
    )

"""timm's training pieces with the defaults of its training script, on the same weights and images.

`create_loader` (random resized crops of 8 to 100 %, horizontal flips, colour jitter 0.4; no mixup, as by default),
`create_optimizer_v2` (SGD with Nesterov's momentum 0.9, weight decay 2e-5), `create_scheduler_v2` (cosine to 0 after
five epochs of warm-up from 1e-5), label smoothing 0.1, all weights learning, batch statistics. The rate is the
script's for training from scratch, 0.1 for a batch of 256 and in proportion to the batch, or a tenth of that, which
timm's author names as a starting point for finetuning with a new classifier. The script's 300 epochs are for training
from scratch: here it has twenty.

What is set so that nothing holds it back: images of the test are squeezed (``crop_mode="squash"``, ``crop_pct=1``), so
that none is cropped; batches are those of our recipe instead of 128, and even, for timm drops a last short one; images
are loaded in the process itself.

Source: timm 1.0, train.py, and https://github.com/huggingface/pytorch-image-models/issues/25.
"""

import time

import torch
from PIL import Image
from timm.data import create_loader
from timm.data.loader import PrefetchLoader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import random_seed
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.rivals.ask import Answer, Asked, Listed, listed
from scalepred.networks.architecture import Architecture
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.networks.source import load_source, new_network

RATE_AT_256 = 0.1
WARMUP_EPOCHS, WARMUP_RATE = 5, 1e-5


class Images(Dataset[tuple[Tensor, int]]):
    """Image files as timm's loader wants them: it sets ``transform``."""

    def __init__(self, images: Listed) -> None:
        self.images, self.transform = images, None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.images[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), label


def finetune(asked: Asked, *, share: float) -> Answer:
    """Finetune at a share of the script's rate, and score the test images once."""
    started = time.perf_counter()
    random_seed(asked.seed)
    source = load_source(DEFAULT_SOURCE)
    to_learn, test = asked.to_learn(), listed(asked.folder, "test")
    batch = asked.even_batch(len(to_learn))
    train = loader(to_learn, source.architecture, asked, batch_size=batch, is_training=True)
    generator = torch.Generator().manual_seed(asked.seed)
    network = new_network(source, n_classes=asked.n_classes(), generator=generator)
    network = network.to(memory_format=torch.channels_last)
    rate = share * RATE_AT_256 * batch / 256
    optimizer = create_optimizer_v2(network, opt="sgd", lr=rate, momentum=0.9, weight_decay=2e-5)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=asked.epochs,
        warmup_epochs=min(WARMUP_EPOCHS, asked.epochs - 1),
        warmup_lr=WARMUP_RATE,
        updates_per_epoch=len(train),
    )
    loss_of = LabelSmoothingCrossEntropy(0.1)
    n_updates = 0
    for epoch in range(asked.epochs):
        network.train()
        for images, labels in train:
            loss = loss_of(network(images.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            n_updates += 1
            scheduler.step_update(n_updates)
        scheduler.step(epoch + 1)
    accuracy = share_right(network, loader(test, source.architecture, asked, batch_size=64, is_training=False))
    return Answer(
        accuracy=accuracy,
        n_test=len(test),
        work_seconds=time.perf_counter() - started,
        details={"rate": rate, "n_learnt": len(to_learn), "n_steps": n_updates, "last_loss": float(loss.detach())},
    )


def loader(
    images: Listed, architecture: Architecture, asked: Asked, *, batch_size: int, is_training: bool
) -> PrefetchLoader:
    """Return timm's loader, with the augmentation of its training script in training."""
    return create_loader(
        Images(images),
        input_size=(3, asked.image_px, asked.image_px),
        batch_size=batch_size,
        is_training=is_training,
        color_jitter=0.4,
        interpolation="random" if is_training else "bicubic",
        crop_pct=1.0,
        crop_mode="squash",
        mean=tuple(value / 255 for value in architecture.mean),
        std=tuple(value / 255 for value in architecture.std),
        num_workers=0,
        persistent_workers=False,
        device=torch.device("cpu"),
    )


@torch.inference_mode()
def share_right(network: nn.Module, images: PrefetchLoader) -> float:
    """Return the share of a loader's images that the network gets right."""
    network.eval()
    right = n = 0
    for batch, labels in images:
        right += int((network(batch.contiguous(memory_format=torch.channels_last)).argmax(dim=1) == labels).sum())
        n += len(labels)
    return right / n

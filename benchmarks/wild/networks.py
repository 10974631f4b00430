"""The networks that our harvest starts from beside those of packages: trained from scratch on the suite's domains.

    python -m benchmarks.wild networks OUT [--only NAME ...] [--list]

OUT is what `python -m benchmarks.wild build OUT` wrote. Each network is one `scalepred pretrain`, one after another,
into OUT/sources/NAME; one that is in models/sources, where those under 3 MB belong, is not made again. A network that
is there is passed over, and one that was stopped goes on, so the same command may be given as often as it takes.
``--list`` prints the commands instead. A network needs at most about 12 minutes on one core.
"""

import csv
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scalepred.files import appearing
from scalepred.networks.names import is_source_folder

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = ROOT / "models" / "sources"
MIXED = "domain-mixed"
DOMAINS = ("domain-glyphs", "domain-icons", "domain-sprites")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network to train.

    Attributes:
        name: of its folder.
        architecture: as `scalepred pretrain` takes it.
        epochs: passes over the domain.
        options: further ones of the command.
        domain: the images' folder in OUT/domains.
    """

    name: str
    architecture: str
    epochs: int
    options: tuple[str, ...]
    domain: str = MIXED


SGD = ("--optimizer", "sgd", "--base-lr", "0.05", "--schedule", "cosine", "--warmup-epochs", "1")
ADAMW = ("--optimizer", "adamw", "--base-lr", "0.002", "--warmup-epochs", "1")
FASTER = ("--optimizer", "adamw", "--base-lr", "0.003", "--warmup-epochs", "1")
CONVNEXT = "timm/convnext_atto:depths=2-2-4-2,dims=24-48-96-192"
DENSENET = "timm/densenet121:block_config=4-6-8-6,growth_rate=16"

NETWORKS = (
    Network(name="resnet", architecture="timm/test_resnet", epochs=28, options=SGD),
    Network(name="mobilenet", architecture="timm/mobilenetv3_small_050", epochs=30, options=SGD),
    Network(name="convnext", architecture=CONVNEXT, epochs=18, options=ADAMW),
    Network(name="vit", architecture="timm/test_vit:img_size=64,patch_size=8", epochs=22, options=FASTER),
    Network(name="regnet", architecture="timm/regnetx_002", epochs=16, options=SGD),
    Network(name="densenet", architecture=DENSENET, epochs=13, options=SGD),
    Network(name="ghostnet", architecture="timm/ghostnet_050", epochs=14, options=SGD),
    Network(name="mambaout", architecture="timm/test_mambaout", epochs=40, options=ADAMW),
    Network(name="edgenext", architecture="timm/edgenext_xx_small", epochs=16, options=ADAMW),
    Network(name="resnet27-16", architecture="resnet27/16", epochs=10, options=SGD),
    Network(name="resnet27-24", architecture="resnet27/24", epochs=5, options=SGD),
)
"""AdamW for those that are normalised by layer; of two rates tried for convnext and vit, the better one."""


def print_or_train(out: Path, *, only: Sequence[str], is_list: bool) -> None:
    """Print the commands of all networks, or of those named, or run the ones whose network is not there.

    Raises:
        SystemExit: if a name is unknown, or a training fails.
    """
    known = {network.name for network in NETWORKS}
    if unknown := sorted(set(only) - known):
        raise SystemExit(f"No network {', '.join(unknown)}; choose from {', '.join(sorted(known))}.")
    mixed(out)
    for network in NETWORKS:
        if only and network.name not in only:
            continue
        line = command(network, out)
        if is_list:
            print(shlex.join(["scalepred", *line]))
        elif there := [folder for folder in (SHIPPED, out / "sources") if is_source_folder(str(folder / network.name))]:
            print(f"{network.name}: in {there[0]}", flush=True)
        elif code := subprocess.run([sys.executable, "-m", "scalepred", *line], check=False, cwd=ROOT).returncode:
            sys.exit(code)


def command(network: Network, out: Path) -> list[str]:
    """Return the arguments of `scalepred` that train a network into OUT/sources."""
    return [
        *("pretrain", str(out.resolve() / "domains" / network.domain), "--name", network.name),
        *("--architecture", network.architecture, "--epochs", str(network.epochs), "--batch-size", "32"),
        *(*network.options, "--half", "--device", "cpu", "--dtype", "float32"),
        *("--output", str(out.resolve() / "sources" / network.name)),
    ]


def mixed(out: Path) -> None:
    """Write OUT/domains/domain-mixed, the images of all three domains, each label and group under its domain's name."""
    rows = []
    for domain in DOMAINS:
        with (out / "domains" / domain / "manifest.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rows.append([row["path"], f"{domain}-{row['label']}", row["split"], f"{domain} {row['group']}"])
    folder = out / "domains" / MIXED
    folder.mkdir(parents=True, exist_ok=True)
    with appearing(folder / "manifest.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split", "group"], *rows])

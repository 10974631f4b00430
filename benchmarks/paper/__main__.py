"""Makes the studies of Dube et al. 2018 again, each by one command.

    python -m benchmarks.paper NAME --warehouse FILE [--suite DIR] [--imagenet DIR] [--flowers DIR] [--out DIR]
        [OPTION ...]
    python -m benchmarks.paper all --smoke [--warehouse FILE]

NAME is one of:

    domains     section 3: domains, their four parts, and their sizes (figure 3)
    size        figure 1: accuracy and the size of the data
    source      figure 2: accuracy and the source
    rates       tables 1 and 2, figures 6 to 9: the rates of the inner layers and the last
    graduated   figure 10: flat and graduated multipliers
    svm         section 2: SVMs on the features of each stage
    scales      section 4.3: the best of eleven scales, of all whole grids that the warehouse has
    humps       section 2's remark: is accuracy monotone in the scale, of all grids with several seeds
    all         all of these

The first six need data, once: a suite (`python -m benchmarks.wild build DIR`), ImageNet22K or Oxford Flowers. They
train sources and run what the warehouse lacks by `scalepred harvest`, which takes the further options, such as
`--engine ray`; they may be stopped at any moment, and the same command goes on. ``--only-tell`` runs nothing.
``scales`` and ``humps`` read the warehouse alone: import ours with `scalepred warehouse import warehouse/snapshot
--warehouse FILE`. Each study prints its table and a line of JSON, and puts its section into OUT/README.md, beside its
figures. ``--smoke`` makes small data in ImageNet22K's and Oxford Flowers' form and runs tiny sizes.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.paper import gains, graduated, humps, made, rates, scales, svm, transfer
from benchmarks.paper.grids import Rows, read_rows
from benchmarks.paper.report import Report, publish, table
from benchmarks.paper.results import Results, read_results
from benchmarks.paper.settings import FULL, SMOKE
from benchmarks.paper.transfer import Place
from scalepred.errors import ScalepredError

OF_RUNS: Mapping[str, Callable[[Results], Report]] = {
    "size": gains.size_study,
    "source": gains.source_study,
    "rates": rates.study,
    graduated.NAME: graduated.study,
    "svm": svm.study,
}
OF_GRIDS: Mapping[str, Callable[[Rows], Report]] = {"scales": scales.study, "humps": humps.study}
NAMES = ("domains", *OF_RUNS, *OF_GRIDS, "all")


def main() -> None:
    """Run a study, or all."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=NAMES, metavar="NAME")
    parser.add_argument("--warehouse", type=Path)
    for data in ("suite", "imagenet", "flowers"):
        parser.add_argument(f"--{data}", type=Path)
    parser.add_argument("--out", type=Path, help="default: WAREHOUSE-paper/report")
    parser.add_argument("--only-tell", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    arguments, options = parser.parse_known_args()
    if arguments.warehouse is None and not arguments.smoke:
        parser.error("--warehouse is needed, but with --smoke")
    with tempfile.TemporaryDirectory() as scratch:
        warehouse = arguments.warehouse or Path(scratch) / "smoke.duckdb"
        place = Place(warehouse=warehouse, settings=SMOKE if arguments.smoke else FULL)
        data = {name: getattr(arguments, name) for name in ("suite", "imagenet", "flowers")}
        if arguments.smoke and not any(data.values()):
            data |= made_data(place.folder / "data")
            options = [*options, "--workers", "1", "--device", "cpu"]
        try:
            for report in reports(arguments.name, place, data, options=options, only_tell=arguments.only_tell):
                publish(report, arguments.out or place.folder / "report")
        except ScalepredError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)


def made_data(folder: Path) -> dict[str, Path]:
    """Write small data in ImageNet22K's and Oxford Flowers' form, unless they are there."""
    if not folder.exists():
        made.write_imagenet22k(folder / "imagenet", {"tool": 3, "weapon": 3, "plant": 2}, n_images=16)
        made.write_flowers(folder / "flowers", n_classes=3)
    return {"imagenet": folder / "imagenet", "flowers": folder / "flowers"}


def reports(
    name: str, place: Place, data: Mapping[str, Path | None], *, options: Sequence[str], only_tell: bool
) -> list[Report]:
    """Do what a study, or all, asks for, and return what it tells.

    Raises:
        ScalepredError: if data or warehouse can't be used.
        SystemExit: if a harvest or a training fails.
    """
    told = []
    studies = [each for each in OF_RUNS if name in (each, "all")]
    if studies or name in ("domains", "all"):
        notes = transfer.read_domains(place, **data)
        told += [domains_report(place, notes)] if name in ("domains", "all") else []
        if not only_tell and studies:
            transfer.run_studies(studies, place, options=options)
            if svm.NAME in studies:
                svm.run(place)
    if name != "domains":
        rows = read_rows(place.warehouse)
        results = read_results(rows, place) if studies else None
        told += [OF_RUNS[each](results) for each in studies if results]
        told += [OF_GRIDS[each](rows) for each in OF_GRIDS if name in (each, "all")]
    return told


def domains_report(place: Place, notes: Sequence[str]) -> Report:
    """Return the sizes of domains and of their parts, as figure 3, and what is to be known of them."""
    parts = ("source", "source_val", "target_val", "transfer", "target")
    counts = place.domains
    rows = [
        [name, *(f"{each.get(what, '')}" for what in ("images", "labels", *parts))] for name, each in counts.items()
    ]
    heads = ["domain", "images", "labels", *(part.replace("_", " ") for part in parts)]
    settings = place.settings
    words = (
        f"Sources are ResNet-27 of width {settings.width}, trained from scratch for {settings.source_epochs} epochs at "
        f"0.01, tenfold lower after each third; targets for {settings.epochs} epochs; {settings.image_px} px, batches "
        f"of {settings.batch_size}. A part that validates has about 1,000 images at most."
    )
    return Report(
        name="domains",
        title="Section 3: domains and partitions",
        lines=(words, "", *table(heads, rows), "", *(f"* {note}" for note in notes)),
        numbers={"n": len(counts)},
    )


if __name__ == "__main__":
    main()

"""The rivals by name."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.rivals.ask import Answer, Asked

OURS, FINETUNED, TODAY = "ours", "finetuned", "today"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A rival.

    Attributes:
        what: in words, for the table.
        run: does a job; None for those that `scalepred finetune` runs.
        needs: the package that it is of.
    """

    what: str
    run: Callable[[Asked], Answer] | None = None
    needs: str = "scalepred"


def _probe(*, learns_all: bool, of_stages: bool = False) -> Callable[[Asked], Answer]:
    def run(asked: Asked) -> Answer:
        from benchmarks.rivals.own import probe

        return probe(asked, learns_all=learns_all, of_stages=of_stages)

    return run


def _search(asked: Asked) -> Answer:
    from benchmarks.rivals.own import search

    return search(asked)


def _fastai(epochs: int, *, finds_rate: bool) -> Callable[[Asked], Answer]:
    def run(asked: Asked) -> Answer:
        from benchmarks.rivals.by_fastai import fine_tune

        return fine_tune(asked, epochs=min(epochs, asked.epochs), finds_rate=finds_rate)

    return run


def _timm(*, share: float) -> Callable[[Asked], Answer]:
    def run(asked: Asked) -> Answer:
        from benchmarks.rivals.by_timm import finetune

        return finetune(asked, share=share)

    return run


METHODS = {
    OURS: Method(what="scalepred finetune --auto, our default"),
    FINETUNED: Method(what="the same, --no-probe"),
    "probe": Method(what="linear probe", run=_probe(learns_all=False)),
    "probe-all": Method(what="linear probe, validation images learnt too", run=_probe(learns_all=True)),
    "stages": Method(what="--probe: linear probe of all stages", run=_probe(learns_all=False, of_stages=True)),
    "stages-all": Method(what="--probe, validation images learnt too", run=_probe(learns_all=True, of_stages=True)),
    TODAY: Method(what="scalepred finetune, today's default"),
    "search": Method(what="eleven jobs of today's recipe, the best on validation", run=_search),
    "fastai-5": Method(what="fastai fine_tune(5)", run=_fastai(5, finds_rate=False), needs="fastai"),
    "fastai-5-found": Method(what="fastai lr_find, fine_tune(5)", run=_fastai(5, finds_rate=True), needs="fastai"),
    "fastai-20": Method(what="fastai fine_tune(20)", run=_fastai(20, finds_rate=False), needs="fastai"),
    "fastai-20-found": Method(what="fastai lr_find, fine_tune(20)", run=_fastai(20, finds_rate=True), needs="fastai"),
    "timm": Method(what="timm's defaults, a tenth of the rate", run=_timm(share=0.1), needs="timm"),
    "timm-full": Method(what="timm's defaults", run=_timm(share=1.0), needs="timm"),
}

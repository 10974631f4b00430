"""What the commands show a person: tables, choices and results; every name from outside is made safe first."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scalepred.cli.output import note, safe, say, table

if TYPE_CHECKING:
    from rich.console import Console

    from scalepred.data.scan import Skipped
    from scalepred.data.task import Inspection
    from scalepred.harvest.request import Plan
    from scalepred.job.choose import Prediction
    from scalepred.job.classifier import Classified
    from scalepred.job.export import Exported
    from scalepred.job.result import Job, Search
    from scalepred.job.setup import Setup
    from scalepred.job.tools import Tools
    from scalepred.predictor.choice import Choice
    from scalepred.predictor.probe_choice import ProbeAnswer
    from scalepred.predictor.scores import Evaluation
    from scalepred.predictor.train import Predictor
    from scalepred.recipe import Recipe
    from scalepred.records import RunRecord

SHOWN = 8
"""Skipped paths and planned tasks that are shown at most; other commands list them all."""

FEW = 3
"""So many paths that are skipped for the same reason are shown one by one."""


def show_inspection(console: "Console", inspection: "Inspection", *, whole: bool = False) -> None:
    """Show the layout, classes and splits, warnings and what was skipped; all of it if ``whole``."""
    classes, skipped = inspection.classes, inspection.skipped
    splits = ", ".join(f"{n} {name}" for name, n in inspection.splits.items())
    held = f"{_count(sum(classes.values()), 'image', 'images')} of {_count(len(classes), 'class', 'classes')}"
    console.print(f"{safe(inspection.layout)}: {held} ({splits})")
    if whole:
        console.print(table(("class", "images"), classes.items()))
    for warning in inspection.warnings:
        say(console, f"note: {safe(warning)}")
    if skipped:
        console.print(f"skipped: {len(skipped)}")
    lines = [f"{each.path}: {each.reason}" for each in skipped] if whole else _by_reason(skipped)
    for line in lines if whole else lines[:SHOWN]:
        say(console, f"  {safe(line)}")
    if min(len(lines), SHOWN) < len(skipped) and not whole:
        console.print("  `scalepred inspect` lists them all")


def _count(n: int, one: str, several: str) -> str:
    return f"{n} {one if n == 1 else several}"


def _by_reason(skipped: "Sequence[Skipped]") -> list[str]:
    """Return a line for each path that is skipped, and one for all of many that have the same reason."""
    paths: dict[str, list[str]] = {}
    for each in skipped:
        paths.setdefault(each.reason, []).append(each.path)
    lines = []
    for reason, same in paths.items():
        shown = same if len(same) <= FEW else [f"{len(same)} paths, such as {same[0]}"]
        lines += [f"{path}: {reason}" for path in shown]
    return lines


def show_choice(console: "Console", choice: "Choice") -> None:
    """Show the chosen scale, by whom, why, and how sure that is."""
    say(console, f"scale {choice.scale:g} ({choice.by}): {safe(choice.reason)}")
    if choice.gain_interval is not None:
        low, high = (100 * bound for bound in choice.gain_interval)
        console.print(
            f"  expected against the fixed scale: {low:+.1f} to {high:+.1f} points, for 8 of 10 held-out tasks"
        )
    if choice.rule is not None and choice.by not in ("rule", "given"):
        critical = f"the critical rate ({choice.rule.critical_scale:g})"
        what = f"a fixed rate below {critical}" if choice.rule.is_fixed else f"a constant times {critical}"
        console.print(
            f"  {what} would give {choice.rule.scale:g}, within a factor of {choice.rule.safe_factor:g} of one within "
            "two points of the best, for 8 of 10 points"
        )
    for line in choice.outlook.in_words() if choice.outlook else []:
        say(console, f"  {safe(line)}")
    if choice.neighbours:
        near = ", ".join(f"{safe(name)} (best at {scale:g})" for name, scale in choice.neighbours.items())
        console.print(f"  nearest harvested tasks: {near}")


def show_trained_on(console: "Console", setup: "Setup") -> None:
    """Show which images are trained on, and whether any are left to measure it on."""
    record = setup.task.record
    held_out = record.n_val + record.n_test
    left = f"{held_out} are held out" if held_out else "none is held out, so nothing will be measured"
    console.print(f"training on {record.n_train} images ({setup.trained_on}); {left}")


def show_probe(console: "Console", prediction: "Prediction", *, finetunes: bool = False) -> None:
    """Show what the linear probe reaches, which costs seconds and is what a finetune is to beat, and what saves it.

    ``finetunes`` says that a finetune follows, whatever is expected of the probe.
    """
    from scalepred.job.probe import in_words

    if prediction.probe is not None:
        expected = prediction.probe.expected
        is_taken = not finetunes and expected is not None and expected.is_better
        say(console, safe(in_words(prediction.probe.to_json())))
        saves = f"`scalepred finetune DATA {'--auto' if is_taken else '--probe'}` saves it"
        say(console, f"  {safe(_expected(expected))}; {saves}")


def show_takes_probe(console: "Console", setup: "Setup") -> None:
    """Show that a job saves the linear probe, and why."""
    from scalepred.job.probe import expected_of

    assert setup.tools.asked is not None  # noqa: S101 - else nothing is expected
    say(console, safe(setup.tools.asked.note))
    say(console, f"the linear probe, no finetune: {safe(_expected(expected_of(setup)))}; --no-probe finetunes")


def _expected(expected: "ProbeAnswer | None") -> str:
    return "whether a finetune beats it is not known" if expected is None else expected.in_words()


def show_besides(console: "Console", predictor: "Predictor") -> None:
    """Show how the choice between linear probe and finetune does on held-out origins, where both are known."""
    from scalepred.predictor.card import BESIDES, beside_cells

    if predictor.besides:
        console.print("linear probe or finetune, every origin held out in turn; gains in points:")
        rows = [[safe(cell) for cell in beside_cells(predictor, each)] for each in predictor.besides]
        console.print(table(BESIDES, rows))


def show_start(console: "Console", tools: "Tools", prediction: "Prediction") -> None:
    """Show who chose which scale and why, what is doubtful about it, the probe, and the learning rates that follow."""
    from scalepred.job.choose import warnings_of

    choice = prediction.choice
    if tools.asked is not None:
        say(console, safe(tools.asked.note))
    show_choice(console, choice)
    for warning in warnings_of(choice):
        say(console, f"warning: {safe(warning)}")
    show_probe(console, prediction, finetunes=True)
    show_rates(console, tools.recipe, choice.scale, tools.recipe_name)


def show_curve(console: "Console", predicted: "Prediction") -> None:
    """Show the predicted curve and the features."""
    choice = predicted.choice
    if choice.curve:
        rows = [
            (f"{scale:g}", f"{100 * value:+.1f} points", "chosen" if scale == choice.scale else "")
            for scale, value in choice.curve
        ]
        console.print(table(("scale", "predicted accuracy against the task's mean", ""), rows))
    moved = {name: f"{100 * gain:+.2f} points" for name, gain in choice.contributions.items()}
    rows = [(name, f"{value:.4g}", moved.get(name, "")) for name, value in predicted.features.items()]
    console.print(table(("feature", "value", "moves the predicted gain by"), rows))


def show_lines(console: "Console", predicted: "Prediction") -> None:
    """Show the loss along the recipe's first update, at each head that it was measured at."""
    for head, line in predicted.lines.items():
        words = "a new head" if head == "noise" else "the fitted head, shrunk half way"
        seen: list[tuple[float, float | None, str]] = [(scale, loss, "") for scale, loss in line.curve]
        seen += [(predicted.scale, None, "chosen")]
        if 0 < line.factor < math.inf:  # else it never falls, or never comes back
            seen += [(line.minimum, None, "the line's minimum")]
            seen += [(line.factor, line.loss, "back where it was: the critical rate")]
        rows = [
            (f"{scale:.3g}", None if loss is None else f"{loss:.4f}", note)
            for scale, loss, note in sorted(seen, key=lambda row: row[0])
        ]
        console.print(f"the first update at {words}, followed; loss {line.loss:.4f} before it:")
        console.print(table(("scale", "loss", ""), rows))


def show_rates(console: "Console", recipe: "Recipe", scale: float, recipe_name: str) -> None:
    """Show each stage's learning rate before the schedule, and the recipe's name."""
    from scalepred.recipe import STAGES
    from scalepred.training.rates import stage_rates

    rates = zip(STAGES, stage_rates(recipe, scale), strict=True)
    shown = ", ".join(f"{stage} {rate:g}" for stage, rate in rates)
    say(console, f"learning rates (recipe {safe(recipe_name)}): {shown}")


def show_job(console: "Console", job: "Job") -> None:
    """Show what a job achieved beside its linear probe, where the model is, and how to use it."""
    from scalepred.job.card import trained_on_in_words
    from scalepred.job.paired import verdict
    from scalepred.job.probe import in_words
    from scalepred.job.result import calibration_in_words

    record, probe, compared = job.task.record, job.probe, job.probe.compared
    if job.search is not None:
        show_search(console, job.search)
    if job.val_accuracy is not None:
        console.print(f"validation accuracy: {100 * job.val_accuracy:.1f} % of {record.n_val} images")
    console.print(f"test accuracy:       {_test(job.test_accuracy, record.n_test, trained_on=job.trained_on)}")
    if compared is not None:
        accuracy = probe.test_accuracy if compared.split == "test" else probe.val_accuracy
        console.print(f"linear probe:        {100 * (accuracy or 0.0):.1f} % of the same {compared.n} images")
        say(console, verdict(compared))
    else:
        say(console, safe(in_words(probe.to_json())))
    say(console, trained_on_in_words(job.metrics()))
    say(console, safe(calibration_in_words(job.calibration)))
    console.print("seconds: " + ", ".join(f"{name} {spent:.1f}" for name, spent in job.seconds.items()))
    say(console, f"saved: {safe(str(job.output))}")
    # a command is to be copied, so it stays in one piece
    console.print(f"classify an image: scalepred classify {_shell(job.output)} IMAGE", soft_wrap=True)


def show_search(console: "Console", search: "Search") -> None:
    """Show what each of several jobs came to, and which is kept."""
    rows = []
    for number, each in enumerate(search.to_json()["jobs"], start=1):
        seen = each["status"] if each["val_accuracy"] is None else f"{100 * each['val_accuracy']:.1f} %"
        expected = f"{100 * each['expected_accuracy']:.1f} %"
        rows.append((str(number), f"{each['scale']:g}", seen, expected, "kept" if each["chosen"] else ""))
    console.print(table(("job", "scale", "validation accuracy", "expected accuracy", ""), rows))


def _test(accuracy: float | None, n_test: int, *, trained_on: str) -> str:
    if accuracy is not None:
        return f"{100 * accuracy:.1f} % of {n_test} images"
    return "not measured" if trained_on == "all" else "no test images"


def show_plan(plan: "Plan", *, warehouse: Path) -> None:
    """Show what a harvest will do before it does it."""
    note(f"warehouse: {warehouse}")
    unread = sum(not bundle.is_read for bundle in plan.bundles)
    what = (
        f"{len(plan.bundles)} of {plan.n_points} points" if plan.n_points else f"{len(plan.bundles)} tasks and sources"
    )
    at_least = "at least " if plan.n_points else ""
    words = f"plan: {at_least}{plan.n_runs} runs of {what} to do; {plan.n_stored} are stored already"
    note(words + (f" ({unread} have not been read before, and count in full)" if unread else ""))
    for data, reason in plan.refused.items():
        note(f"refused: {data}: {reason}")
    for bundle in plan.bundles[:SHOWN]:
        what = f"{bundle.n_runs} runs" if bundle.n_runs else "facts alone"
        note(f"  {Path(bundle.data).name} on {bundle.source}: {what}")
    if len(plan.bundles) > SHOWN:
        note(f"  … and {len(plan.bundles) - SHOWN} more")


def run_as_json(run: "RunRecord") -> dict[str, object]:
    """Return the line of a finished run."""
    names = ("run_id", "task_id", "source_id", "recipe_id", "scale", "seed", "role", "status")
    numbers = ("val_accuracy", "test_accuracy", "seconds")
    return {"schema": 2, **{name: getattr(run, name) for name in (*names, *numbers)}}


def show_stages(console: "Console", name: str, stages: Sequence[dict[str, object]]) -> None:
    """Show a network's stages."""
    rows = [
        (stage["stage"], stage["first"], stage["n_parameters"], _rate(stage["rate_at_scale_1"])) for stage in stages
    ]
    console.print(safe(name))
    console.print(table(("stage", "first parameter", "parameters", "rate at scale 1"), rows))


def _rate(rate: object) -> str:
    return "0 (frozen)" if rate == 0 else f"{rate:g}"


def show_classified(console: "Console", result: "Classified") -> None:
    """Show what an image was taken for; a verdict that is not its class comes first, and is never taken for one."""
    if result.problem:
        said = f"not read: {safe(result.problem)}"
    else:
        verdict = "" if result.verdict == "class" else f"({result.verdict}) "
        said = verdict + ", ".join(f"{safe(name)} {100 * p:.1f} %" for name, p in result.ranking[:3])
    say(console, f"{safe(result.path)}: {said}")


def show_exported(console: "Console", exported: "Exported") -> None:
    """Show what was exported, and how near it is to the model."""
    kind = "drawn images" if exported.generated else "images"
    near = f"its probabilities are within {exported.difference:.1g} of the model's on {exported.n_images} {kind}"
    say(console, f"{safe(str(exported.output))}: {exported.kind}; {near}")


def _shell(path: Path) -> str:
    import shlex

    return safe(shlex.quote(str(path)))


def predictor_json(predictor: "Predictor") -> dict[str, object]:
    """Return what ``scalepred train-predictor --json`` says of a predictor."""
    from dataclasses import asdict

    from scalepred.predictor.probe_evidence import judge

    return {
        "predicts": predictor.booster is not None,
        "groups": [asdict(group) for group in predictor.groups],
        "octave_groups": [asdict(group) for group in predictor.octave_groups],
        "evaluation": predictor.evaluation or None,
        "probes": [judge(beside) for beside in predictor.besides],
        **predictor.facts,
    }


def show_evaluation(console: "Console", predictor: "Predictor", evaluation: "Evaluation | None") -> None:
    """Show how the predictor does on held-out origins, or why nothing is predicted."""
    from dataclasses import asdict

    from scalepred.predictor.card import HEADINGS, NONE_PREDICTED, OVERVIEW, cells, names, overview_cells
    from scalepred.predictor.train import MIN_ORIGINS

    if evaluation is None:
        n = len(predictor.facts["origins"])
        scales = ", ".join(f"{group.fixed_scale:g}" for group in predictor.all_groups)
        console.print(
            f"whole grids of too few origins to predict from: {n}, and {MIN_ORIGINS} are needed. "
            f"The best fixed scale is kept: {scales}"
        )
        return
    groups = [asdict(group) for group in evaluation.groups]
    if not groups:
        console.print(NONE_PREDICTED)
        return
    if len(groups) > 1:
        console.print("every origin held out in turn; accuracy at the best fixed scale, and gains over it in points:")
        console.print(table(OVERVIEW, [[safe(cell) for cell in overview_cells(predictor, group)] for group in groups]))
    most = groups[0]
    source, recipe = names(predictor, most)
    console.print(
        f"{safe(source)} with recipe {safe(recipe)}: {most['n_tasks']} tasks, "
        f"{most['n_origins']} origins held out in turn:"
    )
    console.print(table(HEADINGS, [cells(row, most["n_tasks"]) for row in most["rows"]]))
    console.print(f"the predictor left the fixed scale for {most['n_moved']} of {most['n_tasks']} held-out tasks")

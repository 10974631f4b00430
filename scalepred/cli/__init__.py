"""The command line: each command parses, calls the library, and prints."""

import io
import shutil
import signal
import sys
from typing import Annotated, NoReturn

import typer

import scalepred
from scalepred.cli import (
    classify,
    demo,
    evaluate,
    export,
    finetune,
    harvest,
    inspect,
    predict,
    pretrain,
    sources,
    train_predictor,
    warehouse,
)
from scalepred.cli.origins import load_defaults, make_configurable
from scalepred.cli.output import fitted, visible
from scalepred.errors import ScalepredError

app = typer.Typer(
    name="scalepred",
    help="Finetune an image classifier in ONE job, at a learning-rate scale predicted from the task.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("finetune")(finetune.finetune)
app.command("predict")(predict.predict)
app.command("classify")(classify.classify)
app.command("export")(export.export)
app.command("evaluate")(evaluate.evaluate)
app.command("inspect")(inspect.inspect)
app.command("sources")(sources.sources)
app.command("pretrain")(pretrain.pretrain)
app.command("harvest")(harvest.harvest)
app.command("train-predictor")(train_predictor.train_predictor)
app.add_typer(warehouse.app, name="warehouse", help="Look into the warehouse, check it, copy it.")
app.command("demo")(demo.demo)
make_configurable(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"scalepred {scalepred.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Finetune an image classifier in ONE job, at a learning-rate scale predicted from the task."""
    load_defaults(app, context)


INTERRUPTED = 130
"""The exit code after SIGINT or SIGTERM."""


def main() -> None:
    """Run the command line; an error that the user can mend is one message on stderr and an exit code.

    After a Ctrl-C or a SIGTERM it ends with 130 and without a traceback, whatever a library makes of the interrupt.
    """
    interrupts = _raised_interrupts()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that its encoding lacks is shown as escapes
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if interrupts:  # DuckDB, for one, raises a RuntimeError instead
            sys.exit(INTERRUPTED)
        if not isinstance(error, ScalepredError):
            raise
        sys.stderr.write("\n".join(map(visible, _to_read(f"scalepred: {error}").split("\n"))) + "\n")
        sys.exit(error.exit_code)


def _to_read(words: str) -> str:
    """Return words for stderr: in lines that fit where it is a terminal."""
    return fitted(words, shutil.get_terminal_size().columns) if sys.stderr.isatty() else words


def _raised_interrupts() -> list[int]:
    """Have SIGINT and SIGTERM raise KeyboardInterrupt from now on; return the list that they are noted in."""
    noted: list[int] = []

    def interrupt(number: int, _frame: object) -> NoReturn:
        noted.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell sets it for what runs in the background
            signal.signal(number, interrupt)
    return noted

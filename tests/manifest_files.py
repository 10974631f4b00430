"""Makes the tables and lists in which people keep the labels of their images."""

import json
import shutil
from pathlib import Path

from image_files import make_classes


def images_of_two(folder, n=6):
    """Make cat/0.png … dog/0.png … in a folder; returns their (path, label)."""
    make_classes(folder, ("cat", "dog"), n=n)
    return [(f"{name}/{at}.png", name) for name in ("cat", "dog") for at in range(n)]


def write_rows(path, rows, header=("path", "label"), *, delimiter=",", end="\n", encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [delimiter.join(map(str, row)) for row in ([header] if header else []) + list(rows)]
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return path


def labels_by_name(listing):
    """Return (name of the file with its folder, label) of the images of a listing, sorted."""
    return sorted(("/".join(Path(entry.path).parts[-2:]), entry.label) for entry in listing.entries)


def write_coco(path, rows, *, fields=(), several=(), **more):
    """Write annotations of (path, label); ``fields`` are further ones of each image, ``several`` further marks."""
    names = sorted({label for _, label in rows})
    images = [{"id": at, "file_name": name, **(fields[at] if fields else {})} for at, (name, _) in enumerate(rows)]
    marks = [{"id": at, "image_id": at, "category_id": 10 + names.index(label)} for at, (_, label) in enumerate(rows)]
    marks += [{"id": 1000 + at, "image_id": image, "category_id": kind} for at, (image, kind) in enumerate(several)]
    kinds = [{"id": 10 + at, "name": name} for at, name in enumerate(names)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": marks, "categories": kinds, **more}))
    return path


def write_examples(folder):
    """Write what the documents name, beside the folder ``my_images`` of class folders."""
    images = sorted((folder / "my_images").rglob("*.png"))
    rows = [(image.relative_to(folder).as_posix(), image.parent.name) for image in images]
    write_rows(
        folder / "photos.csv", [(at, path, label) for at, (path, label) in enumerate(rows)], ("no", "photo", "kind")
    )
    flat = folder / "competition" / "pngs"
    flat.mkdir(parents=True)
    for at, image in enumerate(images):
        shutil.copy(image, flat / f"id{at}.png")
    ids = [(f"id{at}", label) for at, (_, label) in enumerate(rows)]
    write_rows(folder / "competition" / "labels.csv", ids, ("id", "label"))
    write_rows(folder / "train.txt", rows, (), delimiter=" ")
    write_coco(folder / "annotations.json", rows, fields=[{"location": at % 10} for at in range(len(rows))])
    shutil.make_archive(str(folder / "photos"), "zip", folder / "my_images")

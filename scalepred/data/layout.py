"""How a user says that the data is laid out, where its folders and columns don't tell."""

from dataclasses import dataclass
from pathlib import Path

from scalepred.data.patterns import group_reader, label_reader
from scalepred.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a user says of how the data is laid out, and which classes to take; what is None is found out.

    Attributes:
        label_pattern: how the label is read from a file's name: text with "{label}" in it and "*" for anything, such as
            "{label}.*", or a regular expression with a group named "label" (or with a single group).
        class_depth: which level of folders is the class, 1 for the one below the data (or below its splits), 2 for the
            one below that; "path" takes the whole path of folders.
        group_pattern: a regular expression; images in whose path it finds the same text share a split.
        exclude_classes: classes that are left out.
        min_images: a class of fewer usable images is left out.
        strict: classes that validation or test have and training lacks are an error, and aren't set aside.
        image_column: the manifest's column of paths.
        label_column: the manifest's column of labels.
        group_column: the manifest's column of groups; images of a group share a split.
        image_folder: the folder that a manifest's paths start from; None for the manifest's own.

    Raises:
        UsageError: naming the option that can't be used.
    """

    label_pattern: str | None = None
    class_depth: int | str | None = None
    group_pattern: str | None = None
    exclude_classes: tuple[str, ...] = ()
    min_images: int = 1
    strict: bool = False
    image_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    image_folder: str | None = None

    def __post_init__(self) -> None:
        _check_texts(self)
        _check_patterns(self)
        _check_classes(self)
        _check_columns(self)


def check_layout(layout: Layout) -> Layout:
    """Return it; raise UsageError if it is none."""
    given: object = layout
    if not isinstance(given, Layout):
        raise UsageError(f"layout is a scalepred.Layout, such as Layout(class_depth=2), not {given!r:.80}.")
    return layout


def _check_texts(layout: Layout) -> None:
    """Refuse what is no text and should be."""
    texts = {"--label-pattern": layout.label_pattern, "--group-pattern": layout.group_pattern}
    for option, value in (texts | _manifest_options(layout)).items():
        if not isinstance(value, str | None):
            raise UsageError(f"{option} is text, not {value!r:.80}.")


def _check_patterns(layout: Layout) -> None:
    """Refuse patterns and depths that can't be used."""
    depth = layout.class_depth
    is_level = isinstance(depth, int) and not isinstance(depth, bool) and depth > 0
    if not (depth is None or depth == "path" or is_level):
        raise UsageError(f"--class-depth is 1, 2, … or 'path', not {depth!r}.")
    if layout.label_pattern is not None:
        if depth is not None:
            raise UsageError(
                "Give one of --label-pattern and --class-depth: the label is in the name or in the folder."
            )
        label_reader(layout.label_pattern)
    if layout.group_pattern is not None:
        group_reader(layout.group_pattern)


def _check_classes(layout: Layout) -> None:
    """Refuse what can't say which classes to take."""
    given: object = layout.exclude_classes
    if not isinstance(given, tuple) or not all(isinstance(name, str) for name in given):
        raise UsageError(f"exclude_classes is a tuple of names, such as ('cat', 'dog'), not {given!r}.")
    if isinstance(layout.min_images, bool) or not isinstance(layout.min_images, int) or layout.min_images < 1:
        raise UsageError(f"--min-images is a whole number of 1 or more, not {layout.min_images!r}.")


def _check_columns(layout: Layout) -> None:
    """Raise UsageError if what the user says of a manifest can't be meant."""
    for option, value in _manifest_options(layout).items():
        if value is not None and not value.strip():
            raise UsageError(f"{option} is empty: give a {'folder' if option == '--image-folder' else 'column'}.")
    if layout.image_column is not None and layout.image_column == layout.label_column:
        raise UsageError(f"--image-column and --label-column are both {layout.image_column!r}: give two columns.")
    if layout.image_folder is not None and not Path(layout.image_folder).is_dir():
        raise UsageError(f"--image-folder {layout.image_folder} is no folder.")


def check_no_columns(layout: Layout, data: str | Path) -> None:
    """Raise UsageError if the user says something of a manifest, and the data has none."""
    given = [option for option, value in _manifest_options(layout).items() if value is not None]
    if given:
        raise UsageError(
            f"{' and '.join(given)}: {data} is read without a manifest, which this is for. Leave it out, or give the "
            "manifest's file."
        )


def _manifest_options(layout: Layout) -> dict[str, str | None]:
    return {
        "--image-column": layout.image_column,
        "--label-column": layout.label_column,
        "--group": layout.group_column,
        "--image-folder": layout.image_folder,
    }


FOUND_OUT = Layout()
"""Nothing is said, and all is found out."""

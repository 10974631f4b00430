"""Knows how the names of images usually end."""

ENDINGS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".avif", ".jp2", ".j2k", ".jpx", ".heic", ".heif", ".mpo"),
}
"""The usual endings of images' names, in small letters."""


def has_ending(name: str) -> bool:
    """Say whether a path ends as an image's does."""
    return name[name.rfind(".") :].lower() in ENDINGS if "." in name else False

"""Knows HEIC, the format of many phones, which Pillow reads by the extra ``heic``."""

import functools

from PIL import Image

KIND = "HEIF"
"""Pillow's name of the format."""

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
"""What such a file is called at its beginning. AVIF, which Pillow reads by itself, has others."""

SHARED_BRANDS = {b"mif1", b"msf1"}
"""Those of HEIC and AVIF alike, which are followed by the format's own."""

BEGIN_BYTES = 64

NEEDED = "a HEIC image, which the extra `heic` reads: pip install 'scalepred[heic]'"


@functools.cache
def kinds() -> tuple[str, ...]:
    """Return the formats that the extra adds: HEIF where it is installed, else none."""
    try:
        import pillow_heif
    except ImportError:
        return ()
    pillow_heif.register_heif_opener()
    return (KIND,) if KIND in Image.OPEN else ()


def is_heic(begin: bytes) -> bool:
    """Say whether a file that begins so is a HEIC image."""
    brand, others = begin[8:12], begin[16 : int.from_bytes(begin[:4])]
    return begin[4:8] == b"ftyp" and (brand in BRANDS or (brand in SHARED_BRANDS and b"avif" not in others))

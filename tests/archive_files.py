"""Makes archives, sound ones and those that somebody means harm with."""

import io
import stat
import tarfile
import zipfile

KINDS = ("zip", "tar", "tar.gz", "tgz", "tar.xz", "tar.bz2")


def pack(path, folder, *, names=None):
    """Pack a folder's files by the ending of ``path``; returns the path."""
    files = {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    return write_archive(path, {name: files[name] for name in names or files})


def write_archive(path, files):
    """Write an archive of names and contents, which may be doubled or climb."""
    files = files.items() if isinstance(files, dict) else files
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files:
                archive.writestr(name, content)
        return path
    kind = {"gz": "gz", "tgz": "gz", "xz": "xz", "bz2": "bz2"}.get(path.name.rpartition(".")[2], "")
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def odd_tar(path, kind, *, target="/etc/passwd"):
    """Write a tar archive with an entry of an odd kind, such as ``tarfile.SYMTYPE``."""
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("data/odd")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return path


def zip_with_link(path, target="/etc/passwd"):
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("data/odd")
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return path

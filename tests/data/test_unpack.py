"""An archive is unpacked as it was packed, and one that means harm writes nothing anywhere."""

import io
import os
import subprocess
import tarfile
import zipfile

import pytest
from archive_files import KINDS, odd_tar, pack, write_archive, zip_with_link
from readings import refusal

from scalepred.data.unpack import Limits, unpack


def unpacked_files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def into(tmp_path):
    (tmp_path / "cache" / "into").mkdir(parents=True)
    return tmp_path / "cache" / "into"


def refused(archive, into, **limits):
    message = refusal(archive, unpack, folder=into, limits=Limits(**limits))
    assert {file for file in into.parent.parent.rglob("*") if file.is_file() and not file.is_relative_to(into)} == {
        archive
    }
    return message


@pytest.mark.parametrize("ending", KINDS)
def test_every_kind_gives_its_files_and_leaves_out_what_is_hidden(tmp_path, into, ending):
    files = {"a/1.png": b"one", "a/b/2.png": b"two", "c d/é 🐈.png": b"three"}
    hidden = {"__MACOSX/a/._1.png": b"x", "a/.DS_Store": b"x"}
    archive = write_archive(tmp_path / f"t.{ending}", files | hidden)
    assert unpack(archive, into) == (3, 11)
    assert unpacked_files(into) == files


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("../out.png", "a path that leads outside of it"),
        ("a/../../out.png", "a path that leads outside of it"),
        ("/out.png", "an absolute path"),
        ("C:/out.png", "an absolute path"),
    ],
)
def test_a_path_that_leads_outside_is_refused(tmp_path, into, ending, name, what):
    message = refused(write_archive(tmp_path / f"t.{ending}", {"a/1.png": b"x", name: b"x"}), into)
    assert message == (
        f"{tmp_path / f't.{ending}'} holds {what}, {name!r}, and nothing of it is used. If you trust it, unpack it and "
        "give the folder."
    )


def test_a_climbing_path_of_windows_is_refused_too(tmp_path, into):
    assert "leads outside" in refused(write_archive(tmp_path / "t.zip", {"a\\..\\..\\out.png": b"x"}), into)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "a device or pipe"),
        (tarfile.CHRTYPE, "a device or pipe"),
        (tarfile.BLKTYPE, "a device or pipe"),
    ],
)
def test_links_devices_and_pipes_are_refused(tmp_path, into, kind, what):
    assert f"holds {what}, 'data/odd'" in refused(odd_tar(tmp_path / "t.tar", kind), into)


def test_a_link_in_a_zip_archive_is_refused(tmp_path, into):
    assert "holds a link, 'data/odd'" in refused(zip_with_link(tmp_path / "t.zip"), into)


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize("names", [("a/1.png", "a/1.png"), ("a", "a/1.png"), ("a/1.png", "a")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path, into, ending, names):
    archive = write_archive(tmp_path / f"t.{ending}", [(name, b"x") for name in names])
    assert refused(archive, into) == f"{archive} holds {names[1]!r} twice: unpack it and give the folder."


@pytest.mark.parametrize("ending", KINDS)
def test_more_entries_or_bytes_than_the_limits_are_refused(tmp_path, into, ending):
    archive = write_archive(tmp_path / f"t.{ending}", {f"{at}.png": os.urandom(50) for at in range(20)})
    assert "holds more than 19 entries. If you trust it" in refused(archive, into, n_entries=19)
    for file in into.iterdir():
        file.unlink()
    assert "unpacks to more than 0 GiB. If you trust it" in refused(archive, into, n_bytes=999)
    for file in into.iterdir():
        file.unlink()
    assert unpack(archive, into, limits=Limits(n_entries=20, n_bytes=1000)) == (20, 1000)


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb_is_refused_by_its_ratio_before_it_fills_the_disk(tmp_path, into, ending):
    archive = write_archive(tmp_path / f"t.{ending}", {f"{at}.png": bytes(1 << 20) for at in range(8)})
    message = refused(archive, into, ratio_from_bytes=2 << 20)
    assert message.startswith(f"{archive} unpacks to more than 100 times its size, as images don't.")
    assert sum(file.stat().st_size for file in into.rglob("*")) <= 2 << 20


def test_archives_in_archives_stay_closed(tmp_path, into):
    inner = write_archive(tmp_path / "inner.zip", {"1.png": b"x"}).read_bytes()
    (tmp_path / "inner.zip").unlink()
    unpack(write_archive(tmp_path / "t.zip", {"a/inner.zip": inner}), into)
    assert unpacked_files(into) == {"a/inner.zip": inner}


def test_a_million_entries_are_counted_without_being_taken_apart(tmp_path, into):
    entry = b"PK\x01\x02" + bytes(42)
    n = 1_000_000
    directory = entry * n
    end = b"PK\x05\x06" + bytes(4) + b"\x0a\x00\x0a\x00" + len(directory).to_bytes(4, "little") + bytes(4 + 2)
    (tmp_path / "t.zip").write_bytes(directory + end)  # its end says ten
    assert "holds more than 500000 entries" in refused(tmp_path / "t.zip", into)


def test_a_header_that_claims_gigabytes_is_never_held_in_memory(tmp_path, into):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 5 << 30
    (tmp_path / "t.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert f"is damaged or cut off: a header claims {5 << 30} bytes" in refused(tmp_path / "t.tar", into)


@pytest.mark.parametrize("ending", KINDS)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.85])
def test_an_archive_that_is_cut_off_is_refused(tmp_path, into, ending, share):
    archive = write_archive(tmp_path / f"t.{ending}", {f"{at}.png": os.urandom(3_000) for at in range(20)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    message = refused(archive, into)
    assert message.startswith(f"{archive} is damaged or cut off: ")
    assert message.endswith(". Copy or download it again.")


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_hundreds_of_edits_give_files_or_an_error_and_nothing_else(tmp_path, ending):
    import numpy as np

    from scalepred.errors import DataError

    archive = write_archive(tmp_path / f"t.{ending}", {f"a/{at}.png": os.urandom(40) for at in range(4)})
    whole, rng = archive.read_bytes(), np.random.default_rng(0)
    n_refused = 0
    for at in range(200):
        edit = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            edit[rng.integers(len(edit))] = rng.integers(256)
        archive.write_bytes(edit)
        into = tmp_path / "into" / str(at)
        into.mkdir(parents=True)
        try:
            unpack(archive, into)
        except DataError:
            n_refused += 1
    assert n_refused > 50
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "into"}


def test_an_encrypted_archive_says_so(tmp_path, into):
    (tmp_path / "1.png").write_bytes(b"secret")
    command = ["zip", "--quiet", "--password", "x", "t.zip", "1.png"]
    try:
        subprocess.run(command, cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip("there is no zip here")
    (tmp_path / "1.png").unlink()
    assert refused(tmp_path / "t.zip", into) == (
        f"{tmp_path / 't.zip'} is encrypted: unpack it with its password and give the folder."
    )


def test_a_method_that_python_lacks_says_to_unpack_it(tmp_path, into):
    archive = write_archive(tmp_path / "t.zip", {"1.png": b"x" * 100})
    content = bytearray(archive.read_bytes())
    for at, mark in ((8, b"PK\x03\x04"), (10, b"PK\x01\x02")):  # where the method is said, in both headers
        content[content.index(mark) + at] = 9
    archive.write_bytes(content)
    assert "can't be unpacked: That compression method is not supported" in refused(archive, into)


@pytest.mark.parametrize("encoding", ["utf-8", "cp437", "cp932", "latin-1"])
def test_names_in_other_encodings_are_read_and_lose_no_file(tmp_path, into, encoding):
    name = {"cp932": "猫/1.png"}.get(encoding, "é/1.png")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("XX" + "x" * (len(name.encode(encoding)) - 2), b"one")
        archive.writestr("b/2.png", b"two")
    plain = "XX" + "x" * (len(name.encode(encoding)) - 2)
    (tmp_path / "t.zip").write_bytes(buffer.getvalue().replace(plain.encode(), name.encode(encoding)))
    assert unpack(tmp_path / "t.zip", into) == (2, 6)
    if encoding in ("utf-8", "cp437"):
        assert unpacked_files(into) == {name: b"one", "b/2.png": b"two"}


def test_an_archive_of_the_systems_own_zip_and_tar_is_read(tmp_path, into):
    (tmp_path / "src" / "é").mkdir(parents=True)
    (tmp_path / "src" / "é" / "1.png").write_bytes(b"one")
    for command in (["zip", "-qr", "t.zip", "src"], ["tar", "-czf", "t.tgz", "src"]):
        try:
            subprocess.run(command, cwd=tmp_path, check=True)
        except FileNotFoundError:
            pytest.skip(f"there is no {command[0]} here")
        folder = into / command[0]
        folder.mkdir()
        assert unpack(tmp_path / command[2], folder) == (1, 3)
        assert unpacked_files(folder) == {"src/é/1.png": b"one"}


def test_a_tar_name_of_other_bytes_is_kept(tmp_path, into):
    name = os.fsdecode(b"\xff/1.png")
    assert unpack(write_archive(tmp_path / "t.tar", {name: b"x"}), into) == (1, 1)
    assert (into / name).is_file()


def test_nothing_of_permissions_is_taken_over(tmp_path, into):
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        info = tarfile.TarInfo("1.png")
        info.mode, info.size = 0o4777, 1
        archive.addfile(info, io.BytesIO(b"x"))
    unpack(tmp_path / "t.tar", into)
    assert (into / "1.png").stat().st_mode & 0o7111 == 0


def test_a_name_that_no_file_can_have_is_an_error_that_says_which(tmp_path, into):
    archive = write_archive(tmp_path / "t.tar", {"x" * 300 + ".png": b"x"})
    message = refused(archive, into)
    assert "File name too long" in message
    assert "SCALEPRED_CACHE" in message


def test_packing_a_folder_and_unpacking_it_is_the_same_folder(tmp_path, into):
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "1.png").write_bytes(b"one")
    assert unpack(pack(tmp_path / "t.zip", tmp_path / "src"), into) == (1, 3)
    assert unpacked_files(into) == {"a/1.png": b"one"}

"""Images that the system can't read now: what says nothing of an image must not decide a task."""

import errno
import os
from pathlib import Path

import pytest
from fakes import write_task
from image_files import save
from PIL import Image

from scalepred.data.decode import BadImageError, decode
from scalepred.data.task import read_task
from scalepred.errors import DataError

PASSING = ("EIO", "ENFILE", "EMFILE", "ESTALE", "ETIMEDOUT", "ENOMEM")
OF_THE_FILE = ("EACCES", "EPERM", "ENOENT", "ELOOP", "ENOTDIR", "ENAMETOOLONG", "EINVAL")


@pytest.fixture
def image(tmp_path):
    return save(tmp_path / "image.png")


def error_of(name):
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


def failing(monkeypatch, target, name, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(target, name, fail)


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize(("target", "method"), [(Path, "open"), (Image, "open"), (Image.Image, "convert")])
def test_what_fails_in_the_system_is_an_error_that_names_the_image(image, monkeypatch, target, method, name):
    error = error_of(name)
    failing(monkeypatch, target, method, error)
    with pytest.raises(DataError) as caught:
        decode(image)
    assert not isinstance(caught.value, BadImageError)
    assert str(caught.value) == (
        f"{image} can't be read now: {error.strerror}. Whether it is good is not known: try again later."
    )


@pytest.mark.parametrize("name", OF_THE_FILE)
def test_what_says_something_of_a_file_makes_it_a_bad_image(image, monkeypatch, name):
    failing(monkeypatch, Path, "open", error_of(name))
    with pytest.raises(BadImageError, match=r"^can't be read: "):
        decode(image)


def test_what_pillow_says_of_a_damaged_file_makes_it_a_bad_image(image, monkeypatch):
    failing(monkeypatch, Image.Image, "convert", OSError("broken data stream when reading image file"))
    with pytest.raises(BadImageError, match=r"^damaged: broken data stream when reading image file$"):
        decode(image)


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory when reading image file")])
def test_a_lack_of_memory_is_not_the_images_fault(image, monkeypatch, error):
    failing(monkeypatch, Image.Image, "convert", error)
    with pytest.raises(MemoryError):
        decode(image)


def test_a_library_whose_image_cannot_be_read_now_is_told_without_a_path():
    def item():
        raise error_of("EIO")

    with pytest.raises(DataError, match=r"^An image can't be read now: "):
        decode(item)


@pytest.mark.parametrize("error", [error_of("EIO"), MemoryError()])
def test_a_task_is_never_read_without_an_image_that_only_could_not_be_read(tmp_path, monkeypatch, error):
    folder = write_task(tmp_path / "birds")
    real, n_asked = Image.open, []

    def open_(*arguments, **settings):
        n_asked.append(1)
        if len(n_asked) == 15:  # after those that tell the layout
            raise error
        return real(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", open_)
        with pytest.raises((DataError, MemoryError)):
            read_task(folder, image_px=16)
    assert read_task(folder, image_px=16).record.label_counts == {"dark": 10, "light": 10}

"""Reads data that is refused or skipped, for the tests of the data."""

from pathlib import Path

import pytest

from scalepred.data.decode import BadImageError, decode
from scalepred.data.task import inspect
from scalepred.errors import DataError


def refusal(data, read=inspect, **options):
    with pytest.raises(DataError) as caught:
        read(data, **options)
    assert caught.value.exit_code == 3
    return str(caught.value)


def skipped(inspection):
    return [(Path(each.path).name, each.reason) for each in inspection.skipped]


def reason_of(item, **options):
    with pytest.raises(BadImageError) as caught:
        decode(item, **options)
    return str(caught.value)

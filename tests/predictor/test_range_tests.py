"""The file of range tests: read whole, or refused with the line that is none."""

import json

import pytest

from scalepred.errors import UsageError
from scalepred.predictor.range_tests import read_range_tests

LINE = {"point": "t s r", "valley": 2.0, "steepest": None, "seconds": 1.5}


def test_lines_are_read_by_the_key_of_their_point(tmp_path):
    file = tmp_path / "tests.jsonl"
    file.write_text(json.dumps(LINE) + "\n\n" + json.dumps(LINE | {"point": "u s r"}) + "\n")
    assert read_range_tests(file) == {"t s r": LINE, "u s r": LINE | {"point": "u s r"}}


WRONG = ({"valley": 0}, {"steepest": "2"}, {"seconds": -1}, {"seconds": None})


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"point": "t"}', *(json.dumps(LINE | each) for each in WRONG)])
def test_a_line_that_is_none_is_told_with_its_number_and_how_it_should_be(tmp_path, line):
    file = tmp_path / "tests.jsonl"
    file.write_text(json.dumps(LINE) + "\n" + line + "\n")
    with pytest.raises(
        UsageError, match=r"tests\.jsonl, line 2 is no range test: .*point, valley, steepest and seconds"
    ):
        read_range_tests(file)


def test_no_file_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"Range tests can't be read from .*none: No such file or directory\."):
        read_range_tests(tmp_path / "none")

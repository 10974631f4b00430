"""The benchmark of what learning gains over the rule, which prints the evaluation of design points as Markdown."""

import contextlib
import io
import json

import pytest
from wide_points import SGD, wide_points

from benchmarks import wide_predictor as bench
from scalepred.predictor import formulations
from scalepred.predictor.wide_studies import STUDIED


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    file, out = tmp_path_factory.mktemp("wide") / "line.json", io.StringIO()
    points = wide_points(60, recipes=(SGD,), n_networks=3, n_origins=5)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(bench, "read_points", lambda _: points)
        patch.setattr("scalepred.predictor.wide_studies.ALSO_CURVED", STUDIED)
        for ways in (formulations.FORMULATIONS, formulations.LEANING):
            for name in set(ways) - {STUDIED}:
                patch.delitem(ways, name)
        patch.setattr("sys.argv", ["wide_predictor", "w.duckdb", "--output", str(file)])
        bench.main()
    assert file.read_text() == out.getvalue().splitlines()[-1] + "\n"
    return out.getvalue()


def test_the_tables_are_markdown_and_the_last_line_is_the_evaluation(printed):
    found = json.loads(printed.splitlines()[-1])
    assert (found["benchmark"], found["n_points"], found["n_networks"]) == ("wide_predictor", 60, 3)
    rows = {(row["hold_out"], row["points"], row["method"]): row for row in found["rows"]}
    learnt = rows["network and origin", "sgd, all", STUDIED]
    assert learnt["over_rule"] > 0.03
    assert f"| sgd, all | {STUDIED} | 60 | {100 * learnt['accuracy']:.1f} |" in printed
    assert printed.startswith("60 points of 5 origins on 3 networks of 1 families")

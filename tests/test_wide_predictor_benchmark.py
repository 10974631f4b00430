"""The benchmark of what learning gains over the rule, on points whose best scales follow their steps."""

import contextlib
import io
import json

import pytest
from wide_points import wide_points

from benchmarks import wide_predictor as bench
from scalepred.predictor.formulations import FORMULATIONS

RIDGE = "ridge on the place"


PROCESS = "Gaussian process on the place"


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    file, out = tmp_path_factory.mktemp("wide") / "line.json", io.StringIO()
    points = wide_points(120, n_networks=3, n_origins=5)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(bench, "read_points", lambda _: points)
        patch.setattr(bench, "FORMULATIONS", {name: FORMULATIONS[name] for name in (RIDGE, PROCESS)})
        patch.setattr(bench, "ABLATED", (RIDGE,))
        patch.setattr(bench, "CURVE", (RIDGE,))
        patch.setattr("sys.argv", ["wide_predictor", "w.duckdb", "--output", str(file)])
        bench.main()
    assert file.read_text() == out.getvalue().splitlines()[-1] + "\n"
    return out.getvalue()


def test_learning_beats_the_constant_where_steps_place_the_best_and_the_control_closes_nothing(printed):
    found = json.loads(printed.splitlines()[-1])
    rows = {(row["points"], row["method"]): row for row in found["rows"]}
    assert found["benchmark"] == "wide_predictor"
    assert {points for points, _ in rows} == {
        f"{optimizer}, {words}" for optimizer in ("sgd", "adamw") for words in ("all", "64 steps or more")
    }
    for optimizer in ("sgd", "adamw"):
        domain = f"{optimizer}, all"
        assert rows[domain, RIDGE]["over_rule"] > 0.05
        assert rows[domain, RIDGE]["gap_closed"] > rows[domain, bench.SHIPPED]["gap_closed"]
        assert rows[domain, bench.SELECTED]["over_rule"] > 0.03
        assert rows[domain, bench.SHIPPED]["over_rule"] == rows[domain, bench.RATE]["over_rate"] == 0
        assert rows[domain, bench.HONEST]["gap_closed"] == 1
        assert rows[domain, bench.NAIVE]["accuracy"] >= rows[domain, f"{RIDGE} + {PROCESS}"]["accuracy"]
        moved = 100 * rows[domain, "a constant on the rule"]["over_rule"]
        assert found["permuted"][RIDGE][domain][0] < moved + 2 < found["sets"][f"all of the start; {RIDGE}"][domain][0]
        assert found["spread"][domain]["z_both"] > 1


def test_the_ablation_and_the_conjecture_tell_which_facts_matter(printed):
    found = json.loads(printed.splitlines()[-1])
    for domain in ("sgd, all", "adamw, all"):
        of = {words.partition(";")[0]: gains[domain][0] for words, gains in found["sets"].items()}
        assert of["+ critical rates, from the rule"] > of["images per label alone, from the fixed rate"] + 5
        assert found["conjecture"][domain] == [0.0, 0.0, 0.0]  # all made tasks have as many
        assert f"{RIDGE}, for twice as many" in found["curve"]
    assert "120 points of 5 origins on 3 networks" in printed

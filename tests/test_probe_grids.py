"""The benchmark of the linear probe beside grids: on grids and probes whose gains are known."""

import dataclasses

from fakes import task_record

from benchmarks import probe_grids
from benchmarks.probe_grids import Grid, tell
from scalepred.recipe import Recipe


def grid(number, *, origin, n_train=50):
    """Return a grid with 80 % at the fixed scale."""
    record = dataclasses.replace(task_record(f"t{number}"), task_id=f"id{number}", origin=origin, n_train=n_train)
    return Grid(task=record, source="net", source_id="s", recipe=Recipe(), fixed=0.8, head=0.6)


def test_a_gain_is_paired_by_task_and_told_by_size(capsys):
    grids = [grid(at, origin=f"o{at}", n_train=30 if at < 4 else 100) for at in range(10)]
    told = {"penultimate": 0.72, "standardised": 0.7, "cross_validated": 0.8}
    probes = {each.key: {"test": 0.75 if each.task.n_train == 30 else 0.85} | told for each in grids}
    probes[grids[0].key] |= {"cross_validated": None}  # nothing could be
    rows = tell({"net, graduated": grids}, probes)
    assert [(row["n"], row["n_train"]) for row in rows] == [(10, None), (4, [0, 40]), (6, [81, 10**9])]
    assert [row["gain"][0] for row in rows] == [-1.0, 5.0, -5.0]
    assert [(row["above"], row["below"]) for row in rows] == [(0.4, 0.6), (1.0, 0.0), (0.0, 1.0)]
    assert rows[1]["head"] == [-15.0, -15.0, -15.0]
    assert [row["over_penultimate"][0] for row in rows] == [9.0, 3.0, 13.0]
    assert [row["over_standardised"][0] for row in rows] == [11.0, 5.0, 15.0]
    assert [row["cross_validated"][0] for row in rows] == [-1.67, 5.0, -5.0]
    assert "| net, graduated | 81 or more | 6 (6) | 85.0 | 80.0 | -5.0 (-5.0 to -5.0) |" in capsys.readouterr().out


def test_grids_without_a_probe_are_left_out():
    grids = [grid(at, origin=f"o{at}") for at in range(4)]
    probe = {"test": 0.7, "penultimate": 0.7, "standardised": 0.7, "cross_validated": 0.7}
    (row,) = tell({"a, b": grids, "c, d": []}, {each.key: probe for each in grids[:3]})[:1]
    assert row["n"] == 3


def test_the_probes_that_are_kept_are_of_grids_that_ship():
    lines = probe_grids.read_probes(probe_grids.PROBES).values()
    assert len(lines) == len(probe_grids.PROBES.read_text().splitlines())
    assert all(0 <= line[what] <= 1 for line in lines for what in ("test", "penultimate", "standardised"))

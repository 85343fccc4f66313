"""Tables and CSV of a profile."""

from __future__ import annotations

import csv
import io

from pictures import example, hostile
from profiles import costs_of, made_profile, profile_of

from vmcu.picture.profile_page import profile_html
from vmcu.profile import from_board
from vmcu.profile.text import CSV_HEADER, csv_text, layer_table, stage_table, sum_of_layers, summary
from vmcu.profile.traffic import step_traffic


def test_csv_reads_back() -> None:
    profile = profile_of()
    text = csv_text(profile)
    assert text.startswith(CSV_HEADER + "\n")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(profile["layers"])
    for row, layer in zip(rows, profile["layers"], strict=True):
        assert row["name"] == layer["name"] and row["op"] == layer["op"]
        for key in ("macs", "instructions", "cycles", "read_bytes", "written_bytes", "weights_bytes"):
            assert int(row[key]) == layer[key]
        assert row["stack_bytes"] == row["stack_seen_bytes"] == ""  # nothing was built
        stage = profile["stages"][int(row["stage"])]
        assert stage["first_step"] <= layer["step"] < stage["end_step"]


def test_names_are_no_formulas_and_no_lines() -> None:
    made = hostile()
    profile = made_profile(made, costs_of(made))
    profile["layers"][0]["name"] = "=1+1"
    rows = list(csv.DictReader(io.StringIO(csv_text(profile))))
    assert len(rows) == len(profile["layers"])
    assert rows[0]["name"] == "'=1+1"
    _, table, _ = layer_table(profile)
    assert all("\n" not in str(cell) for row in table for cell in row)


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    header, rows, numbers = layer_table(profile_of())
    assert "cycles/MAC" in header and "instr./MAC" not in header and "stack" not in header
    assert all(len(row) == len(header) for row in rows)
    assert [header[i] for i in range(len(header)) if i not in numbers] == ["operator", "node"]
    header, _, _ = layer_table(profile_of(cycles=False))
    assert "cycles" not in header and "ms" not in header and "instr./MAC" in header


def test_stages() -> None:
    header, rows, _ = stage_table(profile_of())
    assert header[:2] == ["stage", "steps"] and rows[0][1] == "0 to 6"
    profile = profile_of()
    for told in profile["stages"]:
        first, end = told["first_step"], told["end_step"]
        layers = profile["layers"][first:end]
        for key in (
            "macs",
            "cycles",
            "read_bytes",
            "written_bytes",
            "weights_bytes",
            "ms",
            "estimated_microjoules",
        ):
            assert told[key] == sum(layer[key] for layer in layers)
    for name in ("read", "written", "weights", "ms", "uJ"):
        assert rows[0][header.index(name)] is not None


def test_estimates_are_called_estimates() -> None:
    rows = {row[0]: row for row in summary(profile_of())}
    assert rows["instructions"][2] == "exact"
    assert rows["cycles"][2] == rows["  no cache"][2] == "est." and "zero wait states" in str(
        rows["cycles"][3]
    )
    assert rows["energy"][2] == "uJ est." and rows["time"][3] == "at 100 MHz, from the estimated cycles"
    assert not any("measured" in str(cell) for row in rows.values() for cell in row)


def test_without_cycles_the_reason_is_told() -> None:
    rows = {row[0]: row for row in summary(profile_of(cycles=False))}
    assert rows["cycles"][1] is None and "table of the core's timing" in str(rows["cycles"][3])
    assert "time" not in rows and "energy" not in rows


def test_the_sentence_on_the_sum() -> None:
    profile = profile_of()
    assert "(+0.00%)" in sum_of_layers(profile) and ": within 1% of the whole" in sum_of_layers(profile)
    profile["sum_of_layers"] |= {"cycles_deviation": 0.02, "within_tolerance": False}
    assert "NOT within 1% of the whole" in sum_of_layers(profile)


def test_a_board_s_figures_are_measured() -> None:
    made = example("mnist_cnn")
    tasks = [t.tasks for t in step_traffic(made.plan.schedule)]
    counted = [[1000 * n + k for k, _ in enumerate(tasks)] for n in (9, 1, 2, 3)]
    costs = from_board("a board", counted, (9_000, 1_000, 1_200, 1_100), tasks, hook_cycles=0.25, warm_up=1)
    profile = made_profile(made, costs)
    rows = {row[0]: row for row in summary(profile)}
    assert rows["cycles"][1:3] == [1_100, "measured"]
    assert rows["cycles"][3] == "median of 3 after 1 of warm-up; a board"
    assert rows["  spread"][1:] == ["1,000 to 1,200", "measured", "least and most"]
    assert rows["  hook"][1] == "0.25" and "  no cache" not in rows and "instructions" not in rows
    assert rows["time"] == ["time", "0.011", "ms", "at 100 MHz, measured"]
    assert rows["energy"][2] == "uJ est."  # time is measured, the current is a data sheet's
    page = profile_html(profile, "title")
    assert "per inference, measured" in page and "estimated cycles" not in page
    header, _, _ = layer_table(profile)
    assert "cycles" in header and "instructions" not in header

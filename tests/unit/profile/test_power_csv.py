"""Recordings of power meters: both formats, windows, sums by hand, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.profile.power import measure_draw, read_recording

PPK = "Timestamp(ms),Current(uA),D0-D7\n"
JOULESCOPE = "#time (s),current (A),voltage (V)\n"


def recording(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "power.csv"
    path.write_text(text)
    return path


def test_ppk2_by_hand(tmp_path: Path) -> None:
    """Two inferences of 2 ms and 1 ms on D1; the third is cut off by the end."""
    text = PPK + (
        "0,1000,00000000\n1,10000,01000000\n2,12000,01000000\n3,1000,00000000\n"
        "4,20000,11000000\n5,500,00000000\n6,9000,01000000\n"
    )
    found = measure_draw(read_recording(recording(tmp_path, text)), "d1", 3.0)
    assert found.windows == 2 and found.seconds == pytest.approx(1.5e-3)
    assert found.milliamps == pytest.approx((10 + 12 + 20) / 3)
    # mA * ms * V = uJ
    assert found.least_microjoules == pytest.approx(20 * 3.0)
    assert found.most_microjoules == pytest.approx(22 * 3.0)
    assert found.microjoules == pytest.approx(21 * 3.0)


def test_ppk2_with_a_column_per_input(tmp_path: Path) -> None:
    head = "Timestamp(ms),Current(uA),D0,D1,D2,D3,D4,D5,D6,D7\r\n"
    text = head + "0,1000,0,0,0,0,0,0,0,0\r\n0.01,5000,0,0,1,0,0,0,0,0\r\n0.02,1000,0,0,0,0,0,0,0,0\r\n"
    read = read_recording(recording(tmp_path, text))
    assert list(read.inputs) == [f"D{i}" for i in range(8)]
    found = measure_draw(read, "D2")
    assert (found.windows, found.milliamps) == (1, pytest.approx(5.0))
    assert found.seconds == pytest.approx(10e-6) and found.microjoules is None


def test_an_inference_at_the_start_is_cut_off(tmp_path: Path) -> None:
    text = PPK + "0,9,10000000\n1,1,00000000\n2,5,10000000\n3,1,00000000\n"
    assert measure_draw(read_recording(recording(tmp_path, text)), "D0").windows == 1


def test_joulescope_tells_the_voltage(tmp_path: Path) -> None:
    text = JOULESCOPE + "0.0,0.001,3.0\n0.5,0.010,3.2\n1.0,0.010,3.4\n1.5,0.001,3.0\n"
    found = measure_draw(read_recording(recording(tmp_path, text)), "0.5:1.5", volts=99)
    assert found.seconds == pytest.approx(1.0) and found.milliamps == pytest.approx(10)
    assert found.microjoules == pytest.approx(1e6 * 0.010 * (3.2 + 3.4) * 0.5)


def test_joulescope_with_an_input(tmp_path: Path) -> None:
    text = "time (s),current (A),voltage (V),IN0\n0,0.1,3,0\n1,0.2,3,1\n2,0.1,3,0\n"
    found = measure_draw(read_recording(recording(tmp_path, text)), "in0")
    assert found.windows == 1 and found.milliamps == pytest.approx(200)


def test_a_window_of_time_without_inputs(tmp_path: Path) -> None:
    read = read_recording(recording(tmp_path, "Timestamp(ms),Current(uA)\n0,10\n1,20\n2,40\n3,50\n"))
    assert read.inputs == {} and read.volts is None
    assert measure_draw(read, "0.001:0.003").milliamps == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is in no format that vmcu reads: it begins with []"),
        ("a,b\n1,2\n3,4\n", "is in no format that vmcu reads: it begins with ['a', 'b']"),
        (PPK, "holds fewer than two samples"),
        (PPK + "0,1,00000000\n", "holds fewer than two samples"),
        (PPK + "0,1,00000000\n1,1\n", "line 3 has 2 values, the first line names 3"),
        (PPK + "0,1,00000000\n1,x,00000000\n", "line 3 holds something else than numbers"),
        (PPK + "0,1,00000000\n1,,00000000\n", "line 3 holds something else than numbers"),
        (PPK + "0,1,00000000\n1,nan,00000000\n", "line 3 holds a number that is not finite"),
        (PPK + "0,1,00000000\n1,inf,00000000\n", "line 3 holds a number that is not finite"),
        (PPK + "1,1,00000000\n1,1,00000000\n", "line 3 is not later than the line before it"),
        (PPK + "0,1,00000000\n1,1,00000002\n", "line 3 has digital inputs that are not 0 or 1"),
        (PPK + "0,1,00000000\n1,1,000\n", "line 3 has digital inputs that are not 0 or 1"),
        (PPK + "0,1,000\n1,1,000\n", "line 2 has 3 digital inputs, the first line names 8"),
        ("x" * 100_000, "a line has no end"),
        (PPK + '0,1,"00000000\n', "holds fewer than two samples"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(VmcuError) as caught:
        read_recording(recording(tmp_path, text))
    (problem,) = caught.value.problems
    assert what in problem.what and "power.csv" in problem.where and problem.fix
    assert caught.value.code is Exit.INPUT


def test_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "power.csv").write_bytes(bytes(range(256)))
    with pytest.raises(VmcuError, match="is no CSV file"):
        read_recording(tmp_path / "power.csv")
    with pytest.raises(VmcuError, match="cannot be read: No such file"):
        read_recording(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("window", "what", "fix"),
    [
        ("D9", "is neither START:END in seconds nor an input of the recording", "D0, D1"),
        ("", "is neither START:END in seconds nor an input of the recording", "D0, D1"),
        ("5:6", "holds fewer than two samples", "of 0:0.002 seconds"),
        ("1:0", "holds fewer than two samples", "of 0:0.002 seconds"),
        ("D3", "has no whole inference", "record longer"),
        ("D0", "has no whole inference", "record longer"),
    ],
)
def test_windows_that_are_none(tmp_path: Path, window: str, what: str, fix: str) -> None:
    """D0 rises and never falls."""
    text = PPK + "0,1,00000000\n1,1,10000000\n2,1,10000000\n"
    with pytest.raises(VmcuError) as caught:
        measure_draw(read_recording(recording(tmp_path, text)), window)
    assert what in caught.value.problems[0].what and fix in caught.value.problems[0].fix

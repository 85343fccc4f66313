"""The benchmarks with kept results: what is measured is what was meant, and a change shows."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from bench import cycles, kernels, models_table, record
from bench.peers import KERNELS, MODELS, RECORD_MEGACYCLES
from docs.readme_tables import ROOT, with_tables
from vmcu.pipeline import load

# Of the shapes that CMSIS-NN's kernels were measured with; taps on padding count.
MACS = {
    "pw_20x20_48_48": 921_600,
    "pw_20x20_16_96": 614_400,
    "pw_20x20_96_16": 614_400,
    "pw_10x10_96_96": 921_600,
    "pw_10x10_24_144": 345_600,
    "pw_5x5_160_160": 640_000,
    "pw_25x5_64_64": 512_000,
    "c3x3_32x32_16_16": 2_359_296,
    "c3x3s2_80x80_3_16": 691_200,
    "c3x3_16x16_32_32": 2_359_296,
    "c3x3_8x8_64_64": 2_359_296,
    "dw3x3_20x20_96": 345_600,
    "dw3x3s2_20x20_96": 86_400,
    "dw3x3_10x10_144": 129_600,
    "dw5x5_10x10_96": 240_000,
    "dw7x7_10x10_96": 470_400,
    "fc_1024_256": 262_144,
    "fc_640_128": 81_920,
    "fc_64_12": 768,
}


def test_every_peer_has_its_shape() -> None:
    assert set(kernels.SHAPES) == set(KERNELS) == set(MACS)
    assert set(RECORD_MEGACYCLES) <= set(MODELS)


@pytest.mark.parametrize("name", MACS)
def test_shapes_are_the_peers(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(kernels.SHAPES[name].model().SerializeToString())
    assert load(path).macs == MACS[name]


def test_band_of_the_cycle_model() -> None:
    """From least to most of the ratios, each end of its own; only of what was published with the same kernels."""
    jobs = [cycles.Job(name, "cortex-m4", "gcc", "tflm", "speed") for name in ("mlperf_kws", "mlperf_ad")]
    other = cycles.Job(
        "mlperf_vww", "cortex-m7", "gcc", "tflm", "speed"
    )  # nothing was published of it with these kernels
    rates = {}
    for job, low, high in ((jobs[0], 0.5, 0.8), (jobs[1], 0.75, 1.25)):
        per = cycles.CMSIS_MEGACYCLES[job.name] * 1e6 / MODELS[job.name]["cortex-m4"].instructions
        rates[job] = {"instructions": 1, "cycles": low * per, "cycles_uncached": high * per}
    rates[other] = {"instructions": 1, "cycles": 9, "cycles_uncached": 9}
    told = cycles.band(rates)
    assert "0.50 to 0.75 at the lower end of the band, 0.80 to 1.25 at the upper end" in told
    assert told.endswith("published results are 0.80 to 2.00 times what the model gives.")


def test_differences() -> None:
    old = {"a": {"instructions": 1000, "exact": True, "compiler": "1"}, "b": {"instructions": 1}}
    new = {
        "a": {"instructions": 750, "exact": True, "compiler": "2", "cycles": None},
        "c": {"instructions": 5},
    }
    assert record.differences(old, new) == [
        "a: instructions 1,000 -> 750 (-25.0%)",
        "a: compiler 1 -> 2",
        "c: new",
    ]
    assert record.differences(old, old) == []


def test_a_subset_is_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    kept, out = tmp_path / "kept.json", tmp_path / "out.json"
    kept.write_text(record.text_of({"b": {"n": 1}, "a": {"n": 2}}))
    options = argparse.Namespace(json=out, compare=True, update=True)
    record.finish(options, {"b": {"n": 3}}, kept)
    assert capsys.readouterr().out.strip() == "b: n 1 -> 3 (+200.0%)"
    assert record.read(out) == {"b": {"n": 3}}
    assert kept.read_text() == '{\n "a": {"n": 2},\n "b": {"n": 3}\n}\n'


@pytest.mark.parametrize("path", [kernels.RESULTS, models_table.RESULTS], ids=lambda p: p.name)
def test_kept_results(path: Path) -> None:
    rows = record.read(path)
    assert rows and path.read_text() == record.text_of(rows)
    assert all(row["exact"] for row in rows.values())
    for key, row in rows.items():
        name, core, compiler, numerics = key.split()[:4]
        assert core in record.CORES and compiler in record.COMPILERS and numerics in ("onnx", "tflm")
        assert row["instructions"] > 0 and all(row[v] for v in record.VERSIONS)
        assert (row["estimated_cycles"] is None) == (core == "cortex-m55")
        if path == kernels.RESULTS:
            assert row["macs"] == MACS[name]


def test_a_kernel_is_measured() -> None:
    tools = (importlib.util.find_spec("ziglang"), importlib.util.find_spec("unicorn"))
    if not all(tools):
        pytest.skip("no ziglang or Unicorn")
    rows = dict(kernels.measure(kernels.Job("fc_64_12", "cortex-m4", ("zig",), "tflm")))
    (key, row), = rows.items()  # fmt: skip
    assert key == "fc_64_12 cortex-m4 zig tflm" and row["exact"]
    assert 768 < row["instructions"] < row["estimated_cycles"] < 10 * 768
    text = kernels.table(rows)
    peer = KERNELS["fc_64_12"]["cortex-m4"].instructions
    assert f"{768 / peer:.3f}" in text and f"{peer / row['instructions']:.2f}" in text


def test_a_model_is_measured() -> None:
    path = models_table.SHARED / "mlperf_ad" / "model_qdq_int8io.onnx"
    if not path.exists():
        pytest.skip("no ../shared/models")
    if not importlib.util.find_spec("ziglang") or not importlib.util.find_spec("unicorn"):
        pytest.skip("no ziglang or Unicorn")
    (key, row), = models_table.measure(models_table.Job(path, "cortex-m4", ("zig",), "tflm", "ram"))  # fmt: skip
    assert key == "mlperf_ad cortex-m4 zig tflm ram"
    assert row["exact"] and row["macs"] == 264_192 < row["instructions"]
    assert f"{MODELS['mlperf_ad']['cortex-m4'].instructions:,}" in models_table.table({key: row})


def test_tables_of_readme_are_the_kept_results() -> None:
    """`make readme` after `bench.models_table --update`."""
    text = (ROOT / "README.md").read_text()
    assert with_tables(text) == text
    assert with_tables(text.replace("| 27,576 | 582,846 |", "| 1 | 2 |")) == text

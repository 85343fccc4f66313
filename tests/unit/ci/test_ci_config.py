"""vmcu-ci.toml, the baseline's file and what `vmcu ci init` writes."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command_line import vmcu
from profiles import profile_of
from tiny_models import small_net

from vmcu.ci.baseline import figures_of, read_baseline, write_baseline
from vmcu.ci.config import NAME, read_config
from vmcu.ci.init import CONFIG, WORKFLOWS, config_text, default_requirement, toml_string, workflow_text
from vmcu.errors import Exit, VmcuError
from vmcu.profile.compare import compare
from vmcu.resources import folder

HEAD = 'baseline = "b.json"\nfail_above = "2%"\n'
MODEL = '[[model]]\npath = "model.onnx"\ntarget = "cortex-m4"\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small_net().save(tmp_path, "model.onnx")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / NAME
    path.write_text(text)
    return path


# ---- the configuration -------------------------------------------------------------------------------


def test_defaults(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, HEAD + MODEL))
    assert config.baseline == tmp_path / "b.json" and config.fail_above == 0.02
    assert (config.compiler, config.engine, config.inputs) == ("auto", "auto", 2)
    (job,) = config.jobs
    assert job.model == tmp_path / "model.onnx" and job.key == "model.onnx on cortex-m4"
    assert (job.numerics, job.optimise, job.ram_bytes, job.max_cycles) == ("onnx", None, None, None)


def test_everything(tmp_path: Path) -> None:
    rest = (
        'numerics = "tflm"\noptimize = "speed"\nram = "64K"\nflash = "1 MiB"\nmax_instructions = 5_000\n'
        'max_cycles = 7000\nstream_inputs = ["a"]\nstream_outputs = ["b", "c"]\npool_region = "P"\n'
        'weights_region = "W"\n'
    )
    head = HEAD + 'compiler = "zig"\nengine = "unicorn"\ninputs = 5\ntarget_path = ["x"]\n'
    config = read_config(write(tmp_path, head + MODEL + rest))
    (job,) = config.jobs
    assert (config.compiler, config.engine, config.inputs) == ("zig", "unicorn", 5)
    assert (job.numerics, job.optimise, job.ram_bytes, job.flash_bytes) == ("tflm", "speed", 65_536, 1 << 20)
    assert (job.max_instructions, job.max_cycles) == (5_000, 7_000)
    assert (job.stream_inputs, job.stream_outputs) == (("a",), ("b", "c"))
    assert (job.pool_region, job.weights_region, config.target_path) == ("P", "W", (tmp_path / "x",))


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("[", "is not TOML", NAME),
        ("", "is missing", "'baseline'"),
        ('baseline = "b.json"\n' + MODEL, "is missing", "'fail_above'"),
        (HEAD, "is missing", "'model'"),
        (HEAD + "model = 1\n", "must be one or more tables", "'model'"),
        (HEAD + "[[model]]\npath = 1\n", "must be a text", "[[model]] 1: 'path'"),
        (HEAD + '[[model]]\npath = "a"\n', "is missing", "'target'"),
        (HEAD + MODEL + "rom = 1\n", "is not a key vmcu knows", "'rom'"),
        (HEAD + "colour = 1\n" + MODEL, "is not a key vmcu knows", "'colour'"),
        (HEAD + 'compiler = "icc"\n' + MODEL, "must be one of auto, gcc, zig", "'compiler'"),
        (HEAD + 'engine = "host"\n' + MODEL, "must be one of auto, qemu, unicorn", "'engine'"),
        (HEAD + "inputs = 0\n" + MODEL, "must be more than 0", "'inputs'"),
        (HEAD + MODEL + 'ram = "lots"\n', "must be a size such as", "'ram'"),
        (HEAD + MODEL + 'numerics = "float"\n', "must be one of onnx, tflm", "'numerics'"),
        (HEAD + MODEL + MODEL, "names model.onnx on cortex-m4 twice", NAME),
        (HEAD.replace("2%", "much") + MODEL, "'much' is no percentage", "fail-above"),
        (HEAD.replace("b.json", "/b.json") + MODEL, "must be a path below the file's folder", "'baseline'"),
        (HEAD + 'target_path = ["/x"]\n' + MODEL, "must be a path below the file's folder", "'target_path'"),
        (HEAD + MODEL.replace("model.onnx", "../model.onnx"), "must be a path below", "'path'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, what: str, where: str) -> None:
    with pytest.raises(VmcuError) as caught:
        read_config(write(tmp_path, text))
    (problem,) = caught.value.problems
    assert what in problem.what and where in problem.where and "targets/" not in problem.fix
    assert caught.value.code is Exit.INPUT


def test_no_file(here: Path) -> None:
    found = vmcu("ci", "check")
    assert found.code == 1 and "cannot be read: No such file" in found.err and "vmcu ci init" in found.err


# ---- the baseline ------------------------------------------------------------------------------------


def test_figures_are_enough_to_compare(tmp_path: Path) -> None:
    profile = profile_of()
    write_baseline(tmp_path / "b.json", {"b": figures_of(profile), "a": figures_of(profile)})
    read = read_baseline(tmp_path / "b.json")
    assert read is not None and list(read) == ["a", "b"]
    found = compare(read["a"], profile)
    assert found.layers == () and found.notes == ()
    assert [c.name for c in found.totals] == ["pool", "instructions", "cycles"]
    assert "engine" not in read["a"]  # it differs between machines, its counts do not


def test_the_same_bytes_again(tmp_path: Path) -> None:
    figures = {"a": figures_of(profile_of())}
    write_baseline(tmp_path / "1.json", figures)
    write_baseline(tmp_path / "2.json", figures)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_no_baseline_is_none(tmp_path: Path) -> None:
    assert read_baseline(tmp_path / "b.json") is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is no baseline of vmcu"),
        ("[]", "is no baseline of vmcu"),
        ('{"kind": "profile"}', "is no baseline of vmcu"),
        ('{"kind": "baseline", "schema_version": 1}', "is no baseline of vmcu"),
        ('{"kind": "baseline", "schema_version": 9, "models": {}}', "is of another version of vmcu"),
        (
            '{"kind": "baseline", "schema_version": 1, "models": {"a": 1}}',
            "is neither a profile nor a report",
        ),
    ],
)
def test_files_that_are_no_baseline(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(VmcuError) as caught:
        read_baseline(tmp_path / "b.json")
    assert what in caught.value.problems[0].what and "b.json" in caught.value.problems[0].where


def test_a_baseline_in_no_folder(tmp_path: Path) -> None:
    with pytest.raises(VmcuError, match="its folder does not exist"):
        write_baseline(tmp_path / "none" / "b.json", {})


# ---- init --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_init_writes_two_files(here: Path, service: str) -> None:
    found = vmcu("ci", "init", f"--{service}", "-t", "nucleo-f411re")
    assert found.code == 0 and found.err == ""
    written = sorted(str(p.relative_to(here)) for p in here.rglob("*") if p.is_file())
    assert written == sorted(["model.onnx", CONFIG, WORKFLOWS[service]])
    (job,) = read_config(here / CONFIG).jobs
    assert (job.path, job.target) == ("model.onnx", "nucleo-f411re")
    assert "vmcu ci check --update-baseline" in found.out


@pytest.mark.parametrize("there", [CONFIG, WORKFLOWS["github"]])
def test_init_overwrites_nothing(here: Path, there: str) -> None:
    path = here / there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    found = vmcu("ci", "init")
    assert found.code == 1 and f"'{there}': exists, and is not overwritten" in found.err
    assert path.read_text() == "mine"
    assert {str(p.relative_to(here)) for p in here.rglob("*") if p.is_file()} == {"model.onnx", there}


def test_init_names_all_that_is_there(here: Path) -> None:
    assert vmcu("ci", "init").code == 0
    found = vmcu("ci", "init")
    assert found.code == 1 and "2 problems" in found.err


def test_init_where_a_file_is_in_the_way(here: Path) -> None:
    (here / ".github").write_text("a file")
    found = vmcu("ci", "init")
    assert found.code == 1 and "cannot be made" in found.err


def test_init_prints(here: Path) -> None:
    found = vmcu("ci", "init", "--gitlab", "--print")
    assert found.code == 0 and "[[model]]" in found.out and "vmcu ci check --junit" in found.out
    assert [p.name for p in here.iterdir()] == ["model.onnx"]


def test_init_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = vmcu("ci", "init")
    assert found.code == 1 and "no model is named" in found.err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ["/x/model.onnx", "../model.onnx"])
def test_init_takes_models_of_the_repository(here: Path, model: str) -> None:
    found = vmcu("ci", "init", model)
    assert found.code == 1 and "is not below the current folder" in found.err


def test_init_with_a_board_of_one_s_own(here: Path) -> None:
    (here / "boards").mkdir()
    board = folder("targets") / "boards" / "disco-f746ng.toml"
    (here / "boards" / "mine.toml").write_text(board.read_text())
    words = ("--pool-region", "DTCM", "--weights-region", "QSPI", "--target-path", "boards")
    found = vmcu("ci", "init", "-t", "mine", *words)
    assert found.code == 0, found.err
    config = read_config(here / CONFIG)
    assert config.target_path == (here / "boards",)
    assert (config.jobs[0].pool_region, config.jobs[0].weights_region) == ("DTCM", "QSPI")
    other = vmcu("ci", "init", "-t", "mine")
    assert other.code == 1 and "is no target vmcu knows" in other.err


def test_init_knows_its_targets(here: Path) -> None:
    found = vmcu("ci", "init", "-t", "cortex-m99")
    assert found.code == 1 and "is no target vmcu knows" in found.err


@pytest.mark.parametrize("name", ['a "b".onnx', "a\\b.onnx", "ä 模型.onnx", "a'b # c.onnx", "{{ x }}.onnx"])
def test_any_name_survives_toml(name: str) -> None:
    read: dict[str, Any] = tomllib.loads(config_text([name, "b.onnx"], "cortex-m4"))
    assert [m["path"] for m in read["model"]] == [name, "b.onnx"]


def test_a_name_that_nobody_can_read() -> None:
    with pytest.raises(VmcuError, match="has unprintable characters in its name"):
        toml_string("a\nb.onnx")


def test_workflows_are_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    for requirement in (default_requirement(), 'a\'b "c" # $(x): {y}'):
        github = yaml.safe_load(workflow_text("github", requirement))
        steps = github["jobs"]["check"]["steps"]
        commands = [step["run"] for step in steps if "run" in step]
        gitlab = yaml.safe_load(workflow_text("gitlab", requirement))
        assert gitlab["vmcu"]["script"] == [c.replace("sudo ", "") for c in commands]  # it is root there
        assert "qemu-system-arm" in commands[1]
        assert commands[2:] == ["vmcu doctor", "vmcu ci check --junit vmcu-junit.xml"]
        assert shlex.split(commands[0]) == ["python", "-m", "pip", "install", requirement]


@pytest.mark.parametrize("requirement", ["a\nb", " "])
def test_no_requirement(requirement: str) -> None:
    with pytest.raises(VmcuError, match="is empty or no plain text"):
        workflow_text("github", requirement)


def test_the_baseline_is_json_of_one_entry_a_line(tmp_path: Path) -> None:
    """So that a diff of the committed file shows what has changed."""
    write_baseline(tmp_path / "b.json", {"a": figures_of(profile_of())})
    text = (tmp_path / "b.json").read_text()
    assert text.endswith("}\n") and json.loads(text)["kind"] == "baseline"
    assert sum('"instructions": ' in line for line in text.splitlines()) == 1 + len(profile_of()["layers"])

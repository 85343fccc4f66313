"""Writing a project: all or nothing, and never over files that are not vmcu's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vmcu.errors import Exit, VmcuError
from vmcu.save import save_files, write_bytes

FILES = {"a.c": "int a;\n", "sub/b.h": "int b;\n"}


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() or p.is_symlink())


def test_writes_all_and_lists_it(tmp_path: Path) -> None:
    save_files(tmp_path / "new" / "out", FILES, {"x": 1})
    assert names(tmp_path) == ["new/out/a.c", "new/out/report.json", "new/out/sub/b.h"]
    assert json.loads((tmp_path / "new/out/report.json").read_text()) == {
        "x": 1,
        "files": ["a.c", "report.json", "sub/b.h"],
    }


def test_replaces_its_own_whole(tmp_path: Path) -> None:
    save_files(tmp_path / "out", FILES, {})
    save_files(tmp_path / "out", {"c.c": ""}, {})
    assert names(tmp_path) == ["out/c.c", "out/report.json"]


def test_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    save_files(tmp_path / "out", FILES, {})
    assert "a.c" in names(tmp_path / "out")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    save_files(tmp_path / "link", FILES, {})
    assert (tmp_path / "link").is_symlink() and "a.c" in names(tmp_path / "real")


@pytest.mark.parametrize(
    "prepare",
    [
        lambda out: (out / "mine.txt").write_text("x"),
        lambda out: (out / "mine").symlink_to("/"),
        lambda out: (out / "report.json").write_text("not ours"),
        lambda out: (out / "report.json").write_text('{"files": 3}'),
        lambda out: (out / "report.json").write_bytes(b"\xff\xfe"),
        lambda out: (out / "a.c").write_text("no report says that this is ours"),
    ],
)
def test_refuses_foreign_files(tmp_path: Path, prepare: object) -> None:
    out = tmp_path / "out"
    out.mkdir()
    prepare(out)  # type: ignore[operator]
    before = names(tmp_path)
    with pytest.raises(VmcuError, match="holds files that vmcu did not write") as error:
        save_files(out, FILES, {})
    assert error.value.code is Exit.INPUT
    assert names(tmp_path) == before


def test_names_only_the_first_foreign_files(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"f{i:02}").touch()
    with pytest.raises(VmcuError) as error:
        save_files(tmp_path, FILES, {})
    assert error.value.problems[0].what.count(",") == 5 and "..." in error.value.problems[0].what


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("step", ["write_text", "rename"])
def test_failure_in_the_middle_changes_nothing(
    step: str, existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if existing:
        save_files(out, {"old.c": "old"}, {})
    before = names(tmp_path)
    calls = []

    def second_fails(real: object) -> object:
        def call(*arguments: object, **options: object) -> object:
            calls.append(arguments)
            if len(calls) == (1 if step == "rename" and not existing else 2):
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)  # type: ignore[operator]

        return call

    where: object = os if step == "rename" else Path
    monkeypatch.setattr(where, step, second_fails(getattr(where, step)))
    with pytest.raises(VmcuError, match="cannot be written: No space left on device") as error:
        save_files(out, FILES, {})
    monkeypatch.undo()
    assert error.value.code is Exit.INPUT
    assert names(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["out"] if existing else [])


def test_folder_one_above_the_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder in (Path(), Path(".."), tmp_path):
        with pytest.raises(VmcuError, match="is the current folder, or one above it"):
            save_files(folder, FILES, {})


def test_circle_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(VmcuError, match="cannot be written"):
        save_files(tmp_path / "a", FILES, {})


def test_write_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "x", b"one")
    assert (tmp_path / "x").read_bytes() == b"one" and (tmp_path / "x").stat().st_mode & 0o111 == 0

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"one" and names(tmp_path) == ["x"]

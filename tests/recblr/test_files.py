"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from recblr.errors import OutputError
from recblr.files import check_not_input, check_writable, replacing, replacing_directory, write_json, write_text


def fill(folder: Path, text: str) -> None:
    (folder / "a.txt").write_text(text)


def test_text_and_json_are_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "grüße\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "grüße\n"
    write_json(tmp_path / "a.json", {"ü": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ü": [1, None]}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.txt"]


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "ours", "")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.txt")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="create its folder first"):
        check_writable(tmp_path / "none" / "new.txt")
    with pytest.raises(OutputError, match="name a file"):
        check_writable(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="one part of the path is a file"):
        check_writable(tmp_path / "file" / "new.txt")


@pytest.mark.parametrize("existing", ["nothing", "an empty folder", "a bundle"])
def test_folders_are_made_whole(tmp_path: Path, existing: str) -> None:
    path = tmp_path / "bundle"
    if existing != "nothing":
        path.mkdir()
    if existing == "a bundle":
        fill(path, "old")
        (path / "stale.txt").touch()
    with replacing_directory(path, may_replace=lambda found: found == path) as temporary:
        fill(temporary, "new")
    assert [p.name for p in path.iterdir()] == ["a.txt"]
    assert (path / "a.txt").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_folder(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    fill(path, "old")

    def write() -> None:
        with replacing_directory(path, may_replace=lambda _: True) as temporary:
            fill(temporary, "half")
            raise failure

    with pytest.raises(failure):
        write()
    assert (path / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_failure_amid_the_exchange_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    fill(path, "old")
    rename = Path.rename

    def fails_for_the_new_one(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise failure
        return rename(self, target)

    def write() -> None:
        with replacing_directory(path, may_replace=lambda _: True) as temporary:
            fill(temporary, "new")

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises((OutputError, failure)):
        write()
    assert (path / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    fill(tmp_path / "thesis", "years of work")
    (tmp_path / "file").write_text("x")

    def write(path: Path) -> None:
        with replacing_directory(path, may_replace=lambda _: False) as temporary:
            fill(temporary, "new")

    for path in (tmp_path / "thesis", tmp_path / "file"):
        with pytest.raises(OutputError, match="exists and is not a bundle"):
            write(path)
    with pytest.raises(OutputError, match="create its folder first"):
        write(tmp_path / "none" / "bundle")
    assert (tmp_path / "thesis" / "a.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "thesis"]


@pytest.mark.usefixtures("bound_by_permissions")
def test_closed_folders(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="choose a place you may write to"):
        check_writable(tmp_path / "new.txt")
    with pytest.raises(OutputError, match="choose a place you may write to"):
        write_text(tmp_path / "new.txt", "x")
    tmp_path.chmod(0o700)


_KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from recblr.files import replacing, replacing_directory
path = Path(sys.argv[1])
if path.suffix:
    with replacing(path) as temporary:
        temporary.write_text("half")
        print(temporary.name, flush=True)
        sys.stdin.read()
else:
    with replacing_directory(path, lambda _: True) as temporary:
        (temporary / "a.txt").write_text("half")
        print(temporary.name, flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["model.pt", "bundle"])
def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    command = [sys.executable, "-c", _KILLED_WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        temporary = tmp_path / writer.stdout.readline().strip()
        check_writable(tmp_path / "model.pt")
        assert temporary.exists()
        (tmp_path / f".{name}.log.12345678.tmp").touch()  # another output's
        writer.send_signal(signal.SIGKILL)
    assert temporary.exists()
    if path.suffix:
        write_text(path, "whole")
    else:
        with replacing_directory(path, lambda _: True) as folder:
            fill(folder, "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([name, f".{name}.log.12345678.tmp"])


def test_a_folder_that_a_killed_writer_had_moved_aside_comes_back(tmp_path: Path) -> None:
    path, moved = tmp_path / "bundle", tmp_path / ".bundle.12345678.old"
    moved.mkdir()
    fill(moved, "old")

    def write() -> None:
        with replacing_directory(path, lambda _: True):
            assert (path / "a.txt").read_text() == "old"
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        write()
    assert (path / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_devices_and_pipes_are_no_outputs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OutputError, match=f"{name}: it is a device or a pipe"):
            check_writable(tmp_path / name)
        with pytest.raises(OutputError, match=f"{name}: it is a device or a pipe"):
            write_text(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "v1").mkdir(parents=True)
    fill(elsewhere / "v1", "old")
    for name, target in (("file", "a.txt"), ("bundle", "v1")):
        (tmp_path / name).symlink_to(elsewhere / target)
    for text in ("old", "new"):  # the first makes the file that the link leads to
        write_text(tmp_path / "file", text)
        assert (elsewhere / "a.txt").read_text() == text
    with replacing_directory(tmp_path / "bundle", lambda _: True) as folder:
        fill(folder, "new")
    assert (elsewhere / "v1" / "a.txt").read_text() == "new"
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "bundle").is_symlink()
    assert sorted(os.listdir(elsewhere)) == ["a.txt", "v1"]


def test_an_input_is_not_written_over(tmp_path: Path) -> None:
    data = tmp_path / "x.csv"
    data.touch()
    (tmp_path / "link").symlink_to(data)
    os.link(data, tmp_path / "hard")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model.pt").touch()
    for output, given in (
        ("x.csv", "x.csv"),
        ("link", "x.csv"),
        ("hard", "x.csv"),
        ("x.csv", "link"),
        ("bundle/../x.csv", "x.csv"),
        ("bundle", "bundle/model.pt"),
    ):
        with pytest.raises(OutputError, match="would destroy the input"):
            check_not_input(tmp_path / output, [tmp_path / "other", tmp_path / given])
    check_not_input(tmp_path / "y.csv", [data])
    check_not_input(tmp_path / "bundle" / "new.pt", [tmp_path / "bundle", data])

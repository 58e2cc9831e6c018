import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fewlabels.storage.atomic import (
    atomic_folder,
    check_writable,
    copy_all,
    remove_leftovers,
    write_bytes,
    write_json,
    write_text,
)
from fewlabels.storage.errors import InputError


def test_a_write_that_fails_leaves_the_old_file_and_names_path_and_need(tmp_path):
    """The limit on the size of a file stands in for a full disk: the system refuses in the same place."""
    path = tmp_path / "file"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"2\.0 MB are needed") as caught:
            write_bytes(path, b"x" * 2_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_written_leaves_the_old_one(tmp_path):
    target = tmp_path / "model"
    with atomic_folder(target) as folder:
        write_text(folder / "a", "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="MB are needed"), atomic_folder(target) as folder:
            write_text(folder / "a", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (target / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_an_error_of_the_block_itself_is_not_blamed_on_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_folder(tmp_path / "model"):
        open(tmp_path / "elsewhere").close()


def test_a_killed_writer_leaves_the_old_or_the_new_folder_and_never_none(tmp_path):
    code = """
import sys
from pathlib import Path
from fewlabels.storage.atomic import atomic_folder, write_text
target, number = Path(sys.argv[1]), 0
while True:
    number += 1
    with atomic_folder(target) as folder:
        for name in "abc":
            write_text(folder / name, str(number))
"""
    target = tmp_path / "model"
    for delay in (0.0, 0.003, 0.011, 0.02, 0.05):
        process = subprocess.Popen([sys.executable, "-c", code, str(target)])
        while not target.exists():
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        contents = {path.read_text() for path in target.iterdir()}
        assert len(contents) == 1
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["model"]


def test_two_that_finish_the_same_folder_at_once_both_end_well(tmp_path):
    target = tmp_path / "entry"
    with pytest.MonkeyPatch.context() as patch, atomic_folder(target) as folder:
        write_text(folder / "a", "second")
        with atomic_folder(target) as other:
            write_text(other / "a", "first")
        # As the second saw it a moment before the first had renamed its own.
        patch.setattr(Path, "exists", lambda path: False)
    assert (target / "a").read_text() == "second"
    assert os.listdir(tmp_path) == ["entry"]


def test_bytes_of_a_name_that_are_no_text_are_written_and_read_back(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "a.json", {"name": name})
    assert json.loads((tmp_path / "a.json").read_text())["name"] == name


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"content")
    reader.join(timeout=30)
    assert found == [b"content"]
    assert pipe.is_fifo()


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_a_private_file_stays_private(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    path.chmod(0o600)
    write_bytes(path, b"new")
    assert (path.stat().st_mode & 0o777, path.read_bytes()) == (0o600, b"new")


@pytest.mark.parametrize("words", [("-t", "tmpfs", "tmpfs"), ("--bind", ".")], ids=["disk", "folder of the same disk"])
def test_a_mount_point_which_no_rename_replaces_is_refused(tmp_path, words):
    place = tmp_path / "my models"
    place.mkdir()
    check_writable(place)
    mount = ["mount", *words, str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, cwd=tmp_path).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (tmp_path / "link").symlink_to(place)
        for target in (place, tmp_path / "link"):
            with pytest.raises(InputError, match=f"{target} is a mount point.* give a folder in it: {target}/model$"):
                check_writable(target)
        check_writable(place / "model")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("name", ["model", "models/first"])
def test_a_place_below_a_file_is_refused(tmp_path, name):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"cannot be written: .*notes\.txt is a file, and no folder$"):
        check_writable(tmp_path / "notes.txt" / name)


def test_where_no_mode_can_be_set_files_and_folders_are_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    kept = tmp_path / "kept"
    (kept / "deep").mkdir(parents=True)
    (kept / "deep" / "file").write_text("mine")
    (kept / "link").symlink_to("deep")
    monkeypatch.setattr(os, "chmod", refuse)
    write_text(tmp_path / "file", "new")
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "model") as folder:
            write_text(folder / "a", content)
            copy_all(kept, folder / "kept")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "model" / "a").read_text() == "new"
    assert (tmp_path / "model" / "kept" / "deep" / "file").read_text() == "mine"
    assert (tmp_path / "model" / "kept" / "link").readlink() == Path("deep")
    assert sorted(os.listdir(tmp_path)) == ["file", "kept", "model"]

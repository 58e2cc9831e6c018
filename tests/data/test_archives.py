"""STL-10 and CIFAR in their official forms, from small archives written here; downloads from a local server."""

import hashlib
import io
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from fewlabels import load_dataset
from fewlabels.data import cifar, stl10
from fewlabels.data.download import download
from fewlabels.storage.errors import InputError, Interrupted


def write_tar(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def stl_images(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)


def stl_bytes(images):
    # Official layout: channel by channel, each column by column.
    return images.transpose(0, 3, 2, 1).tobytes()


@pytest.fixture
def stl(tmp_path):
    train, pool, test = stl_images(20, 0), stl_images(7, 1), stl_images(10, 2)
    labels = np.arange(20) % 10 + 1
    files = {
        "stl10_binary/train_X.bin": stl_bytes(train),
        "stl10_binary/train_y.bin": labels.astype(np.uint8).tobytes(),
        "stl10_binary/unlabeled_X.bin": stl_bytes(pool),
        "stl10_binary/test_X.bin": stl_bytes(test),
        "stl10_binary/test_y.bin": (np.arange(10) + 1).astype(np.uint8).tobytes(),
        "stl10_binary/class_names.txt": b"airplane\n",
        "stl10_binary/fold_indices.txt": b"\n".join(
            b" ".join(str((k + i) % 20).encode() for i in range(10)) for k in range(10)
        ),
    }
    return write_tar(tmp_path / "stl10_binary.tar.gz", files), files, train, pool


def test_stl10_pixels_are_turned_upright_and_labels_begin_at_zero(stl, tmp_path):
    path, _, train, pool = stl
    data = load_dataset(f"stl10:{path}", image_size=96, cache_dir=tmp_path / "cache")
    assert np.array_equal(data.labeled[:], train)
    assert np.array_equal(data.pool[:], pool)
    assert data.labels.tolist() == [*range(10)] * 2
    assert data.class_names[0] == "airplane"
    assert len(data.test) == 10


def test_stl10_is_resized_and_found_by_its_file_name(stl, tmp_path):
    data = load_dataset(stl[0], cache_dir=tmp_path / "cache")
    assert data.image_size == (32, 32)
    assert "resized to 32x32" in data.notes[0]
    assert abs(float(data.labeled[0].mean()) - float(stl[2][0].mean())) < 2


def test_an_stl10_fold_gives_its_images_and_the_rest_join_the_pool(stl, tmp_path):
    path, _, train, _ = stl
    data = load_dataset(f"stl10:{path}", image_size=96, fold=3, cache_dir=tmp_path / "cache")
    assert np.array_equal(data.labeled[:], train[3:13])
    assert len(data.pool) == 10 + 7
    assert data.diagnostics.pool_labels[:3].tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="fold=10"):
        load_dataset(f"stl10:{path}", fold=10, cache_dir=tmp_path / "cache")
    with pytest.raises(InputError, match="for stl10 alone"):
        load_dataset("digits", fold=1)


def test_a_fold_keeps_its_images_where_some_are_held_out_to_test_with(stl, tmp_path):
    _, files, train, _ = stl
    del files["stl10_binary/test_y.bin"]
    path = write_tar(tmp_path / "stl10_binary.tar.gz", files)
    data = load_dataset(path, image_size=96, fold=3, cache_dir=tmp_path / "cache")
    held_out = {image.tobytes() for image in data.test[:]}
    assert [image.tobytes() for image in data.labeled[:]] == [
        image.tobytes() for image in train[3:13] if image.tobytes() not in held_out
    ]


def test_a_truncated_stl10_file_is_refused_and_leaves_no_cache(stl, tmp_path):
    _, files, *_ = stl
    files["stl10_binary/test_X.bin"] = files["stl10_binary/test_X.bin"][:-5]
    path = write_tar(tmp_path / "cut.tar.gz", files)
    with pytest.raises(InputError, match="no multiple of an image"):
        load_dataset(f"stl10:{path}", cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "archives").iterdir())


def cifar_files(labels_key=b"labels", names=(b"batches.meta", b"label_names"), count=10):
    generator = np.random.default_rng(0)
    files = {}
    for name, rows in (("data_batch_1", 20), ("data_batch_2", 20), ("test_batch", 10)):
        batch = {
            b"data": generator.integers(0, 256, (rows, 3072), dtype=np.uint8),
            labels_key: [int(i % count) for i in range(rows)],
        }
        files[name] = pickle.dumps(batch, protocol=2)
    files[names[0].decode()] = pickle.dumps({names[1]: [b"c%d" % i for i in range(count)]}, protocol=2)
    return files


def test_cifar10_pickles_are_read_as_arrays(tmp_path):
    files = cifar_files()
    path = write_tar(tmp_path / "cifar-10-python.tar.gz", {f"cifar-10-batches-py/{k}": v for k, v in files.items()})
    data = load_dataset(path, cache_dir=tmp_path / "cache")
    expected = pickle.loads(files["data_batch_1"])[b"data"][0].reshape(3, 32, 32).transpose(1, 2, 0)
    assert np.array_equal(data.labeled[0], expected)
    assert data.class_names == tuple(f"c{i}" for i in range(10))
    assert (len(data.labeled), len(data.test)) == (40, 10)


def test_cifar100_takes_the_fine_labels(tmp_path):
    train = {b"data": np.zeros((200, 3072), np.uint8), b"fine_labels": [i % 100 for i in range(200)]}
    test = {b"data": np.zeros((100, 3072), np.uint8), b"fine_labels": list(range(100))}
    meta = {b"fine_label_names": [b"n%d" % i for i in range(100)]}
    files = {"train": train, "test": test, "meta": meta}
    packed = {f"cifar-100-python/{k}": pickle.dumps(v, protocol=2) for k, v in files.items()}
    path = write_tar(tmp_path / "c.tar.gz", packed)
    data = load_dataset(f"cifar100:{path}", cache_dir=tmp_path / "cache")
    assert data.class_names[99] == "n99"
    assert data.test_labels.tolist() == list(range(100))


def test_the_binary_version_is_read_too(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)
    rows = np.concatenate([(np.arange(20) % 10)[:, None].astype(np.uint8), images], axis=1).tobytes()
    names = "\n".join(f"c{i}" for i in range(10)).encode()
    files = {"data_batch_1.bin": rows, "test_batch.bin": rows, "batches.meta.txt": names}
    path = write_tar(tmp_path / "cifar-10-binary.tar.gz", {f"cifar-10-batches-bin/{k}": v for k, v in files.items()})
    data = load_dataset(path, cache_dir=tmp_path / "cache")
    assert np.array_equal(data.labeled[3], images[3].reshape(3, 32, 32).transpose(1, 2, 0))
    assert data.class_names[7] == "c7"


@pytest.fixture
def cifar_folder(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in cifar_files().items():
        (folder / name).write_bytes(content)
    return folder


def test_an_archive_that_is_copied_or_touched_is_the_same_data(cifar_folder, tmp_path):
    def read(folder):
        return load_dataset(f"cifar10:{folder}", cache_dir=tmp_path / "cache").fingerprint

    before = read(cifar_folder)
    copy = shutil.copytree(cifar_folder, tmp_path / "copy")
    assert read(copy) == before
    os.utime(cifar_folder / "data_batch_1", (1, 1))
    assert read(cifar_folder) == before
    batch = pickle.loads((copy / "data_batch_1").read_bytes())
    batch[b"data"][0, 0] ^= 1
    (copy / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=2))
    assert read(copy) != before


def test_an_archive_that_is_replaced_by_another_of_its_size_and_time_is_read_anew(cifar_folder, tmp_path):
    path = cifar_folder / "data_batch_1"
    os.utime(path, (1, 1))
    before = load_dataset(f"cifar10:{cifar_folder}", cache_dir=tmp_path / "cache").fingerprint
    batch = pickle.loads(path.read_bytes())
    batch[b"data"][0, 0] ^= 1
    path.write_bytes(pickle.dumps(batch, protocol=2))
    os.utime(path, (1, 1))
    assert load_dataset(f"cifar10:{cifar_folder}", cache_dir=tmp_path / "cache").fingerprint != before


def test_an_archives_entry_that_does_not_tell_its_content_is_made_anew(cifar_folder, tmp_path):
    before = load_dataset(f"cifar10:{cifar_folder}", cache_dir=tmp_path / "cache").fingerprint
    (entry,) = (tmp_path / "cache" / "archives").iterdir()
    (entry / "entry.json").write_text('{"format_version": 1}')
    assert load_dataset(f"cifar10:{cifar_folder}", cache_dir=tmp_path / "cache").fingerprint == before


def test_an_archives_entry_that_has_lost_a_part_is_made_anew(cifar_folder, tmp_path):
    before = load_dataset(f"cifar10:{cifar_folder}", cache_dir=tmp_path / "cache")
    for lost in (tmp_path / "cache" / "archives").glob("*/test.images.npy"):
        lost.unlink()
    again = load_dataset(f"cifar10:{cifar_folder}", cache_dir=tmp_path / "cache")
    assert np.array_equal(again.test[:], before.test[:])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:200],
        lambda content: content.replace("c5".encode("utf-32-le"), "d5".encode("utf-32-le")),
    ],
    ids=["cut off", "another letter"],
)
def test_a_damaged_entry_of_an_archive_is_made_anew(cifar_folder, tmp_path, damage):
    load_dataset(f"cifar10:{cifar_folder}", cache_dir=tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "archives").glob("*/arrays.npz")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    assert load_dataset(f"cifar10:{cifar_folder}", cache_dir=tmp_path / "cache").class_names[5] == "c5"


@pytest.mark.parametrize("packed", [False, True])
def test_of_both_versions_beside_each_other_the_python_one_is_read(cifar_folder, tmp_path, packed):
    rows = np.zeros((20, 3073), np.uint8).tobytes()
    binary = {"data_batch_1.bin": rows, "test_batch.bin": rows, "batches.meta.txt": b"other\n" * 10}
    path = cifar_folder
    if packed:
        path = write_tar(tmp_path / "both.tar.gz", binary | cifar_files())
    for name, content in binary.items():
        (cifar_folder / name).write_bytes(content)
    data = load_dataset(f"cifar10:{path}", cache_dir=tmp_path / "cache")
    assert (len(data.labeled), len(data.test)) == (40, 10)
    assert data.class_names == tuple(f"c{i}" for i in range(10))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_pickle_code_in_a_cifar_archive_is_not_run(tmp_path):
    files = cifar_files()
    target = tmp_path / "owned"
    files["data_batch_1"] = pickle.dumps({b"data": Bomb(str(target)), b"labels": []}, protocol=2)
    path = write_tar(tmp_path / "x.tar.gz", files)
    with pytest.raises(InputError, match="which is not read"):
        load_dataset(f"cifar10:{path}", cache_dir=tmp_path / "cache")
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../data_batch_1", tarfile.REGTYPE, "points outside"),
        ("/etc/data_batch_1", tarfile.REGTYPE, "points outside"),
        ("data_batch_1", tarfile.SYMTYPE, "a link or a device"),
        ("data_batch_1", tarfile.CHRTYPE, "a link or a device"),
    ],
)
def test_members_that_point_outside_are_refused(tmp_path, name, kind, message):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    path = write_tar(tmp_path / "x.tar.gz", {name: info})
    with pytest.raises(InputError, match=message):
        load_dataset(f"cifar10:{path}", cache_dir=tmp_path / "cache")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(b"junk" * 1000)
    with pytest.raises(InputError, match="not a readable archive"):
        load_dataset(f"stl10:{tmp_path / 'x.tar.gz'}", cache_dir=tmp_path / "cache")


@pytest.fixture
def server():
    """A server of one file that cuts the first connections after some bytes, and knows Range or not."""

    class Handler(BaseHTTPRequestHandler):
        content, cuts, ranges, chunked, requests, delay, refuses = b"", [], True, False, [], 0.0, False

        def do_GET(self):
            asked = self.headers.get("Range")
            type(self).requests.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
            if start >= len(self.content) or self.refuses:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(self.content)}")
                self.end_headers()
                return
            body = self.content[start:]
            time.sleep(self.delay)
            self.send_response(206 if start else 200)
            if self.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n" % len(body) + body[:1000])
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield Handler, f"http://127.0.0.1:{running.server_port}/file.bin"
    running.shutdown()
    running.server_close()
    thread.join()


CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


def test_a_download_that_is_cut_goes_on_where_it_was(server, tmp_path):
    handler, url = server
    handler.content, handler.cuts = CONTENT, [300_000, 400_000]
    target = download(url, tmp_path / "file.bin", MD5)
    assert target.read_bytes() == CONTENT
    assert handler.requests == [None, "bytes=300000-", "bytes=700000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]
    download(url, target, MD5)
    assert len(handler.requests) == 3


def test_a_server_that_cannot_go_on_sends_it_all_again(server, tmp_path):
    handler, url = server
    handler.content, handler.cuts, handler.ranges = CONTENT, [300_000], False
    assert download(url, tmp_path / "file.bin", MD5).read_bytes() == CONTENT


def test_a_later_call_continues_an_earlier_one(server, tmp_path):
    handler, url = server
    handler.content = CONTENT
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:500_000])
    assert download(url, tmp_path / "file.bin", MD5).read_bytes() == CONTENT
    assert handler.requests == ["bytes=500000-"]


@pytest.mark.parametrize("sends", ["page", "page in pieces", "refusal"])
def test_a_page_to_log_in_and_a_refusal_take_away_nothing_of_what_has_come(server, tmp_path, sends):
    handler, url = server
    handler.content = CONTENT if sends == "refusal" else b"<html>please log in</html>"
    handler.ranges, handler.refuses, handler.chunked = sends == "refusal", sends == "refusal", "pieces" in sends
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:500_000])
    with pytest.raises(InputError, match="cannot be downloaded"):
        download(url, tmp_path / "file.bin", MD5)
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin.part"]
    handler.content, handler.ranges, handler.refuses, handler.chunked = CONTENT, True, False, False
    assert download(url, tmp_path / "file.bin", MD5).read_bytes() == CONTENT
    assert handler.requests[-1] == "bytes=500000-"


def test_a_file_that_had_come_whole_is_done(server, tmp_path):
    handler, url = server
    handler.content = CONTENT
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert download(url, tmp_path / "file.bin", MD5).read_bytes() == CONTENT


def test_a_disk_that_is_full_is_no_fault_of_the_address(server, tmp_path):
    handler, url = server
    handler.content = CONTENT
    code = (
        "import resource, signal, sys; from pathlib import Path; from fewlabels.data.download import download\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])\n"
        "except OSError as error: print(error.filename)"
    )
    command = [sys.executable, "-c", code, url, str(tmp_path / "file.bin"), MD5]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(tmp_path / "file.bin.part")


def test_a_download_that_is_stopped_says_what_is_kept(server, tmp_path, monkeypatch):
    handler, url = server
    handler.content, handler.delay = CONTENT, 2.0
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:500_000])
    # Tests that run in the background of a shell are started with it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
    try:
        with pytest.raises(
            Interrupted, match=r"^stopped; what has come is kept in .*file\.bin\.part, and the same command"
        ):
            download(url, tmp_path / "file.bin", MD5)
    finally:
        signal.signal(signal.SIGINT, before)


def test_two_that_want_the_same_file_fetch_it_once(server, tmp_path):
    handler, url = server
    handler.content, handler.delay = CONTENT, 1.0
    code = "import sys; from pathlib import Path; from fewlabels.data.download import download\n"
    code += "download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])"
    command = [sys.executable, "-c", code, url, str(tmp_path / "file.bin"), MD5]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert handler.requests == [None]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_a_wrong_checksum_is_refused_and_the_file_removed(server, tmp_path):
    handler, url = server
    handler.content = CONTENT[:-1] + b"?"
    with pytest.raises(InputError, match="has checksum"):
        download(url, tmp_path / "file.bin", MD5)
    assert not list(tmp_path.iterdir())


def test_a_piece_that_is_cut_off_is_told_in_one_line(server, tmp_path):
    handler, url = server
    handler.content, handler.chunked = CONTENT, True
    with pytest.raises(InputError, match=r"cannot be downloaded .* give its path"):
        download(url, tmp_path / "file.bin", MD5)


def test_an_address_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"cannot be downloaded .* give its path"):
        download("http://127.0.0.1:9/none", tmp_path / "file.bin", MD5)


def test_the_published_checksums_are_such():
    for md5 in (stl10.MD5, *cifar.MD5.values()):
        assert re.fullmatch(r"[0-9a-f]{32}", md5)
    # As its page, torchvision and TensorFlow Datasets have it.
    assert stl10.MD5 == "91f7769df0f17e558f3565bffb0c7dfb"


def test_stl10_by_name_is_downloaded_checked_and_read(server, stl, tmp_path, monkeypatch):
    handler, url = server
    handler.content = stl[0].read_bytes()
    monkeypatch.setattr(stl10, "MD5", hashlib.md5(handler.content).hexdigest())
    data = load_dataset("stl10", url=url, cache_dir=tmp_path / "cache")
    assert len(data.pool) == 7
    monkeypatch.setattr(stl10, "MD5", "0" * 32)
    with pytest.raises(InputError, match="checksum"):
        load_dataset("stl10", url=url + "x", cache_dir=tmp_path / "cache")


def test_a_damaged_download_is_told_and_fetched_anew_the_next_time(server, stl, tmp_path, monkeypatch):
    handler, url = server
    handler.content = stl[0].read_bytes()
    monkeypatch.setattr(stl10, "MD5", hashlib.md5(handler.content).hexdigest())
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / url.rpartition("/")[2]).write_bytes(b"damaged")
    with pytest.raises(InputError, match="download it again"):
        load_dataset("stl10", url=url, cache_dir=tmp_path / "cache")
    assert len(load_dataset("stl10", url=url, cache_dir=tmp_path / "cache").pool) == 7

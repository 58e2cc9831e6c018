"""Pools in shards: what is read is what was written, and what is kept stays below the limit."""

import copy
import hashlib
import io
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from command_line import run_here
from fewlabels import InputError, load_dataset, make_method
from fewlabels.data import StreamedRows, shards
from fewlabels.data.pool import read_size
from fewlabels.data.rows import ImageRows
from fewlabels.data.shards import Shards
from fewlabels.evaluation.pool_sample import rows_at_hand
from fewlabels.storage.errors import Interrupted
from fewlabels.training.batches import Rows, WindowedRows, pool_order, some_rows
from shard_files import as_png, random_images, write_parquet, write_tar

BLOCK = 16
IMAGE = 8 * 8 * 3


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_ROWS", BLOCK)


@pytest.fixture
def memory(request):
    """A folder of its own in fsspec's file system in memory."""
    place = f"memory://{abs(hash(request.node.nodeid))}"
    yield place
    system = fsspec.filesystem("memory")
    if system.exists(place):
        system.rm(place, recursive=True)


@pytest.fixture(scope="session")
def bucket():
    """A bucket of an S3-compatible server on this machine, as a place for files."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
    fsspec.filesystem("s3", **options).mkdir("pools")
    fsspec.config.conf["s3"] = options
    yield "s3://pools"
    del fsspec.config.conf["s3"]
    server.stop()


def streamed(url, tmp_path, limit=1_000_000, **settings):
    return StreamedRows(
        Shards(url, tmp_path / "cache"), (8, 8), gray=False, cache=tmp_path / "cache", limit=limit, **settings
    )


def used(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.npy"))


@pytest.mark.parametrize("write", [write_tar, write_parquet])
def test_images_come_as_they_were_written(write, memory, tmp_path):
    images = random_images(75)
    write(f"{memory}/2.{write.__name__.split('_')[1]}", [as_png(image) for image in images[:40]])
    write(f"{memory}/10.{write.__name__.split('_')[1]}", [as_png(image) for image in images[40:]])
    pool = streamed(memory, tmp_path)
    assert pool.shape == images.shape
    assert len(pool.shards.blocks) == 6
    assert np.array_equal(pool[:], images)
    chosen = np.array([70, 3, 3, 41])
    assert np.array_equal(pool[chosen], images[chosen])
    assert np.array_equal(pool[5], images[5])
    assert np.array_equal(pool.take(chosen).take(np.array([3, 0]))[:], images[[41, 70]])
    assert pool.name(41).endswith("10.tar::part/00001.png" if write is write_tar else "10.parquet row 1")


def test_a_column_of_bytes_does_as_well_as_a_struct(tmp_path):
    images = random_images(20)
    write_parquet(str(tmp_path / "a.parquet"), [as_png(image) for image in images], plain=True)
    assert np.array_equal(streamed(str(tmp_path / "a.parquet"), tmp_path)[:], images)


def test_archives_that_look_alike_from_outside_are_not_mixed_up(tmp_path):
    images = random_images(3)
    for number, contents in enumerate([[b"no image", as_png(images[0])], [as_png(image) for image in images[1:]]]):
        (tmp_path / "pool" / str(number)).mkdir(parents=True)
        path = tmp_path / "pool" / str(number) / "0.tar"
        write_tar(str(path), contents)
        os.utime(path, (1e9, 1e9))
    assert len({path.stat().st_size for path in (tmp_path / "pool").glob("*/0.tar")}) == 1
    assert np.array_equal(streamed(str(tmp_path / "pool"), tmp_path)[1:], images)


@pytest.fixture
def web(tmp_path):
    """A web server of a folder that tells when files were changed, and nothing of their content."""

    class Handler(BaseHTTPRequestHandler):
        ranges, fails, tells_content = True, None, False

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            if self.fails is not None:
                self.send_error(self.fails)
                return
            path = tmp_path / "web" / self.path.partition("?")[0].lstrip("/")
            content, asked = path.read_bytes(), self.headers.get("Range")
            begin, end = 0, len(content)
            if asked and self.ranges:
                begin, last = asked.removeprefix("bytes=").split("-")
                begin, end = int(begin), min(int(last or end) + 1, end)
            self.send_response(206 if asked and self.ranges else 200)
            if self.ranges:
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
            self.send_header("Last-Modified", formatdate(path.stat().st_mtime, usegmt=True))
            if self.tells_content:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[begin:end])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Handler
    server.shutdown()
    server.server_close()
    thread.join()
    fsspec.filesystem("http").clear_instance_cache()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, r"there is nothing at http.*a\.tar"),
        (403, r"a\.tar\S* cannot be read: 403.*Forbidden"),
        (503, r"a\.tar\S* cannot be read: 503.*Service Unavailable"),
    ],
)
def test_an_outage_of_a_web_server_is_not_told_as_a_missing_file(web, tmp_path, status, message):
    address, handler = web
    write_tar(str(tmp_path / "web" / "a.tar"), [as_png(random_images(1)[0])])
    pool = streamed(f"{address}/a.tar?download=true", tmp_path)
    handler.fails = status
    for look in (lambda: pool[:], lambda: streamed(f"{address}/a.tar", tmp_path)):
        with pytest.raises(InputError, match=message):
            look()


def test_a_web_server_that_is_away_is_not_told_as_a_missing_file(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match=r"a\.tar cannot be read: Cannot connect to host"):
        streamed(f"http://127.0.0.1:{port}/a.tar", tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_a_web_server_without_ranges_is_told_in_our_own_words(web, tmp_path, kind):
    address, handler = web
    content = [as_png(image) for image in random_images(3, 1200)]
    (tmp_path / "web").mkdir()
    (write_tar if kind == "tar" else write_parquet)(str(tmp_path / "web" / f"a.{kind}"), content)
    handler.ranges = False
    with pytest.raises(InputError, match=rf"a\.{kind}: whoever serves it sends whole files where a part is asked for"):
        streamed(f"{address}/a.{kind}", tmp_path)


def test_files_of_a_web_server_are_told_apart_by_place_and_time(web, tmp_path):
    address, handler = web
    images = random_images(4)
    files = [tmp_path / "web" / name / "pool-0.tar" for name in ("cats", "dogs")]
    for file, image in zip(files, images[:2], strict=True):
        file.parent.mkdir(parents=True)
        write_tar(str(file), [as_png(image)])
        os.utime(file, (1e9, 1e9))
    assert len({file.stat().st_size for file in files}) == 1
    assert np.array_equal(streamed(f"{address}/cats/pool-0.tar", tmp_path)[:], images[:1])
    assert np.array_equal(streamed(f"{address}/dogs/pool-0.tar", tmp_path)[:], images[1:2])
    write_tar(str(files[0]), [as_png(images[2])])
    fsspec.filesystem("http").clear_instance_cache()
    assert np.array_equal(streamed(f"{address}/cats/pool-0.tar", tmp_path)[:], images[2:3])
    # Whoever sends whole files where a part is asked for would have each image begin at the first byte.
    handler.ranges = False
    with pytest.raises(InputError, match=r"parts? (is|of)"):
        streamed(f"{address}/dogs/pool-0.tar", tmp_path / "other")[:]


SECRETS = ("PASSSECRET", "SIGSECRET")


def with_secrets(address, signature="SIGSECRET"):
    return f"{address.replace('http://', 'http://jane:PASSSECRET@')}?X-Amz-Signature={signature}"


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_what_opens_an_address_is_in_no_name_message_or_origin(web, tmp_path, kind):
    address, handler = web
    place = f"{address}/a.{kind}"
    images = random_images(20)
    (tmp_path / "web").mkdir()
    contents = [b"no image", *(as_png(image) for image in images)]
    (write_tar if kind == "tar" else write_parquet)(str(tmp_path / "web" / f"a.{kind}"), contents)
    np.savez(tmp_path / "few.npz", X_train=images, y_train=np.arange(20) % 2, X_test=images[:2], y_test=[0, 1])
    data = load_dataset(tmp_path / "few.npz", pool=with_secrets(place), cache_dir=tmp_path / "cache")
    assert data.origin["pool"] == place
    assert data.pool[:].shape[0] == 21
    assert data.pool_names[3].startswith(place)
    assert data.pool.skipped[0].path.startswith(place)
    said = [repr(data.origin), *data.pool_names, *data.notes, data.pool.skipped[0].path]
    for name in ("b.tar", "b.npz"):
        (tmp_path / "web" / name).write_bytes(b"no archive")
    pq.write_table(pa.table({"picture": [b""]}), tmp_path / "web" / "b.parquet")
    looks = [with_secrets(f"{address}/{name}") for name in (f"b.{kind}", "b.npz")]
    looks.append(with_secrets(place).replace("http:", "HTTP:"))
    for look in looks:
        with pytest.raises(InputError) as error:
            streamed(look, tmp_path)
        said.append(str(error.value))
    for handler.fails in (403, 404):
        with pytest.raises(InputError) as error:
            streamed(with_secrets(place), tmp_path)
        said.append(str(error.value))
    assert [one for one in said if any(secret in one for secret in SECRETS)] == []
    assert not [path for path in tmp_path.rglob("*") if any(secret in str(path) for secret in SECRETS)]


@pytest.mark.parametrize("tells_content", [True, False])
def test_a_fresh_signature_is_the_same_pool_where_the_content_is_told(web, tmp_path, tells_content):
    address, handler = web
    handler.tells_content = tells_content
    write_tar(str(tmp_path / "web" / "a.tar"), [as_png(image) for image in random_images(3)])
    first, second = (streamed(with_secrets(f"{address}/a.tar", signature), tmp_path) for signature in ("1a/b", "2"))
    assert (first.content_key == second.content_key) is tells_content
    assert np.array_equal(first[:], second[:])


def test_files_whose_addresses_differ_behind_the_question_mark_alone_are_refused(web, tmp_path, monkeypatch):
    address, _ = web
    found = [f"{address}/pool/a.tar?part={part}" for part in (1, 2)]
    monkeypatch.setattr(shards, "_find", lambda *_: (found, []))
    write_tar(str(tmp_path / "web" / "pool" / "a.tar"), [as_png(random_images(1)[0])])
    with pytest.raises(InputError, match=r"the pool has http\S*/pool/a\.tar several times"):
        streamed(f"{address}/pool", tmp_path)


def test_an_object_store_is_read_by_ranges(bucket, tmp_path):
    images = random_images(50)
    write_tar(f"{bucket}/one/a.tar", [as_png(image) for image in images[:30]])
    write_parquet(f"{bucket}/one/b.parquet", [as_png(image) for image in images[30:]])
    pool = streamed(f"{bucket}/one", tmp_path)
    assert np.array_equal(pool[::-1], images[::-1])
    key = pool.content_key
    write_tar(f"{bucket}/one/a.tar", [as_png(255 - image) for image in images[:30]])
    fsspec.filesystem("s3").invalidate_cache()
    assert streamed(f"{bucket}/one", tmp_path).content_key != key
    with pytest.raises(InputError, match="there is nothing at s3://pools/none"):
        streamed(f"{bucket}/none", tmp_path)


def test_decoded_images_stay_below_the_limit_and_are_decoded_once_a_pass(memory, tmp_path):
    images = random_images(40 * BLOCK)
    for number in range(4):
        part = images[number * 160 : (number + 1) * 160]
        write_tar(f"{memory}/{number}.tar", [as_png(image) for image in part])
    limit = 6 * (BLOCK * IMAGE + 128)
    pool = streamed(memory, tmp_path, limit)
    assert images.nbytes > 6 * limit
    order = pool_order(Rows([pool]), None, BLOCK, np.random.default_rng(0))
    assert isinstance(order, WindowedRows)
    most = 0
    for _ in range(2):
        seen = []
        for _ in range(40):
            rows = next(order)
            assert np.array_equal(pool[rows], images[rows])
            seen.append(rows)
            most = max(most, used(tmp_path / "cache"))
        assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(len(images)))
    assert pool.blocks.decoded == 80
    assert limit / 2 < most <= limit
    # A window of three blocks mixes their images, and not always in the same order.
    first = np.unique(np.concatenate(seen[:3]) // BLOCK)
    assert len(first) == 3
    assert not np.array_equal(np.sort(np.concatenate(seen[:3])), np.concatenate(seen[:3]))


def test_any_order_stays_below_the_limit(memory, tmp_path):
    images = random_images(20 * BLOCK)
    write_parquet(f"{memory}/a.parquet", [as_png(image) for image in images])
    limit = 2 * (BLOCK * IMAGE + 128)
    pool = streamed(memory, tmp_path, limit)
    draws = np.random.default_rng(1)
    for _ in range(5):
        rows = draws.permutation(len(images))[:50]
        assert np.array_equal(pool[rows], images[rows])
        assert used(tmp_path / "cache") <= limit


def test_memory_stays_small_however_large_the_pool(tmp_path):
    code = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from fewlabels.data import StreamedRows
from fewlabels.data.shards import Shards
from fewlabels.evaluation.pool_sample import rows_at_hand
from shard_files import as_png, write_tar
place = Path(sys.argv[1])
image = as_png(np.full((128, 128, 3), 7, np.uint8))
for number in range(9):
    write_tar(str(place / f"{number}.tar"), [image] * 256)
pool = StreamedRows(Shards(str(place), place), (128, 128), gray=False, cache=place, limit=30_000_000)
pool[:1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, len(pool), 128):
    pool[start : start + 128]
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
decoded = len(pool) * 128 * 128 * 3 / 1e6
print(grown, decoded)
sys.exit(not (decoded > 100 and grown < 0.5 * decoded))
"""
    command = [sys.executable, "-c", code, str(tmp_path), os.path.dirname(os.path.dirname(__file__))]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_limit_without_room_for_two_blocks_is_refused(memory, tmp_path):
    write_tar(f"{memory}/a.tar", [as_png(image) for image in random_images(20)])
    with pytest.raises(InputError, match="has not room for two blocks"):
        streamed(memory, tmp_path, 4000)


def test_a_limit_too_small_for_large_row_groups_tells_how_smaller_ones_are_written(tmp_path):
    write_parquet(str(tmp_path / "a.parquet"), [as_png(random_images(1)[0])] * 1100, rows=2000)
    with pytest.raises(InputError, match=r"two blocks of .*, of up to 1,100 images; .* \(row_group_size=1000\)"):
        streamed(str(tmp_path), tmp_path, 300_000)


def test_unreadable_images_are_counted_and_another_stands_in_their_row(memory, tmp_path):
    images = random_images(20)
    contents = [as_png(image) for image in images]
    contents[3], contents[15], contents[17] = b"no image", b"", contents[17][:60]
    write_tar(f"{memory}/a.tar", contents)
    pool = streamed(memory, tmp_path)
    found = pool[:]
    good = np.setdiff1d(np.arange(20), [3, 15, 17])
    assert np.array_equal(found[good], images[good])
    assert np.array_equal(found[[3, 15, 17]], images[[4, 0, 18]])
    assert [entry.path.rpartition("/")[2] for entry in pool.skipped] == ["00003.png", "00015.png", "00017.png"]
    with pytest.raises(InputError, match=r"00003\.png: not an image"):
        streamed(memory, tmp_path / "strict", strict=True)[:]
    # What an earlier process has decoded is judged as what is decoded now.
    found = pool.skipped
    del pool
    again = streamed(memory, tmp_path)
    again[:]
    assert again.blocks.decoded == 0
    assert again.skipped == found
    del again
    with pytest.raises(InputError, match=r"00003\.png: not an image"):
        streamed(memory, tmp_path, strict=True)[:]


def test_an_archive_that_was_cut_off_between_two_members_is_no_whole_one(tmp_path):
    images = random_images(10)
    write_tar(str(tmp_path / "whole.tar"), [as_png(image) for image in images])
    content = (tmp_path / "whole.tar").read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        headers = [member.offset for member in archive]
    assert len(streamed(str(tmp_path / "whole.tar"), tmp_path)) == 10
    for number, (length, rest) in enumerate(((headers[8], b""), (headers[8] + 100, b""), (headers[8], b"x" * 512))):
        place = tmp_path / f"{number}.tar"
        place.write_bytes(content[:length] + rest)
        with pytest.raises(InputError, match=r"is damaged.* it ends, or goes wrong, between two members"):
            streamed(str(place), tmp_path)


def test_archives_that_were_put_together_are_refused_and_padding_is_not(tmp_path):
    pieces = []
    for number in range(2):
        write_tar(str(tmp_path / "piece.tar"), [as_png(image) for image in random_images(3, seed=number)])
        pieces.append((tmp_path / "piece.tar").read_bytes())
    (tmp_path / "both.tar").write_bytes(b"".join(pieces))
    (tmp_path / "padded.tar").write_bytes(pieces[0] + bytes(3 << 20))
    for _ in range(2):
        with pytest.raises(InputError, match=r"both\.tar goes on behind the mark that ends it.* give each by itself"):
            streamed(str(tmp_path / "both.tar"), tmp_path)
        assert len(streamed(str(tmp_path / "padded.tar"), tmp_path)) == 3


@pytest.mark.parametrize("place", ["", "/*.tar", "/**"])
def test_hidden_files_beside_archives_are_passed_over(tmp_path, place):
    write_tar(str(tmp_path / "pool" / "a.tar"), [as_png(image) for image in random_images(3)])
    (tmp_path / "pool" / "._a.tar").write_bytes(b"Mac OS X" * 512)
    assert len(streamed(f"{tmp_path / 'pool'}{place}", tmp_path / "cache")) == 3


@pytest.mark.parametrize("place", ["", "/*/*.tar", "/**/*.tar", "/**"])
def test_linked_folders_of_archives_are_read_once(tmp_path, place):
    write_tar(str(tmp_path / "pool" / "2022" / "a.tar"), [as_png(image) for image in random_images(3)])
    write_tar(str(tmp_path / "disk" / "2023" / "b.tar"), [as_png(image) for image in random_images(4)])
    (tmp_path / "pool" / "2023").symlink_to(tmp_path / "disk" / "2023")
    (tmp_path / "pool" / "2023" / "around").symlink_to(tmp_path / "disk")
    (tmp_path / "pool" / "2022" / "around").symlink_to(tmp_path / "pool")
    assert len(streamed(f"{tmp_path / 'pool'}{place}", tmp_path / "cache")) == 7


def test_a_link_that_leads_nowhere_is_told_by_its_name(tmp_path):
    write_tar(str(tmp_path / "pool" / "a.tar"), [as_png(image) for image in random_images(3)])
    (tmp_path / "pool" / "b.tar").symlink_to(tmp_path / "gone.tar")
    for place in ("", "/*.tar", "/b.tar"):
        with pytest.raises(InputError, match=r"there is nothing where the link .*pool/b\.tar leads"):
            streamed(f"{tmp_path / 'pool'}{place}", tmp_path / "cache")


def test_a_block_without_a_readable_image_is_an_error(memory, tmp_path):
    write_tar(f"{memory}/a.tar", [b"no image"] * 3)
    with pytest.raises(InputError, match="none of 3 images is readable"):
        streamed(memory, tmp_path)[:]


def test_one_unreadable_image_at_the_end_of_a_file_is_no_error(memory, tmp_path):
    images = random_images(BLOCK)
    write_tar(f"{memory}/a.tar", [*map(as_png, images), b"no image"])
    pool = streamed(memory, tmp_path)
    found = pool[:]
    assert np.array_equal(found[:-1], images)
    assert set(found[-1].ravel().tolist()) == {128}
    assert [entry.path.rpartition("/")[2] for entry in pool.skipped] == ["00016.png"]


def test_an_image_of_a_block_is_copied_without_those_behind_it(tmp_path, monkeypatch):
    sizes = []

    class Counting(bytes):
        def __getitem__(self, index):
            sizes.append(len(found := super().__getitem__(index)))
            return found

    contents = [as_png(image) for image in random_images(BLOCK)]
    write_tar(str(tmp_path / "a.tar"), contents)
    pool = Shards(str(tmp_path / "a.tar"), tmp_path / "cache")
    read = pool._system.cat_file
    monkeypatch.setattr(pool._system, "cat_file", lambda *args, **options: Counting(read(*args, **options)))
    assert list(pool.read(0)) == contents
    assert sizes == [len(content) for content in contents]


def test_what_is_not_read_of_a_folder_of_archives_is_told(photos, tmp_path):
    (tmp_path / "archives").mkdir()
    content = as_png(random_images(1)[0])
    with tarfile.open(tmp_path / "archives" / "0.TAR", "w") as archive:
        for minute in range(4):
            member = tarfile.TarInfo(f"IMG_2024-01-01 10.0{minute}.00.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    write_tar(str(tmp_path / "archives" / "1.tar.gz"), [content], mode="w:gz")
    for _ in range(2):  # the second time from the kept index
        data = load_dataset(photos[0], pool=tmp_path / "archives", cache_dir=tmp_path / "cache")
        assert len(data.pool) == 1
        assert data.notes[-2:] == (
            "not read: 1.tar.gz (compressed; unpack to .tar)",
            "not read: 3 images of archives, named as another up to the first dot (an archive has one image a sample)",
        )


def test_a_label_of_an_image_of_a_stream_says_what_to_do_with_it(photos, tmp_path):
    names = load(photos, tmp_path, labels_per_class=5).pool_names
    of_the_stream = {names[14 + 41]: "1"}
    with pytest.raises(InputError, match=r"1\.tar::part/00001\.png' is of a pool that is read as a stream: copy"):
        load(photos, tmp_path, labels=of_the_stream)
    data = load(photos, tmp_path, labels_per_class=5, labels=of_the_stream | {names[0]: "1"})
    assert len(data.labeled) == 11
    assert "is of a pool that is read as a stream: copy" in " ".join(data.notes)


def test_what_cannot_be_read_says_so_in_one_line(tmp_path):
    content = as_png(random_images(1)[0])
    write_tar(str(tmp_path / "packed.tar"), [content], mode="w:gz")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.csv").write_text("1")
    pq.write_table(pa.table({"picture": [1]}), tmp_path / "other.parquet")
    for place, message in [
        (tmp_path / "packed.tar", "is damaged, or no file of its kind"),
        (tmp_path / "bad.parquet", "is damaged|cannot be read"),
        (tmp_path / "empty", r"holds no \*\.parquet or \*\.tar files"),
        (tmp_path / "text.csv", r"is no \*\.parquet and no \*\.tar file"),
        (tmp_path / "none", "there is nothing at"),
        (tmp_path / "other.parquet", "has no column 'image' of bytes"),
        ("", "the address of the pool is empty; give"),
        ("nonsense://pool", "Protocol not known: nonsense"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            streamed(str(place), tmp_path)
        assert "\n" not in str(caught.value)


def test_an_archive_in_place_of_a_source_says_what_it_is_for(tmp_path):
    write_tar(str(tmp_path / "a.tar"), [as_png(image) for image in random_images(3)])
    with pytest.raises(InputError, match=r"a\.tar can be a pool alone, .*--pool.*--engine local"):
        load_dataset(tmp_path / "a.tar")


def test_a_file_that_changes_below_a_training_is_noticed(tmp_path):
    write_parquet(str(tmp_path / "a.parquet"), [as_png(image) for image in random_images(64)])
    pool = streamed(str(tmp_path), tmp_path)
    write_parquet(str(tmp_path / "a.parquet"), [as_png(image) for image in random_images(40)])
    with pytest.raises(InputError):
        pool[:]


def test_two_at_a_time_keep_out_of_each_others_way_and_a_later_one_goes_on_with_what_is_there(tmp_path):
    write_parquet(str(tmp_path / "a.parquet"), [as_png(image) for image in random_images(32)])
    one, other = streamed(str(tmp_path), tmp_path), streamed(str(tmp_path), tmp_path)
    assert np.array_equal(one[:], other[:])
    assert one.blocks.decoded == other.blocks.decoded == 2
    del one, other
    again = streamed(str(tmp_path), tmp_path)
    assert again[:].shape == (32, 8, 8, 3)
    assert again.blocks.decoded == 0
    # One that was cut off is not taken for whole.
    (path,) = tmp_path.glob("cache/shards/*/0/1.npy")
    path.write_bytes(path.read_bytes()[:200])
    del again
    assert np.array_equal(streamed(str(tmp_path), tmp_path)[:], random_images(32))


def test_blocks_of_a_pool_that_has_changed_are_removed_after_a_day_but_where_it_is_open(tmp_path):
    def changed(day):
        write_parquet(
            str(tmp_path / "pool" / f"{day}.parquet"), [as_png(image) for image in random_images(8, seed=day)]
        )
        pool = streamed(str(tmp_path / "pool"), tmp_path)
        pool[:]
        return pool

    def is_there(pool):
        return used(pool.blocks._folder) > 0

    left, open_still = changed(0), changed(1)
    left_folder = left.blocks._folder
    os.utime(left_folder, (1e9, 1e9))
    del left
    # Whoever leaves it has used it.
    third = changed(2)
    assert used(left_folder)
    for folder in (left_folder, open_still.blocks._folder):
        os.utime(folder, (1e9, 1e9))
    changed(3)
    assert not left_folder.parent.exists()
    assert is_there(open_still)
    assert is_there(third)


def test_threads_that_ask_for_the_same_images_at_once_all_get_them(tmp_path):
    images = random_images(40 * BLOCK)
    write_parquet(str(tmp_path / "a.parquet"), [as_png(image) for image in images])
    # Room for few blocks, so that they also make room for each other.
    pool = streamed(str(tmp_path), tmp_path, limit=4 * (BLOCK * IMAGE + 128))
    together = threading.Barrier(4, timeout=20)

    def look(_):
        found = []
        for row in range(0, len(images), BLOCK):
            together.wait()
            found.append(np.array_equal(pool[row : row + BLOCK + 1], images[row : row + BLOCK + 1]))
        return found

    with ThreadPoolExecutor(4) as threads:
        assert all(all(found) for found in threads.map(look, range(4)))


def test_a_pool_that_is_sent_to_another_process_has_a_folder_of_its_own(tmp_path):
    images = random_images(2 * BLOCK)
    write_parquet(str(tmp_path / "a.parquet"), [as_png(image) for image in images])
    pool = streamed(str(tmp_path), tmp_path)
    assert np.array_equal(pool[:], images)
    for sent in (pickle.loads(pickle.dumps(pool.take(np.array([20, 3])))), copy.deepcopy(pool)):
        assert np.array_equal(sent[:2], pool.take(np.array([20, 3]))[:] if len(sent) == 2 else images[:2])
        assert sent.blocks.decoded > 0


def test_sizes_are_read_in_words():
    assert read_size("2 gb") == 2_000_000_000
    assert read_size("3MiB") == 3 << 20
    for text in ("", "two", "-1", "5 parsecs"):
        with pytest.raises(InputError, match="is no size"):
            read_size(text)


@pytest.fixture
def photos(tmp_path, color_images):
    """Few labeled images, in a folder of Parquet; and a pool in shards beside, more than may be kept."""
    X, y = color_images
    archive = tmp_path / "few.npz"
    np.savez(archive, X_train=X[:24], y_train=y[:24], X_test=X[24:], y_test=y[24:])
    pool = np.concatenate([X] * 4)
    for number in range(4):
        write_tar(str(tmp_path / "pool" / f"{number}.tar"), [as_png(image) for image in X])
    return archive, tmp_path / "pool", pool


def load(photos, tmp_path, blocks=4, **settings):
    archive, pool, _ = photos
    limit = blocks * (BLOCK * 16 * 16 * 3 + 128)
    return load_dataset(archive, cache_dir=tmp_path / "cache", pool=pool, pool_limit=limit, **settings)


def test_a_limit_without_a_pool_that_it_could_be_for_is_refused():
    with pytest.raises(InputError, match="pool_limit=1MB is for the images of pool=; give that too"):
        load_dataset("digits", pool_limit="1MB")


def test_a_data_set_takes_a_pool_in_shards_without_reading_it(photos, tmp_path):
    _, _, pool = photos
    data = load(photos, tmp_path)
    assert len(data.pool) == len(pool) == len(data.diagnostics.pool_labels)
    assert (data.diagnostics.pool_labels == -1).all()
    first, key = data.pool, data.fingerprint
    assert first.blocks.decoded == 0
    assert data.pool_names[41].endswith("pool/1.tar::part/00001.png")
    assert "160 pool images in 4 files" in data.notes[-1]
    assert load(photos, tmp_path).fingerprint == key
    write_tar(str(tmp_path / "pool" / "9.tar"), [as_png(image) for image in pool[:3]])
    assert load(photos, tmp_path).fingerprint != key
    with_rest = load(photos, tmp_path, labels_per_class=5)
    assert len(with_rest.pool) == 14 + 163
    assert np.array_equal(with_rest.pool[np.array([14, 20])], pool[[0, 6]])


@pytest.mark.parametrize("place", ["~/pool/*.tar", "pool", "digits"])
def test_a_pool_is_found_again_from_elsewhere_by_what_is_remembered(photos, tmp_path, monkeypatch, place):
    archive, pool, _ = photos
    (tmp_path / "digits").symlink_to(pool)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    known = load_dataset(archive, cache_dir=tmp_path / "cache", pool=place).origin
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/")
    assert len(load_dataset(**known, cache_dir=tmp_path / "cache").pool) == 160


def brief(name, **settings):
    given = {"steps": 6, "batch_size": 8, "random_state": 0, "unlabeled_ratio": 1, "rounds": 1, "student_steps": 1.0}
    known = make_method(name).get_params()
    return make_method(name, **{key: value for key, value in (given | settings).items() if key in known})


@pytest.mark.parametrize("name", ["mean-teacher", "self-training", "two-step-autoencoder", "supervised"])
@pytest.mark.usefixtures("narrow_net")
def test_training_on_a_pool_in_shards_is_the_same_each_time_and_after_a_stop(name, photos, tmp_path):
    data = load(photos, tmp_path, labels_per_class=8)
    whole = brief(name).fit(data.labeled, data.labels, unlabeled=data.pool)

    def stop(event, told=[]):  # noqa: B006
        told.append(event)
        if len(told) == 3:
            signal.raise_signal(signal.SIGTERM)

    folder = tmp_path / "checkpoint"
    with pytest.raises(Interrupted):
        brief(name).fit(data.labeled, data.labels, unlabeled=data.pool, checkpoint=folder, observer=stop)
    data = load(photos, tmp_path, labels_per_class=8)
    again = brief(name).fit(data.labeled, data.labels, unlabeled=data.pool, checkpoint=folder)
    assert np.array_equal(whole.predict_proba(data.test), again.predict_proba(data.test))
    assert used(tmp_path / "cache" / "shards") <= 4 * (BLOCK * 16 * 16 * 3 + 128) * 2


def test_a_training_does_not_go_on_with_another_pool_or_another_order_of_it(photos, tmp_path):
    def fit(blocks=4):
        told = []

        def stop(event):
            told.append(event)
            if len(told) == 3:
                signal.raise_signal(signal.SIGTERM)

        data = load(photos, tmp_path, blocks, labels_per_class=8)
        method = brief("mean-teacher")
        return method.fit(
            data.labeled, data.labels, unlabeled=data.pool, checkpoint=tmp_path / "checkpoint", observer=stop
        )

    with pytest.raises(Interrupted):
        fit()
    # More blocks are shuffled with each other.
    with pytest.raises(InputError, match="checkpoint of another training: pool is"):
        fit(blocks=8)
    # A look at some blocks of the pool would not find the one image that is another.
    _, place, pool = photos
    write_tar(str(place / "0.tar"), [as_png(image) for image in [*pool[:39], 255 - pool[39]]])
    with pytest.raises(InputError, match="checkpoint of another training: pool is"):
        fit()


@pytest.mark.parametrize("write", [write_tar, write_parquet])
def test_a_file_that_changes_while_it_is_read_is_an_error(write, tmp_path):
    images = random_images(2 * BLOCK)
    path = tmp_path / ("a.tar" if write is write_tar else "a.parquet")
    write(str(path), [as_png(image) for image in images])
    pool = streamed(str(tmp_path), tmp_path / "cache")
    sent = pool.shards.part([1])
    assert np.array_equal(pool[:BLOCK], images[:BLOCK])
    # As many images, of the same size.
    write(str(path), [as_png(image) for image in images[::-1]])
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    for read in (lambda: pool[BLOCK:], lambda: list(sent.read(0))):
        with pytest.raises(InputError, match=f"{path.name} has changed since the pool was opened"):
            read()


def test_a_pool_in_shards_teaches_what_the_same_pool_in_memory_teaches(photos, tmp_path):
    """Whatever is computed over a whole pool does not depend on where it lies."""
    data, (_, _, pool) = load(photos, tmp_path), photos
    method = brief("kmeans-features", centroids=8, patches=200)
    method.fit(data.labeled, data.labels, unlabeled=data.pool)
    assert np.array_equal(method.predict_proba(data.pool), method.predict_proba(pool))


def test_samples_of_a_pool_in_shards_are_drawn_from_few_blocks(photos, tmp_path):
    data, (_, _, pool) = load(photos, tmp_path), photos
    rows = Rows([pool[:10], data.pool])
    found = [rows.drawn(40, np.random.default_rng(seed)) for seed in range(3)]
    for drawn in found:
        assert len(set(drawn)) == 40
        assert drawn.tolist() == sorted(drawn)
        assert len(np.unique((drawn[drawn >= 10] - 10) // BLOCK)) <= 4
    assert not np.array_equal(found[0], found[1])
    members = np.flatnonzero(np.arange(170) % 3 == 0)
    assert set(rows.drawn(40, np.random.default_rng(0), members)) <= set(members)
    assert rows.drawn(200, np.random.default_rng(0)).tolist() == list(range(170))
    some = some_rows(rows, found[0])
    assert np.array_equal(
        torch.cat(list(some.chunks(7, torch.device("cpu")))), np.concatenate([pool[:10], pool])[found[0]]
    )


def test_rows_of_several_kinds_are_drawn_together(photos, tmp_path):
    data, (_, _, pool) = load(photos, tmp_path), photos
    rows = Rows([pool[:10], data.pool])
    assert len(rows.windows) == 2
    order = pool_order(rows, None, 17, np.random.default_rng(0))
    assert np.array_equal(np.sort(np.concatenate([next(order) for _ in range(10)])), np.arange(170))
    members = np.flatnonzero(np.arange(170) % 3 == 0)
    some = pool_order(rows, members, 19, np.random.default_rng(0))
    assert np.array_equal(np.sort(np.concatenate([next(some) for _ in range(3)])), members)
    sample = rows.sample(30, torch.device("cpu")).numpy()
    assert 20 <= len(sample) <= 30
    assert isinstance(data.pool, ImageRows)


def test_a_report_looks_at_two_blocks_and_not_at_the_whole_pool(photos, tmp_path):
    data = load(photos, tmp_path, labels_per_class=8)
    rest = len(data.pool) - 160
    rows = rows_at_hand(data.pool)
    assert set(range(rest)) <= set(rows.tolist())
    blocks = {int(np.searchsorted(data.pool.parts[1].starts, row - rest, side="right")) for row in rows if row >= rest}
    assert len(blocks) == 2
    data.pool[rows]
    assert data.pool.parts[1].blocks.decoded == 2
    # Of a part of it, too.
    some = data.pool.take(np.arange(len(data.pool))[::-1])
    assert np.array_equal(np.sort(len(data.pool) - 1 - rows_at_hand(some)), rows)


def test_the_command_fit_takes_such_a_pool(photos, tmp_path):
    archive, pool, _ = photos
    words = ["fit", archive, "--pool", pool, "--pool-limit", "1MB", "--method", "mean-teacher", "--steps", "2"]
    found = run_here(tmp_path, *words, "--out", "model")
    assert found.returncode == 0, found.stderr
    assert "160 pool images in 4 files are read as they are needed" in found.stderr
    assert "160 unlabeled samples" in (tmp_path / "model" / "README.md").read_text()


def test_unreadable_images_of_such_a_pool_are_told_also_beside_a_pool_of_the_source(photos, tmp_path):
    write_tar(str(tmp_path / "pool" / "9.tar"), [as_png(random_images(1, 16)[0]), b"no image", b"", b"none"])
    for options in ({}, {"labels_per_class": 5}):
        data = load(photos, tmp_path, **options)
        assert data.pool.skipped == ()
        data.pool[:]
        assert [one.path.rpartition("/")[2] for one in data.pool.skipped] == [
            f"0000{number}.png" for number in (1, 2, 3)
        ]
    words = ["fit", str(photos[0]), "--pool", str(photos[1]), "--method", "mean-teacher", "--steps", "8", "--json"]
    command = [sys.executable, "-m", "fewlabels", *words, "--labels-per-class", "5", "--out", str(tmp_path / "model")]
    environment = {**os.environ, "FEWLABELS_CACHE": str(tmp_path / "cache")}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "left out 3 unreadable images of the pool, the first: file://" in found.stderr
    assert [one["reason"] for one in json.loads(found.stdout)["skipped"]] == [one.reason for one in data.pool.skipped]


def test_images_of_archives_that_are_links_or_of_another_kind_are_told(tmp_path):
    content = as_png(random_images(1)[0])
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("a.png", tarfile.REGTYPE), ("b.png", tarfile.LNKTYPE), ("c.heic", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.png"
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content))
    for _ in range(2):
        found = Shards(str(tmp_path / "a.tar"), tmp_path / "cache")
        assert [found.name(0, row).rpartition("::")[2] for row in range(found.blocks[0].count)] == ["a.png"]
        assert found.notes == ("not read: b.png and 1 more (links to other members, or of a kind that is not read)",)


def test_a_file_that_got_other_rights_is_the_same_file(tmp_path):
    write_tar(str(tmp_path / "a.tar"), [as_png(image) for image in random_images(3)])
    before = Shards(str(tmp_path / "a.tar"), tmp_path / "cache").key
    time.sleep(0.02)
    (tmp_path / "a.tar").chmod(0o600)
    assert Shards(str(tmp_path / "a.tar"), tmp_path / "cache").key == before
    os.utime(tmp_path / "a.tar", (1e9, 1e9))
    assert Shards(str(tmp_path / "a.tar"), tmp_path / "cache").key != before

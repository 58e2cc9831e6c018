"""Files that somebody made to do harm, or that time has damaged."""

import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import hostile
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fewlabels.data import load_dataset
from fewlabels.data.arrays import read_npz
from fewlabels.data.decode import MAX_BYTES, UnreadableImage, decode, read_header
from fewlabels.data.listing import Listing
from fewlabels.export import predict_files
from fewlabels.methods import make_method
from fewlabels.storage.errors import InputError
from fewlabels.storage.visible import visible

READERS = {name: (content, read) for name, content, read in hostile.readers()}


@pytest.mark.parametrize("name", READERS)
def test_the_files_that_are_damaged_here_are_good_ones(name):
    content, read = READERS[name]
    assert read(content)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_file_is_read_or_refused_in_one_line(name, seed):
    content, read = READERS[name]
    draws = np.random.default_rng(seed)
    read(hostile.changed(content, draws))
    if name == "config":
        read(hostile.changed_config(content, draws))


def png(width, height, body=b""):
    """Return a PNG that says to be of a size, whatever it holds."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def test_an_image_that_would_fill_the_memory_is_refused_by_its_header():
    for width, height in ((20_000, 20_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)):
        with pytest.raises(UnreadableImage, match=r"limit|exceeds|size"):
            read_header(png(width, height))


def test_no_other_program_is_started_for_an_image():
    """Pillow hands EPS files to Ghostscript, which is a programming language."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\n"
    assert Image.open(io.BytesIO(script)).format == "EPS"
    for read in (read_header, lambda content: decode(content, (8, 8), gray=False)):
        with pytest.raises(UnreadableImage, match="not an image"):
            read(script)


def test_nonsense_in_exif_leaves_the_pixels(tmp_path):
    content = io.BytesIO()
    hostile.picture().save(content, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200)))
    assert decode(content.getvalue(), (12, 10), gray=False).shape == (12, 10, 3)


def test_a_file_too_large_for_an_image_is_not_read(photos, tmp_path):
    with (photos / "train" / "red" / "huge.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no room on the disk
    data = load_dataset(photos, cache_dir=tmp_path / "cache")
    assert [("huge.png" in entry.path, "above the limit" in entry.reason) for entry in data.skipped] == [(True, True)]


@pytest.fixture
def photos(tmp_path):
    for part in ("train/red", "train/blue", "test/red", "test/blue"):
        place = tmp_path / "photos" / part
        place.mkdir(parents=True)
        for number in range(6):
            color = (200, 10 * number, 0) if "red" in part else (0, 10 * number, 200)
            Image.new("RGB", (12, 12), color).save(place / f"{number}.png")
    return tmp_path / "photos"


def test_links_in_circles_and_pipes_are_passed_over(photos, tmp_path):
    place = photos / "train" / "red"
    os.symlink(place / "loop.png", place / "loop.png")
    os.symlink(photos, place / "up")
    os.symlink(tmp_path / "nowhere", place / "broken.png")
    os.mkfifo(place / "pipe.png")
    data = load_dataset(photos, cache_dir=tmp_path / "cache")
    assert len(data.labeled) + len(data.pool) == 12


def test_folders_deeper_than_calls_may_go_are_listed(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        assert list(Listing().files_below(tmp_path)) == []
    finally:
        # Python's own way to remove a tree calls itself for each level.
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_a_hundred_thousand_files_in_one_folder_are_listed_in_seconds(tmp_path):
    import time

    folder = tmp_path / "many"
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    for number in range(100_000):
        os.close(os.open(f"{number}.png", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)
    began = time.process_time()
    assert sum(1 for _ in Listing().files_below(folder)) == 100_000
    assert time.process_time() - began < 10


NAMES = ["a\nb", "left\u202egnp.exe", "<img src=x onerror=alert(1)>", "\x1b[2J", "&amp;", "$x^$", "日本", "'\""]


def test_names_of_any_kind_pass_from_folder_to_report(tmp_path):
    from fewlabels.report import compare

    undecodable = os.fsdecode(b"caf\xe9")
    for name in [*NAMES[:6], undecodable]:
        for part in ("train", "test"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(3):
                Image.new("L", (8, 8), number * 50).save(tmp_path / "photos" / part / name / f"{number}\u202e.png")
    found = compare(
        tmp_path / "photos", methods=["supervised"], steps=2, out=tmp_path / "o", cache_dir=tmp_path / "cache"
    )
    assert undecodable in found.class_names
    page = (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "<img src=x" not in page
    assert "left\\u202egnp.exe" in page
    card = (
        tmp_path / "o" / "models" / f"supervised-{found.runs[0].labels_per_class or 'all'}-0" / "README.md"
    ).read_text()
    assert "<img" not in card.replace("\\<img", "")
    assert "\u202e" not in card


def test_hidden_characters_are_shown():
    assert [visible(name) for name in NAMES[:2]] == ["a\\nb", "left\\u202egnp.exe"]
    assert visible(NAMES[6]) == NAMES[6]


def npz_with(shape, content=b"", kind="|u1"):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (118 - len(header) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", array)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz_with((10**7, 1000, 1000, 3)), "says to be an array of"),
        (npz_with((2**62, 4)), "says to be an array of"),
        (npz_with((2,), b"12345678", "|O"), "holds Python objects"),
        (npz_with("(" * 3000), "cannot be read"),
        (npz_with((3,), b"1"), "says to be an array of"),
    ],
)
def test_an_npz_that_lies_of_its_size_is_refused_before_it_takes_memory(content, message, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_npz(tmp_path / "a.npz", None)


def test_an_npz_that_unpacks_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    from fewlabels.data import npz

    monkeypatch.setattr(npz, "memory_available", lambda: 1_000_000)
    (tmp_path / "a.npz").write_bytes(npz_with((3_000_000,), bytes(3_000_000)))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"needs 0\.0 GB of memory"):
        read_npz(tmp_path / "a.npz", None)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_an_archive_are_refused(kind, tmp_path):
    from fewlabels.data.archives import read_members

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("train_X.bin")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(InputError, match="link or a device"):
        read_members(tmp_path / "a.tar", lambda name: True, lambda name, file, size: file.read())


def test_an_archive_whose_member_is_shorter_than_it_says_is_refused(tmp_path):
    from fewlabels.data.archives import read_members

    member = tarfile.TarInfo("train_X.bin")
    member.size = 10**12
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(InputError, match="not a readable archive"):
        read_members(tmp_path / "a.tar", lambda name: True, lambda name, file, size: file.read(1 << 20))


@pytest.mark.parametrize("values", [[1.5, 2.5], [{"bytes": 5, "path": "x"}] * 2, ["x", "y"]])
def test_parquet_columns_of_other_types_are_refused(values, tmp_path):
    pq.write_table(pa.table({"image": values, "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match="column 'image'"):
        load_dataset(tmp_path / "train.parquet", cache_dir=tmp_path / "cache")


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from fewlabels import load, make_method
used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 1_300_000_000, used + 1_300_000_000))
try:
    if sys.argv[1] == "fit":
        images = np.zeros((600, 64, 64, 3), np.uint8)
        make_method("supervised", steps=2, batch_size=4096, precision="float32").fit(images, np.arange(600) % 2)
    elif sys.argv[1] == "tell":
        # A net that a batch of this many pixels is too much for, and half of it is not.
        from fewlabels.training.memory import InPartsThatFit
        import torch
        ask = InPartsThatFit(lambda samples: (samples * 2).flatten(1).sum(1))
        print(ask(torch.ones(300, 1_000_000)).sum().item())
        print("part", ask._most)
        ask(torch.ones(1, 1).expand(1, 400_000_000))
    else:
        load(sys.argv[1])
except ValueError as error:
    print(type(error).__name__, error)
"""


def in_little_memory(*words):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, *words], capture_output=True, text=True, env=environment, timeout=300
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_a_batch_too_large_for_the_memory_ends_with_a_size_to_try():
    said = in_little_memory("fit")
    assert "a step of 4096 labeled and 0 pool samples does not fit into memory" in said
    assert 2 <= int(said.partition("batch_size=")[2].partition(",")[0]) <= 2048


def test_the_size_that_fits_is_found_by_trial():
    from fewlabels.training.batches import Batch
    from fewlabels.training.memory import too_large

    def step(batch):
        if len(batch.labeled) > 20:
            raise MemoryError

    samples = torch.zeros(100, 1)
    batch = Batch(samples, torch.zeros(100), None, torch.zeros(200, 1), None, 0.0, torch.arange(100))
    assert "one of 12 and 25 does: set batch_size=12" in str(too_large(batch, step))

    batch.sized_by = "pretraining_batch"
    assert "does: set pretraining_batch=12" in str(too_large(batch, step))

    def tiny(batch):
        if len(batch.labeled) + len(batch.unlabeled) > 4:
            raise MemoryError

    # One of no labeled samples fits, and is none that can be asked for.
    few = Batch(samples[:2], torch.zeros(2), None, torch.zeros(14, 1), None, 0.0, torch.arange(2))
    assert "begin again with batch_size=2, or a smaller net" in str(too_large(few, tiny))

    def broken(batch):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        too_large(batch, broken)


def test_a_prediction_that_does_not_fit_is_made_in_parts():
    # 1.3 GB are left: the samples take 1.2, twice of them as much again.
    said = in_little_memory("tell").splitlines()
    assert said[0] == "600000000.0"
    assert 1 <= int(said[1].split()[1]) <= 75
    assert said[2].startswith("InputError not even one sample of shape (400000000,) fits through the net")


def test_a_model_that_asks_for_a_huge_net_is_refused_before_it_takes_memory(tmp_path):
    import json

    X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    make_method("supervised", steps=1, batch_size=4).fit(X, np.arange(20) % 2).save(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"sample_shape": [10**9]}))
    assert "does not fit its description" in in_little_memory(str(tmp_path / "m"))


def test_a_damaged_image_in_a_prediction_is_left_out(photos, tmp_path):
    X = np.zeros((20, 12, 12, 3), np.uint8)
    X[::2] = 200
    model = make_method("supervised", steps=1, batch_size=4).fit(X, np.arange(20) % 2)
    content = (photos / "train" / "red" / "0.png").read_bytes()
    (photos / "bad.png").write_bytes(content[:-25])
    found = predict_files(model, [photos / "bad.png", photos / "train"])
    assert len(found.paths) == 12
    assert [entry.path for entry in found.skipped] == [str(photos / "bad.png")]


def test_a_disk_too_full_for_the_cache_is_told_with_path_and_need(photos, tmp_path):
    """The limit on the size of a file stands in for a full disk: the system refuses in the same place."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large \(2\.4 MB are needed\)") as caught:
            load_dataset(photos, image_size=182, cache_dir=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path / "cache") in caught.value.filename
    assert list((tmp_path / "cache" / "images").iterdir()) == []
    assert len(load_dataset(photos, image_size=182, cache_dir=tmp_path / "cache").test) == 12


def test_a_comparison_on_a_full_disk_keeps_what_was_finished(tmp_path, monkeypatch):
    from fewlabels.evaluation import compare
    from fewlabels.evaluation import training as module

    measured = []

    def full_after_the_first(*words, **named):
        measured.append(1)
        if len(measured) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        return original(*words, **named)

    import resource

    original = module.measure
    monkeypatch.setattr(module, "measure", full_after_the_first)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    arguments = {"methods": ["supervised", "fix-match"], "steps": 3, "out": tmp_path / "o"}
    try:
        with pytest.raises(OSError, match="MB are needed") as caught:
            compare("digits", **arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path / "o") in caught.value.filename
    assert [path.name.split("-")[0] for path in (tmp_path / "o" / "models").iterdir()] == ["supervised"]
    found = compare("digits", **arguments, resume=True)
    assert [run.method for run in found.runs] == ["supervised", "fix-match"]
    assert len(measured) == 3

import contextlib
import gc
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewlabels import Supervised, compare, embed, load_dataset, track
from fewlabels.data import load_unlabeled, workers
from fewlabels.data.decode import UnreadableImage, decode, read_header
from fewlabels.data.listing import Listing
from fewlabels.data.parts import as_array
from fewlabels.labeling import label_shards
from fewlabels.storage.errors import InputError, Interrupted
from shard_files import as_png, random_images, write_tar

RED, BLUE = (250, 5, 5), (5, 5, 250)


def save(path, color=RED, size=(16, 16), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).convert(mode).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path):
    """A folder with two classes of six, a pool of three, and a test part."""
    folder = tmp_path / "photos"
    for index in range(6):
        save(folder / "train" / "red" / f"img{index}.png")
        save(folder / "train" / "blue" / f"img{index}.png", BLUE)
    for index in range(3):
        save(folder / "unlabeled" / "deep" / f"{index}.png")
    for index in range(2):
        save(folder / "test" / "red" / f"{index}.png")
        save(folder / "test" / "blue" / f"{index}.png", BLUE)
    return folder


def read(folder, tmp_path, **options):
    return load_dataset(folder, cache_dir=tmp_path / "cache", **options)


def test_parts_and_classes_come_from_the_folders(photos, tmp_path):
    data = read(photos, tmp_path)
    assert data.class_names == ("blue", "red")
    assert [len(part) for part in (data.labeled, data.pool, data.test)] == [12, 3, 4]
    assert data.labeled[0].mean((0, 1)).tolist() == list(BLUE)
    assert data.diagnostics.labeled_names[0] == os.path.join("train", "blue", "img0.png")


@pytest.mark.parametrize("here", [".", "./", Path(".")])
@pytest.mark.parametrize("has_train", [True, False])
def test_the_folder_here_is_read_as_by_its_path(photos, tmp_path, monkeypatch, here, has_train):
    if not has_train:
        for name in ("red", "blue"):
            (photos / "train" / name).rename(photos / name)
        (photos / "train").rmdir()
    monkeypatch.chdir(photos)
    data = read(here, tmp_path)
    assert data.class_names == ("blue", "red")
    assert [len(part) for part in (data.labeled, data.pool, data.test)] == [12, 3, 4]
    assert data.notes == ()


def test_a_class_may_be_called_as_a_part_is(photos, tmp_path):
    save(photos / "train" / "test" / "0.png")
    data = read(photos, tmp_path)
    assert data.class_names == ("blue", "red", "test")
    assert "train/test/ is taken as a class, not as the test part; move it out of train/ if it is none" in data.notes


def test_a_file_that_is_not_looked_into_keeps_its_place_when_it_is_moved(tmp_path):
    for index in range(3):
        for part in ("train", "test"):
            for name, brightness in (("cat", 10), ("dog", 100)):
                save(tmp_path / "p" / part / name / f"{index}.png", (brightness + index,) * 3)
    huge = tmp_path / "p" / "train" / "cat" / "0-scan.tif"
    with huge.open("wb") as file:
        file.truncate(257 << 20)
    read(tmp_path / "p", tmp_path)
    huge.rename(tmp_path / "p" / "test" / "dog" / "z-scan.tif")
    data = read(tmp_path / "p", tmp_path)
    for images, labels in ((data.labeled, data.labels), (data.test, data.test_labels)):
        assert images[:][:, 0, 0, 0].tolist() == [10, 11, 12, 100, 101, 102]
        assert labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_files_come_in_natural_order(tmp_path):
    for name in ("img10", "img9", "img1"):
        save(tmp_path / "p" / "a" / f"{name}.png")
        save(tmp_path / "p" / "b" / f"{name}.png", BLUE)
    data = read(tmp_path / "p", tmp_path, labels_per_class=1)
    names = data.diagnostics.labeled_names + data.diagnostics.pool_names + data.diagnostics.test_names
    assert sorted(names) == sorted(names, key=str)
    assert len(set(names)) == 6


def test_the_second_time_nothing_is_decoded(photos, tmp_path, monkeypatch):
    first = read(photos, tmp_path)
    monkeypatch.setattr(workers, "decode_all", lambda *_, **__: pytest.fail("decoded again"))
    again = read(photos, tmp_path)
    assert isinstance(again.labeled.array, np.memmap)
    assert np.array_equal(first.labeled[:], again.labeled[:])


def test_a_changed_image_is_noticed(photos, tmp_path):
    before = read(photos, tmp_path)
    save(photos / "train" / "blue" / "img0.png", (9, 99, 9))
    os.utime(photos / "train" / "blue" / "img0.png", ns=(1, 1))
    after = read(photos, tmp_path)
    assert after.labeled[0][0, 0].tolist() == [9, 99, 9]
    assert before.fingerprint != after.fingerprint


def test_images_from_a_clock_that_is_centuries_ahead_are_read(photos, tmp_path, aged):
    for place in ("train/blue/img0.png", "unlabeled/deep"):
        os.utime(photos / place, (9_999_999_999, 9_999_999_999))
    aged()
    first = read(photos, tmp_path)
    assert (len(first.labeled), len(first.pool)) == (12, 3)
    assert read(photos, tmp_path).fingerprint == first.fingerprint


@pytest.mark.skipif(sys.platform == "win32", reason="its files have neither number nor time of change to tell by")
def test_files_of_one_size_and_time_that_swap_their_names_are_told_apart(tmp_path):
    for name, color in (("red", RED), ("blue", BLUE)):
        for index in range(6):
            save(tmp_path / "p" / name / f"{index}.bmp", color)
            os.utime(tmp_path / "p" / name / f"{index}.bmp", ns=(1, 1))
    first = read(tmp_path / "p", tmp_path)
    red, blue = (tmp_path / "p" / name / "0.bmp" for name in ("red", "blue"))
    red.rename(tmp_path / "aside")
    blue.rename(red)
    (tmp_path / "aside").rename(blue)
    again = read(tmp_path / "p", tmp_path)
    row = again.diagnostics.labeled_names.index(os.path.join("red", "0.bmp"))
    assert again.labeled[row][0, 0].tolist() == list(BLUE)
    assert again.content_key != first.content_key


def test_a_copy_of_a_folder_has_the_key_of_the_first(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copy2)
    assert read(tmp_path / "copy", tmp_path).content_key == read(photos, tmp_path).content_key


def test_names_that_count_alike_come_in_one_order_however_the_disk_lists_them(tmp_path, monkeypatch):
    for name in ("1", "01", "001"):
        save(tmp_path / f"{name}.png")
    first = [entry.name for entry in Listing().entries(tmp_path)]
    with os.scandir(tmp_path) as found:
        backwards = list(found)[::-1]
    monkeypatch.setattr(os, "scandir", lambda _: contextlib.nullcontext(backwards))
    assert [entry.name for entry in Listing().entries(tmp_path)] == first


def names(data):
    found = data.diagnostics
    return found.labeled_names, found.pool_names, found.test_names


def test_an_unchanged_folder_is_not_listed_again(photos, tmp_path, monkeypatch, aged):
    aged()
    first = read(photos, tmp_path)
    monkeypatch.setattr(Listing, "entries", lambda *_: pytest.fail("listed again"))
    again = read(photos, tmp_path)
    assert names(again) == names(first)
    assert (again.class_names, again.content_key) == (first.class_names, first.content_key)
    for part in ("labeled", "pool", "test"):
        assert np.array_equal(getattr(first, part)[:], getattr(again, part)[:])


@pytest.mark.parametrize(
    "change",
    [
        lambda f: save(f / "train" / "red" / "new.png"),
        lambda f: (f / "train" / "red" / "img3.png").unlink(),
        lambda f: (f / "train" / "red" / "img3.png").rename(f / "train" / "blue" / "img33.png"),
        lambda f: save(f / "unlabeled" / "deep" / "deeper" / "1.png"),
        lambda f: save(f / "train" / "green" / "1.png"),
        lambda f: save(f / "validation" / "red" / "1.png"),
        lambda f: save(f / "train" / "red" / "img3.png", (9, 9, 9)),
    ],
)
def test_a_change_of_a_remembered_folder_is_noticed(photos, tmp_path, change, aged):
    aged()
    before = read(photos, tmp_path)
    change(photos)
    after = read(photos, tmp_path)
    assert after.content_key != before.content_key or names(after) != names(before)


def unpack(source, folder):
    """Put a folder over another as an archive would in which all times are 0, as reproducible ones are."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (0, 0))


def test_an_archive_with_fixed_times_that_is_unpacked_over_another_is_noticed(tmp_path, aged):
    places = [tmp_path / "1", tmp_path / "2"]
    for place in places:
        for index in range(4):
            save(place / "train" / "red" / f"{index}.bmp", (200 + index, 0, 0))
            save(place / "train" / "blue" / f"{index}.bmp", (0, 0, 200 + index))
        save(place / "unlabeled" / "0.bmp", (9, 9, 9))
    swapped = [places[1] / "train" / name / "0.bmp" for name in ("red", "blue")]
    for path, content in zip(swapped, [path.read_bytes() for path in swapped][::-1], strict=True):
        path.write_bytes(content)
    save(places[1] / "unlabeled" / "1.bmp", (9, 9, 9))
    photos = tmp_path / "photos"
    unpack(places[0], photos)
    aged()
    read(photos, tmp_path)
    unpack(places[1], photos)
    data, expected = (read(place, tmp_path) for place in (photos, places[1]))
    assert names(data) == names(expected)
    assert np.array_equal(data.labeled[:], expected.labeled[:])


def test_a_remembered_image_that_is_written_anew_with_its_time_of_before_is_noticed(photos, tmp_path, aged):
    path = photos / "train" / "red" / "img3.bmp"
    save(path, (1, 2, 3))
    aged()
    before, times = read(photos, tmp_path), path.stat()
    with path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"\xff\xff\xff")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read(photos, tmp_path).content_key != before.content_key


def test_a_folder_that_just_changed_is_not_taken_as_known(photos, tmp_path, monkeypatch):
    read(photos, tmp_path)
    listed = []
    entries = Listing.entries
    monkeypatch.setattr(Listing, "entries", lambda self, folder: listed.append(folder) or entries(self, folder))
    read(photos, tmp_path)
    assert listed


def test_a_change_is_noticed_wherever_the_folder_was_read_from(photos, tmp_path, monkeypatch, aged):
    aged()
    monkeypatch.chdir(tmp_path)
    read("photos", tmp_path)
    shutil.copytree(photos, tmp_path / "elsewhere" / "photos", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "elsewhere")
    save(photos / "train" / "red" / "new.png", (9, 9, 9))
    assert len(read(photos, tmp_path).labeled) == 13


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-40],
        # A bit that says that the archive's members are encrypted.
        lambda content: re.sub(rb"(?s)(PK\x01\x02.{4}).", rb"\1" b"\x01", content),
    ],
    ids=["cut off", "a bit turned"],
)
def test_a_damaged_memory_of_a_folder_is_no_trouble(photos, tmp_path, damage, aged):
    aged()
    before = read(photos, tmp_path)
    for path in (tmp_path / "cache" / "folders").iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert names(read(photos, tmp_path)) == names(before)


def test_a_moved_folder_uses_the_same_pixels_and_names_its_own_files(photos, tmp_path, monkeypatch):
    (photos / "train" / "red" / "bad.png").write_bytes(b"no image")
    read(photos, tmp_path)
    moved = photos.rename(tmp_path / "elsewhere")
    monkeypatch.setattr(workers, "decode_all", lambda *_, **__: pytest.fail("decoded again"))
    skipped = read(moved, tmp_path).skipped
    assert [entry.path for entry in skipped] == [str(moved / "train" / "red" / "bad.png")]


def test_many_images_are_decoded_by_several_processes_as_by_one(photos, tmp_path, monkeypatch):
    (photos / "train" / "red" / "bad.png").write_bytes(b"no image")
    alone = read(photos, tmp_path / "a")
    monkeypatch.setattr(workers, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(workers, "_CHUNK", 4)
    together = read(photos, tmp_path / "b")
    assert names(together) == names(alone)
    assert [entry.reason for entry in together.skipped] == [entry.reason for entry in alone.skipped]
    assert np.array_equal(together.labeled[:], alone.labeled[:])


def test_a_broken_cache_entry_is_built_anew(photos, tmp_path):
    expected = read(photos, tmp_path).labeled[:]
    for path in (tmp_path / "cache" / "images").glob("*/images.npy"):
        half = path.read_bytes()[:200]
        path.unlink()
        path.write_bytes(half)
    assert np.array_equal(read(photos, tmp_path).labeled[:], expected)


def test_a_cache_that_cannot_be_written_is_no_trouble_where_the_images_are_in_it(photos, tmp_path, aged):
    first = read(photos, tmp_path)
    for name in ("folders", "manifests"):
        shutil.rmtree(tmp_path / "cache" / name, ignore_errors=True)
        # Whoever the tests run as, nothing can be written below a file.
        (tmp_path / "cache" / name).write_bytes(b"")
    aged()
    assert np.array_equal(read(photos, tmp_path).labeled[:], first.labeled[:])


def test_nothing_half_written_stays_in_the_cache(photos, tmp_path):
    read(photos, tmp_path)
    assert not [path for path in (tmp_path / "cache").rglob("*") if ".part" in path.name or ".old" in path.name]


def test_images_that_were_not_used_for_the_longest_time_make_room_but_for_open_ones(photos, tmp_path, monkeypatch):
    entries = tmp_path / "cache" / "images"

    def grown(number):
        """Read the photos with one more; return the name of their entry, and them."""
        save(photos / "unlabeled" / f"{number}.png")
        before = set(entries.iterdir()) if entries.is_dir() else set()
        data = read(photos, tmp_path)
        gc.collect()
        return (set(entries.iterdir()) - before).pop(), data

    first, second, third = (grown(number) for number in range(3))
    opened = second[1]
    first, second, third = first[0], second[0], third[0]
    gc.collect()
    for hours, entry in ((50, first), (40, second), (30, third)):
        os.utime(entry, (0, time.time() - hours * 3600))
    killed, under_way = (entries / f".{name}.1234.part" for name in ("killed", "under-way"))
    for part in (killed, under_way):
        part.mkdir()
        (part / "images.npy").write_bytes(b"0" * 100)
    for path in (killed / "images.npy", killed):
        os.utime(path, (0, 0))
    monkeypatch.setattr("fewlabels.data.room.LIMIT", 1)
    monkeypatch.setattr("fewlabels.data.room._JUST_USED", 35 * 3600)
    fourth, data = grown(3)
    assert set(entries.iterdir()) == {second, third, fourth, under_way}, "open, just used, new, being written"
    monkeypatch.setattr("fewlabels.data.room._JUST_USED", 0.0)
    assert len(opened.pool) == 5
    del opened, data
    gc.collect()
    fifth, _ = grown(4)
    assert set(entries.iterdir()) == {fifth, under_way}


@pytest.mark.parametrize("value", [200, 256, 32767])
def test_signed_numbers_of_16_bits_keep_their_brightness_too(value):
    tags = [(256, 3, 8), (257, 3, 8), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 134), (277, 3, 1), (278, 3, 8)]
    tags += [(279, 4, 128), (339, 3, 2)]
    fields = b"".join(struct.pack("<HHII", tag, kind, 1, content) for tag, kind, content in tags)
    pixels = np.full(64, value, "<i2").tobytes()
    tiff = b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + struct.pack("<I", 0) + pixels
    assert decode(tiff, (8, 8), gray=True).max() == round(value / 257)


def test_another_form_of_the_cache_leaves_what_a_source_is_known_by(photos, tmp_path, monkeypatch):
    before = read(photos, tmp_path)
    monkeypatch.setattr("fewlabels.data.cache.FORMAT_VERSION", 99)
    after = read(photos, tmp_path)
    assert after.fingerprint == before.fingerprint
    assert np.array_equal(after.labeled[:], before.labeled[:])
    (entry,) = (tmp_path / "cache" / "images").iterdir()
    assert json.loads((entry / "entry.json").read_text())["format_version"] == 99


def test_folders_that_are_read_in_threads_leave_warnings_as_they_are(photos, tmp_path):
    read(photos, tmp_path)
    before = list(warnings.filters)
    for _ in range(5):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: read(photos, tmp_path), range(16)))
    assert warnings.filters == before


def test_images_that_threads_decode_leave_warnings_as_they_are(tmp_path, monkeypatch):
    content = save(tmp_path / "red.png").read_bytes()
    before = list(warnings.filters)
    opened = Image.open

    def slowly(*arguments, **options):
        time.sleep(0.002)
        return opened(*arguments, **options)

    monkeypatch.setattr(Image, "open", slowly)  # so that one begins while another is at it
    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(lambda _: decode(content, (8, 8), gray=False), range(64)))) == 64
    assert warnings.filters == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked there")
def test_a_forked_process_does_not_let_go_of_what_this_one_has_open(photos, tmp_path):
    data = read(photos, tmp_path)
    (entry,) = (tmp_path / "cache" / "images").iterdir()
    gc.collect()
    held = list(entry.glob(".*.open"))
    assert len(held) == 1
    code = f"""
import gc, os, sys
from pathlib import Path
from fewlabels import load_dataset
data = load_dataset({str(photos)!r}, cache_dir={str(tmp_path / "cache")!r})
gc.collect()
before = sorted(Path({str(entry)!r}).glob(".*.open"))
child = os.fork()
if not child:
    del data
    gc.collect()
    os._exit(0)
os.waitpid(child, 0)
sys.exit(sorted(Path({str(entry)!r}).glob(".*.open")) != before or len(before) < 2)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert list(entry.glob(".*.open")) == held
    assert len(data.labeled)


@pytest.mark.parametrize(
    ("mode", "extension", "expected"),
    [("L", "png", 78), ("P", "gif", None), ("CMYK", "jpg", None), ("1", "png", None), ("RGBA", "webp", None)],
)
def test_every_mode_becomes_color_among_color_images(photos, tmp_path, mode, extension, expected):
    save(photos / "train" / "red" / f"a-first.{extension}", mode=mode)
    data = read(photos, tmp_path)
    assert data.channels == 3
    name = os.path.join("train", "red", f"a-first.{extension}")
    pixel = data.labeled[data.diagnostics.labeled_names.index(name)].mean((0, 1))
    if expected is not None:
        assert np.allclose(pixel, expected, atol=1)
    elif mode != "1":
        assert np.allclose(pixel, RED, atol=12)


def test_transparent_pixels_are_white(photos, tmp_path):
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(photos / "train" / "red" / "clear.png")
    data = read(photos, tmp_path)
    row = data.diagnostics.labeled_names.index(os.path.join("train", "red", "clear.png"))
    assert data.labeled[row].min() == 255


def test_sixteen_bit_grays_keep_their_brightness(photos, tmp_path):
    Image.fromarray(np.full((16, 16), 32768, np.uint16)).save(photos / "train" / "red" / "deep.png")
    data = read(photos, tmp_path)
    row = data.diagnostics.labeled_names.index(os.path.join("train", "red", "deep.png"))
    assert np.allclose(data.labeled[row], 128, atol=1)


def test_a_pixel_that_is_no_number_does_not_blacken_the_others(photos, tmp_path):
    values = np.full((16, 16), 200.0, np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(photos / "train" / "red" / "warm.tiff")
    Image.fromarray(np.full((16, 16), np.nan, np.float32)).save(photos / "train" / "red" / "lost.tiff")
    data = read(photos, tmp_path)
    row = data.diagnostics.labeled_names.index(os.path.join("train", "red", "warm.tiff"))
    assert data.labeled[row][8, 8].tolist() == [200, 200, 200]
    assert data.labeled[row][0, 0].tolist() == [0, 0, 0]
    assert [(os.path.basename(one.path), one.reason) for one in data.skipped] == [("lost.tiff", "no pixel is a number")]


@pytest.mark.parametrize(("value", "shown"), [(0.5, 128), (1.0001, 255), (100.0, 100), (200.0, 200), (32768.0, 128)])
def test_floats_are_as_bright_as_their_range_says_whatever_the_image(tmp_path, value, shown):
    Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / "a.tiff")
    assert np.unique(decode(tmp_path / "a.tiff", (8, 8), gray=True)).tolist() == [shown]


@pytest.mark.parametrize("value", [-3.0, 70000.0])
def test_floats_of_no_known_range_are_told(tmp_path, value):
    Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(UnreadableImage, match=rf"values from {value:g} to {value:g}; scale them to 0 to 1$"):
        decode(tmp_path / "a.tiff", (8, 8), gray=True)


@pytest.mark.parametrize(("value", "shown"), [(1, 1), (200, 200), (32768, 128)])
def test_whole_numbers_of_32_bits_are_as_bright_as_their_range_says(tmp_path, value, shown):
    Image.fromarray(np.full((8, 8), value, np.int32)).save(tmp_path / "a.tiff")
    assert np.unique(decode(tmp_path / "a.tiff", (8, 8), gray=True)).tolist() == [shown]
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 65535\n" + np.full(64, value, ">u2").tobytes())
    assert decode(tmp_path / "a.pgm", (8, 8), gray=True).max() == round(value / 257), "a format that says what is white"


@pytest.mark.parametrize(("white", "noted"), [(4095, True), (65535, False)])
def test_images_that_do_not_fill_their_format_are_noted(tmp_path, white, noted):
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        (tmp_path / "gray" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), white, np.uint16)).save(tmp_path / "gray" / name)
    notes = load_dataset(tmp_path / "gray", cache_dir=tmp_path / "cache").notes
    assert any(note.startswith("images are very dark, no pixel is above 16 of 255: scale") for note in notes) == noted


def test_exif_orientation_is_applied(photos, tmp_path):
    picture = Image.new("RGB", (16, 16), BLUE)
    picture.paste(RED, (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(photos / "train" / "red" / "turned.png", exif=exif)
    data = read(photos, tmp_path)
    row = data.diagnostics.labeled_names.index(os.path.join("train", "red", "turned.png"))
    assert data.labeled[row][8, 15].tolist() == list(RED)
    assert data.labeled[row][8, 0].tolist() == list(BLUE)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_tiff_is_turned_once(tmp_path, orientation):
    picture = Image.new("RGB", (40, 20), BLUE)
    picture.paste(RED, (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "turned.tif", exif=exif)
    with Image.open(tmp_path / "turned.tif") as image:
        expected = np.asarray(image.convert("RGB"))
    header = read_header(tmp_path / "turned.tif")
    assert (header.height, header.width) == expected.shape[:2]
    assert np.array_equal(decode(tmp_path / "turned.tif", expected.shape[:2], gray=False), expected)


def test_gray_images_alone_have_one_channel(tmp_path):
    for name in ("a", "b"):
        for index in range(5):
            save(tmp_path / "p" / name / f"{index}.png", mode="L")
    assert read(tmp_path / "p", tmp_path).channels == 1


def test_mixed_sizes_are_scaled_and_cropped_at_the_center_and_said(photos, tmp_path):
    wide = Image.new("RGB", (96, 32), BLUE)
    wide.paste(RED, (32, 0, 64, 32))
    wide.save(photos / "train" / "red" / "wide.png")
    data = read(photos, tmp_path)
    assert data.image_size == (32, 32)
    assert "2 sizes were resized to 32x32" in data.notes[0]
    row = data.diagnostics.labeled_names.index(os.path.join("train", "red", "wide.png"))
    assert np.allclose(data.labeled[row].mean((0, 1)), RED, atol=12)
    assert read(photos, tmp_path, image_size=8).image_size == (8, 8)


def test_unreadable_files_are_named_and_left_out_or_refused_when_strict(photos, tmp_path):
    whole = save(photos / "train" / "red" / "cut.jpg", size=(200, 200)).read_bytes()
    (photos / "train" / "red" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "train" / "red" / "notes.txt").write_text("no image")
    (photos / "train" / "blue" / "empty.png").write_bytes(b"")
    data = read(photos, tmp_path)
    reasons = {os.path.basename(entry.path): entry.reason for entry in data.skipped}
    assert set(reasons) == {"cut.jpg", "notes.txt", "empty.png"}
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["notes.txt"] == "not an image"
    assert reasons["empty.png"] == "the file is empty"
    assert len(data.labeled) == 12
    with pytest.raises(InputError, match=r"\(3 unreadable in all"):
        read(photos, tmp_path, strict=True)


def test_an_empty_folder_is_no_class_where_the_labels_are_elsewhere(tmp_path):
    for number in range(8):
        save(tmp_path / "flat" / f"{number}.png")
    (tmp_path / "flat" / "empty").mkdir()
    labels = {f"{number}.png": "ab"[number % 2] for number in range(6)}
    data = load_dataset(tmp_path / "flat", cache_dir=tmp_path / "cache", labels=labels)
    assert data.class_names == ("a", "b")
    assert len(data.pool) == 2


@pytest.mark.parametrize("is_source", [True, False])
def test_a_folder_without_images_is_no_class_where_the_labels_are_elsewhere(tmp_path, is_source):
    folder = tmp_path / "flat"
    for number in range(8):
        save(folder / f"{number}.png")
    (folder / "notes").mkdir()
    (folder / "notes" / "read me.txt").write_text("no image")
    (folder / "raw" / "2024").mkdir(parents=True)
    (folder / "raw" / "2024" / "0.CR3").write_bytes(b"no image")
    if is_source:
        labels = {f"{number}.png": "ab"[number % 2] for number in range(6)}
        data = load_dataset(folder, cache_dir=tmp_path / "cache", labels=labels)
        assert (data.class_names, len(data.pool)) == (("a", "b"), 2)
    else:
        data = load_unlabeled(folder, cache_dir=tmp_path / "cache")
        assert len(data.pool) == 8
    for name in ("notes", "raw"):
        assert f"not read: {name}/ (no file in it is called as an image is)" in data.notes
    assert not data.skipped


def test_class_folders_whose_images_have_no_ending_are_classes_where_the_labels_are_elsewhere(photos, tmp_path):
    for image in [*photos.rglob("train/*/*.png")]:
        image.rename(image.with_suffix(""))
    assert load_unlabeled(photos, cache_dir=tmp_path / "cache").class_names == ("blue", "red")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "train" / "green").mkdir(), "green is empty"),
        (lambda f: [p.unlink() for p in (f / "train" / "red").iterdir()], "red is empty"),
        (
            lambda f: [p.write_bytes(b"x") for p in (f / "train" / "red").iterdir()],
            "'red' has no readable image",
        ),
        (lambda f: save(f / "test" / "green" / "1.png"), "'green' of test/ is not among the training classes"),
    ],
)
def test_folders_that_cannot_be_used_are_refused_with_the_reason(photos, tmp_path, spoil, message):
    spoil(photos)
    with pytest.raises(InputError, match=message):
        read(photos, tmp_path)


def test_images_without_class_folders_are_told_what_to_do(tmp_path):
    save(tmp_path / "p" / "1.png")
    with pytest.raises(InputError, match="put each image into a folder named after its class"):
        read(tmp_path / "p", tmp_path)


def test_what_lies_beside_the_parts_and_classes_is_told(photos, tmp_path, aged):
    save(photos / "1.png")
    save(photos / "train" / "2.png")
    save(photos / "extra photos" / "3.png")
    (photos / "notes.txt").write_text("not an image")
    aged()
    first = read(photos, tmp_path)
    assert first.notes[:2] == (
        "not read: extra photos/ (the parts are train/, unlabeled/, validation/ and test/)",
        "not read: 2 images lie in no class folder (those without a label belong into unlabeled/)",
    )
    assert read(photos, tmp_path).notes == first.notes


def test_what_fewlabels_wrote_among_class_folders_is_no_class(tmp_path, monkeypatch):
    for index in range(6):
        save(tmp_path / "p" / "red" / f"{index}.png")
        save(tmp_path / "p" / "blue" / f"{index}.png", BLUE)
    monkeypatch.chdir(tmp_path / "p")
    before = read(".", tmp_path)

    def stop(event):
        if event["step"] == 2:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        Supervised(steps=5).fit(before.labeled, before.labels, checkpoint="model.checkpoint", observer=stop)
    method = Supervised(steps=2, random_state=0)
    with track("tensorboard", ".", method=method) as run:
        method.fit(before.labeled, before.labels, observer=run)
    method.save("model")
    embed(".", torch.nn.Conv2d(3, 2, 3), "features", cache_dir=tmp_path / "cache")
    compare("digits", methods=["supervised"], steps=2, check=False)
    write_tar(tmp_path / "pool.tar", map(as_png, random_images(3)))
    label_shards("model", str(tmp_path / "pool.tar"), "guesses", cache_dir=tmp_path / "cache")
    save(Path("mlruns/1/2/artifacts/confusion.png"))
    written = {path.name for path in Path().iterdir()} - {"red", "blue"}
    assert written == {"model", "model.checkpoint", "tensorboard", "features", "runs", "guesses", "mlruns"}
    after = read(".", tmp_path)
    assert (after.fingerprint, after.class_names) == (before.fingerprint, ("blue", "red"))
    expected = r"not read: features/, guesses/, mlruns/ and 4 more \(written by fewlabels, not images\)"
    assert re.fullmatch(expected, after.notes[0])


def test_a_model_beside_images_without_class_folders_is_no_class(tmp_path):
    labels = {f"{number}.png": "ab"[number % 2] for number in range(6)}
    for number in range(8):
        save(tmp_path / "flat" / f"{number}.png")
    data = read(tmp_path / "flat", tmp_path, labels=labels)
    Supervised(steps=2).fit(data.labeled, data.labels).save(tmp_path / "flat" / "model")
    again = read(tmp_path / "flat", tmp_path, labels=labels)
    assert again.fingerprint == data.fingerprint
    assert not again.skipped


def test_images_beside_what_another_program_wrote_are_read(photos, tmp_path):
    for name in ("config.json", "metrics.jsonl", "_plan.json"):
        (photos / "unlabeled" / "deep" / name).write_text("{}")
    assert len(read(photos, tmp_path).pool) == 3


def test_a_folder_that_is_called_digits_is_not_passed_over_in_silence(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_dataset("digits").notes == ()
    photos.rename("digits")
    assert load_dataset("digits").notes == ("these are the embedded digits; the folder here is ./digits",)
    assert len(read("./digits", tmp_path).labeled) == 12


def test_an_image_that_could_not_be_reached_once_is_read_the_next_time(photos, tmp_path, monkeypatch, aged):
    aged()
    read_file = workers.read_file

    def fails(path):
        if path.match("deep/0.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return read_file(path)

    monkeypatch.setattr(workers, "read_file", fails)
    data = read(photos, tmp_path)
    assert [(entry.path, "Permission denied" in entry.reason) for entry in data.skipped] == [
        (str(photos / "unlabeled" / "deep" / "0.png"), True)
    ]
    monkeypatch.undo()
    data = read(photos, tmp_path)
    assert not data.skipped
    assert len(data.pool) == 3


def test_an_image_that_is_lost_while_it_is_decoded_is_not_left_out_for_good(photos, tmp_path, monkeypatch):
    def fails(source, *_, **__):
        raise OSError(5, "Input/output error", str(source))

    monkeypatch.setattr(workers, "decode", fails)
    with pytest.raises(InputError, match="could be read just now, so try again"):
        read(photos, tmp_path)
    monkeypatch.undo()
    assert not read(photos, tmp_path).skipped


def test_two_folders_that_mean_the_same_part_are_refused(photos, tmp_path):
    (photos / "pool").mkdir()
    with pytest.raises(InputError, match="pool/ and unlabeled/, which mean the same part"):
        read(photos, tmp_path)


def test_a_loop_of_links_ends(photos, tmp_path):
    (photos / "unlabeled" / "loop").symlink_to(photos)
    assert len(read(photos, tmp_path).pool) == 3


@pytest.mark.parametrize("place", [".", "train", "train/red", "unlabeled", "test"])
def test_a_link_that_leads_to_itself_is_no_folder(photos, tmp_path, place):
    (photos / place / "loop").symlink_to("loop")
    data = read(photos, tmp_path)
    assert (len(data.labeled), len(data.pool), len(data.test)) == (12, 3, 4)


def test_a_linked_folder_is_read_as_if_it_lay_here_and_once(photos, tmp_path):
    for index in range(4):
        save(tmp_path / "elsewhere" / "2023" / f"{index}.png")
    (photos / "unlabeled" / "older").symlink_to(tmp_path / "elsewhere" / "2023")
    (photos / "unlabeled" / "all").symlink_to(tmp_path / "elsewhere")
    (photos / "train" / "red" / "more").symlink_to(tmp_path / "elsewhere" / "2023")
    data = read(photos, tmp_path)
    assert len(data.pool) == 3 + 4
    assert len(data.labeled) == 12 + 4


@pytest.mark.parametrize("name", ["2023", "zzz"])
def test_a_link_around_another_gives_what_that_does_not(photos, tmp_path, name):
    for year in (2023, 2024):
        for index in range(4):
            save(tmp_path / "elsewhere" / "photos" / str(year) / f"{index}.png")
    (tmp_path / "elsewhere" / "photos" / "2024" / "up").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "photos" / "home").symlink_to(tmp_path)
    (photos / "unlabeled" / name).symlink_to(tmp_path / "elsewhere" / "photos" / "2023")
    (photos / "unlabeled" / "everything").symlink_to(tmp_path / "elsewhere")
    assert len(read(photos, tmp_path).pool) == 3 + 4 + 4


def test_a_part_that_may_be_meant_as_a_class_is_told(tmp_path):
    for name in ("garden", "kitchen", "pool"):
        for index in range(6):
            save(tmp_path / "house" / name / f"{index}.png")
    data = read(tmp_path / "house", tmp_path)
    assert data.class_names == ("garden", "kitchen")
    assert "pool/ is taken as images without labels, not as a class; rename it if it is one" in data.notes


@pytest.mark.parametrize(
    ("name", "meant"), [("train", "the part to learn from"), ("test", "the test part"), ("val", "the validation part")]
)
def test_a_class_that_is_called_as_a_part_is_named_where_it_stops_the_source(tmp_path, name, meant):
    for place in ("car", "plane", name):
        save(tmp_path / "p" / place / "0.png")
    with pytest.raises(InputError, match=rf"folders; {name}/ is taken as {meant}, so rename it if it is a class, or"):
        read(tmp_path / "p", tmp_path)


def test_a_part_without_class_folders_is_no_class_where_there_is_none_beside_it(photos, tmp_path):
    shutil.rmtree(photos / "test")
    save(photos / "test" / "0.png")
    with pytest.raises(InputError, match="test holds 1 image but no class folders; put each image into a folder"):
        read(photos, tmp_path)


@pytest.mark.parametrize("train", ["train", "labeled"])
def test_a_part_that_lies_among_the_classes_is_told(photos, tmp_path, train):
    (photos / "train").rename(photos / train)
    (photos / "unlabeled").rename(photos / train / "Pool")
    data = read(photos, tmp_path)
    assert data.class_names == ("Pool", "blue", "red")
    note = f"{train}/Pool/ is taken as a class, not as images without labels; move it out of {train}/ if it is none"
    assert data.notes == (note,)


def test_a_class_may_be_written_with_composed_or_with_combining_signs(photos, tmp_path):
    (photos / "train" / "red").rename(photos / "train" / "caf\u00e9")
    (photos / "test" / "red").rename(photos / "test" / "cafe\u0301")
    data = read(photos, tmp_path)
    assert data.class_names == ("blue", "caf\u00e9")
    assert sorted(data.test_labels.tolist()) == [0, 0, 1, 1]


def test_class_folders_that_read_alike_are_one_class(photos, tmp_path):
    images = sorted((photos / "train" / "red").iterdir())
    for spelling in ("caf\u00e9", "cafe\u0301"):
        (photos / "train" / spelling).mkdir()
    for number, image in enumerate(images):
        image.rename(photos / "train" / ("caf\u00e9", "cafe\u0301")[number % 2] / image.name)
    (photos / "train" / "red").rmdir()
    (photos / "test" / "red").rename(photos / "test" / "caf\u00e9")
    data = read(photos, tmp_path)
    assert [name.encode() for name in data.class_names] == [b"blue", "cafe\u0301".encode()]
    assert (data.labels == 1).sum() == len(images)
    assert (data.test_labels == 1).sum() == 2


@pytest.mark.parametrize("name", ["meta", "data_batch_1"])
def test_a_folder_of_photos_with_another_folder_is_no_cifar(photos, tmp_path, name):
    (photos / name).mkdir()
    assert len(read(photos, tmp_path).labeled) == 12


@pytest.mark.parametrize(
    ("source", "message"), [("", "the source is empty; give"), ("stl10:", "no file or folder ''"), ("cifar10:", "''")]
)
def test_an_empty_source_is_not_the_folder_that_is_worked_in(source, message, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(InputError, match=message):
        load_dataset(source, cache_dir=tmp_path)
    assert len(load_dataset(".", cache_dir=tmp_path).labeled) == 12


def test_a_folder_of_archives_says_what_they_can_be(tmp_path):
    (tmp_path / "pool-000.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"archives such as pool-000\.tar can be the pool of another source: --pool"):
        load_dataset(tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(InputError, match=r"\*\.tar can be a pool alone, .* or to `label --engine local`"):
        load_dataset(tmp_path / "*.tar", cache_dir=tmp_path / "cache")


def test_a_source_that_is_not_there_names_the_nearest_known(tmp_path):
    with pytest.raises(InputError, match="did you mean 'digits'"):
        load_dataset("digit", cache_dir=tmp_path)
    with pytest.raises(InputError, match="no data set, folder or file '/no/such'"):
        load_dataset("/no/such", cache_dir=tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_nowhere_and_photos_of_telephones_are_left_out_by_name(photos, tmp_path):
    (photos / "unlabeled" / "lost.jpg").symlink_to(tmp_path / "not-mounted.jpg")
    (photos / "unlabeled" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (photos / "unlabeled" / "phone.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(20))
    data = load_dataset(photos, cache_dir=tmp_path / "cache")
    reasons = {Path(one.path).name: one.reason for one in data.skipped}
    assert reasons == {
        "lost.jpg": "a link that leads nowhere",
        "phone.avif": "AVIF, which is damaged or needs Pillow 11.3: install that, or convert it to JPEG",
        "phone.heic": "HEIC, which is not read: convert it to JPEG",
    }
    before = len(data.pool)
    shutil.copy(photos / "unlabeled" / "deep" / "0.png", tmp_path / "not-mounted.jpg")
    assert len(load_dataset(photos, cache_dir=tmp_path / "cache").pool) == before + 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_part_or_class_on_a_disk_that_is_not_there_is_told_and_read_when_it_is(photos, tmp_path, aged):
    shutil.rmtree(photos / "unlabeled")
    aged()
    for place in ("unlabeled", "train/green"):
        (photos / place).symlink_to(tmp_path / "disk" / place)
        os.utime((photos / place).parent, (1e9, 1e9))
    data = read(photos, tmp_path)
    assert (data.class_names, len(data.pool)) == (("blue", "red"), 0)
    assert {entry.path: entry.reason for entry in data.skipped} == {
        str(photos / place): "a link that leads nowhere" for place in ("unlabeled", "train/green")
    }
    with pytest.raises(InputError, match=r"unlabeled: a link that leads nowhere \(2 unreadable in all"):
        read(photos, tmp_path, strict=True)
    for index in range(6):
        save(tmp_path / "disk" / "unlabeled" / f"{index}.png")
        save(tmp_path / "disk" / "train" / "green" / f"{index}.png", (5, 250, 5))
    data = read(photos, tmp_path)
    assert (data.class_names, len(data.pool), data.skipped) == (("blue", "green", "red"), 6, ())


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_train_folder_on_a_disk_that_is_not_there_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "train").symlink_to(tmp_path / "disk")
    with pytest.raises(InputError, match=r"no class folders with images.*train is a link that leads nowhere\)"):
        read(tmp_path / "photos", tmp_path)


@pytest.mark.parametrize("name", ["phone.heic", "PHONE.HEIF"])
def test_photos_of_telephones_that_lie_in_no_class_folder_are_left_out_by_name(name, tmp_path):
    for number in range(4):
        save(tmp_path / "flat" / f"{number}.png")
    (tmp_path / "flat" / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    data = load_unlabeled(tmp_path / "flat", cache_dir=tmp_path / "cache")
    assert [(Path(one.path).name, one.reason) for one in data.skipped] == [
        (name, "HEIC, which is not read: convert it to JPEG")
    ]
    assert len(data.pool) == 4


def test_images_in_no_class_folder_are_read_whatever_their_ending_and_those_without_one_are_told(tmp_path):
    formats = {".jfif": "JPEG", ".JPE": "JPEG", ".jp2": "JPEG2000", ".ppm": "PPM", ".webp": "WEBP", "": "JPEG"}
    for number, (ending, format) in enumerate(formats.items()):
        save(tmp_path / "flat" / f"{number}{ending}", format=format)
    (tmp_path / "flat" / "labels.csv").write_text("file,class\n")
    data = load_unlabeled(tmp_path / "flat", cache_dir=tmp_path / "cache")
    assert len(data.pool) == 5
    assert data.notes == ("not read: 5 (without an ending, nothing tells images from other files; give them one)",)
    assert not data.skipped


def test_an_empty_class_folder_is_told_whatever_was_read_before(photos, tmp_path):
    (photos / "train" / "green").mkdir()
    aside = tmp_path / "cache"
    for place in (photos, *photos.rglob("*")):
        os.utime(place, (1e9, 1e9))
    assert len(load_unlabeled(photos, cache_dir=aside).labeled) == 12
    with pytest.raises(InputError, match=r"class folder .*green is empty"):
        load_dataset(photos, cache_dir=aside)


def test_a_progress_file_of_another_program_makes_no_features_of_a_folder(photos):
    (photos / "progress.json").write_text('{"seen": 3}')
    assert len(load_dataset(photos).labeled) == 12


def test_a_folder_that_may_not_be_entered_is_named_itself(photos, monkeypatch):
    stat = os.stat

    def refuse(path, *arguments, **options):
        if str(path).startswith(f"{photos}{os.sep}"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(PermissionError) as error:
        load_dataset(photos)
    assert error.value.filename == str(photos)


def test_a_damaged_image_in_a_list_is_told():
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    whole, damaged = Image.open(content), Image.open(io.BytesIO(content.getvalue()[:-900]))
    with pytest.raises(InputError, match="X holds an image with pixels that cannot be read"):
        as_array([whole, damaged])

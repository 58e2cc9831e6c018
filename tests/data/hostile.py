"""Files of every kind that is read, and readers that must answer any change of them with a result or a clear error."""

import io
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fewlabels.data import archives, arrays, decode, parquet
from fewlabels.methods import load, make_method
from fewlabels.storage.errors import InputError


def picture():
    values = np.random.default_rng(0).integers(0, 255, (12, 10, 3), dtype=np.uint8)
    return Image.fromarray(values)


def image_files():
    """Return the content of an image in every format that is read, some with metadata."""
    found = {}
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "words"
    for kind, mode, settings in (
        ("PNG", "RGBA", {}),
        ("PNG", "I;16", {}),
        ("PNG", "P", {"transparency": 3}),
        ("JPEG", "RGB", {"exif": exif}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("GIF", "P", {"save_all": True, "append_images": [Image.new("P", (10, 12))]}),
        ("WEBP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "F", {}),
        ("BMP", "RGB", {}),
        ("PPM", "RGB", {}),
        ("ICO", "RGBA", {"sizes": [(10, 12)]}),
        ("TGA", "RGB", {"rle": True}),
        ("PCX", "P", {}),
    ):
        content = io.BytesIO()
        image = picture().convert("L").convert("I").convert("I;16") if mode == "I;16" else picture().convert(mode)
        image.save(content, kind, **settings)
        found[f"{kind.lower()} {mode}"] = content.getvalue()
    return found


def npz_file():
    content = io.BytesIO()
    np.savez_compressed(content, X=np.zeros((4, 8, 8, 3), np.uint8), y=np.array([0, 1, 0, 1]))
    return content.getvalue()


def parquet_file():
    rows = [{"bytes": data, "path": f"{name}.x"} for name, data in list(image_files().items())[:4]]
    content = io.BytesIO()
    pq.write_table(pa.table({"image": rows, "label": [0, 1, 0, 1]}), content)
    return content.getvalue()


def tar_file(compression="gz"):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=f"w:{compression}") as tar:
        for name, size in (("train_X.bin", 300), ("folder/test_X.bin", 10)):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(b"x" * size))
    return content.getvalue()


def model_files():
    """Return description and weights of a small model."""
    X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    method = make_method("supervised", steps=1, batch_size=4, random_state=0).fit(X, np.arange(20) % 2)
    with tempfile.TemporaryDirectory() as folder:
        method.save(folder)
        return {name: (Path(folder) / name).read_bytes() for name in ("config.json", "model.safetensors")}


def read_image(content):
    try:
        decode.read_header(content)
        pixels = decode.decode(content, (8, 8), gray=False)
    except decode.UnreadableImage as error:
        _is_one_line(error)
        return False
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    return True


def _is_one_line(error):
    if "\n" in str(error):
        raise AssertionError(f"more than a line: {error}")


def _read(name, content, reader):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            reader(path, Path(folder))
        except InputError as error:
            _is_one_line(error)
            return False
        return True


def read_npz(content):
    return _read("a.npz", content, lambda path, _: arrays.read_npz(path, None))


def read_parquet(content):
    return _read("a.parquet", content, lambda path, folder: parquet.read_parquet(path, 8, folder / "cache"))


def read_tar(content):
    return _read(
        "a.tar", content, lambda path, _: archives.read_members(path, lambda name: True, lambda n, file, s: file.read())
    )


class ModelReader:
    """Reads a model folder with one of its two files changed."""

    def __init__(self):
        self.files = model_files()

    def read(self, name, content):
        with tempfile.TemporaryDirectory() as folder:
            for other, good in self.files.items():
                (Path(folder) / other).write_bytes(content if other == name else good)
            try:
                load(folder)
            except InputError as error:
                _is_one_line(error)
                return False
            return True

    def read_config(self, content):
        return self.read("config.json", content)

    def read_weights(self, content):
        return self.read("model.safetensors", content)


def readers():
    """Return what is read: name, a good content, and the function that reads it."""
    models = ModelReader()
    found = [(f"image {name}", content, read_image) for name, content in image_files().items()]
    return [
        *found,
        ("npz", npz_file(), read_npz),
        ("parquet", parquet_file(), read_parquet),
        ("tar.gz", tar_file("gz"), read_tar),
        ("tar", tar_file(""), read_tar),
        ("tar.xz", tar_file("xz"), read_tar),
        ("config", models.files["config.json"], models.read_config),
        ("weights", models.files["model.safetensors"], models.read_weights),
    ]


def changed(content, draws):
    """Return content with a few random changes: bytes, numbers, pieces cut out, put in and doubled."""
    data = bytearray(content)
    for _ in range(int(draws.integers(1, 6))):
        place = int(draws.integers(0, max(len(data), 1)))
        match int(draws.integers(0, 7)):
            case 0 if data:
                data[place] ^= 1 << int(draws.integers(0, 8))
            case 1 if data:
                data[place] = int(draws.choice([0, 1, 127, 128, 255]))
            case 2:
                data[place : place + 4] = int(draws.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1])).to_bytes(
                    4, "little" if draws.random() < 0.5 else "big"
                )
            case 3:
                del data[place:]
            case 4:
                del data[place : place + int(draws.integers(1, 40))]
            case 5:
                data[place:place] = data[place : place + int(draws.integers(1, 40))]
            case 6:
                data[place:place] = draws.bytes(int(draws.integers(1, 9)))
    return bytes(data)


def changed_config(content, draws):
    """Return a description with one of its values replaced by something of another kind."""
    config = json.loads(content)
    part = config
    while True:
        key = draws.choice(sorted(part)) if isinstance(part, dict) else int(draws.integers(0, len(part)))
        inner = part[key]
        if isinstance(inner, dict | list) and inner and draws.random() < 0.7:
            part = inner
            continue
        odd = [None, True, -1, 0, 1e308, 10**12, "x", "<U999999999", [], {}, [[]], "\udce9", [1] * 1000]
        part[key] = odd[int(draws.integers(0, len(odd)))]
        return json.dumps(config).encode()

"""Writes pools as other programs do: WebDataset archives and Parquet files, to any file system."""

import io
import json
import tarfile

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def as_png(image):
    content = io.BytesIO()
    Image.fromarray(np.squeeze(image)).save(content, "PNG")
    return content.getvalue()


def random_images(count, side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def write_tar(url, contents, mode="w"):
    """Write encoded images as samples with a label file beside each, as WebDataset has them."""
    with fsspec.open(url, "wb") as file, tarfile.open(fileobj=file, mode=mode) as archive:
        for number, content in enumerate(contents):
            for ending, value in (("json", json.dumps({"n": number}).encode()), ("png", content)):
                member = tarfile.TarInfo(f"part/{number:05d}.{ending}")
                member.size = len(value)
                archive.addfile(member, io.BytesIO(value))


def write_parquet(url, contents, *, plain=False, rows=16):
    column = contents if plain else [{"bytes": content, "path": None} for content in contents]
    with fsspec.open(url, "wb") as file:
        pq.write_table(pa.table({"image": column}), file, row_group_size=rows)

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewlabels.data.files import image_chunks


@pytest.mark.parametrize("room", [0, 1])
def test_where_no_thread_can_be_made_files_are_read_all_the_same(room, tmp_path, monkeypatch):
    files = [tmp_path / f"{value}.png" for value in range(5)]
    for value, file in enumerate(files):
        Image.new("L", (8, 8), value).save(file)
    start, started = threading.Thread.start, []

    def refuse(thread):
        if len(started) == room:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    (chunk,) = image_chunks(files, (8, 8, 1))
    assert [Path(path) for path in chunk.paths] == files
    assert np.array_equal(chunk.images[:, 0, 0, 0], range(5))

"""One row for each image of a pool in shards, whoever labels it and whatever dies on the way."""

import io
import json
import os
import shutil
import signal
import socket
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import fewlabels
from fewlabels import InputError, make_method
from fewlabels.cli import app
from fewlabels.data.shards import Shards
from fewlabels.labeling import InDistribution, label_shards, partitions
from fewlabels.methods.examples import remember
from ray_cluster import begin_fewlabels, cluster_in, workers_of
from shard_files import as_png, random_images, write_parquet, write_tar


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("labeler")
    images = random_images(40)
    np.savez(place / "few.npz", X_train=images, y_train=np.arange(40) % 2, X_test=images[:4], y_test=[0, 1, 0, 1])
    data = fewlabels.load_dataset(place / "few.npz", cache_dir=place / "cache")
    method = make_method("supervised", steps=2, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    return method.save(place / "model", class_names=["cat", "dog"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that goes on from test to test; its processes work in a folder of their own."""
    pytest.importorskip("ray")
    with cluster_in(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def read(folder):
    """Return all rows of a folder of labels, by name."""
    rows = ds.dataset(folder, format="parquet").to_table().to_pylist()
    assert len({row["file"] for row in rows}) == len(rows)
    return {row["file"]: row for row in rows}


def pool(folder, files=12, images=30):
    """Write files of images, one of them unreadable; each file is at least a block."""
    found = random_images(files * images, seed=1)
    for number in range(files):
        contents = [as_png(image) for image in found[number * images : (number + 1) * images]]
        if number == 1:
            contents[3] = b"no image"
        (write_tar if number % 2 else write_parquet)(
            str(folder / f"{number:02d}.{'tar' if number % 2 else 'parquet'}"), contents
        )
    return found


def test_every_image_has_a_row_with_what_the_model_says(model, tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_BLOCKS", 5)
    (tmp_path / "pool").mkdir()
    images = pool(tmp_path / "pool")
    found = label_shards(model, str(tmp_path / "pool"), tmp_path / "out", cache_dir=tmp_path)
    assert found == {"images": 360, "unreadable": 1, "partitions": 3, "found": 0, "notes": []}
    rows = read(tmp_path / "out")
    assert len(rows) == 360
    method = fewlabels.load(model)
    wanted = method.predict_proba(images[:30])
    scores = InDistribution(method.examples_).scores(method.transform(images[:30]))
    for number in range(30):
        (row,) = [row for name, row in rows.items() if name.endswith(f"00.parquet row {number}")]
        assert row["guess"] == ["cat", "dog"][wanted[number].argmax()]
        assert row["probability"] == pytest.approx(wanted[number].max(), abs=1e-6)
        assert row["in_distribution"] == pytest.approx(scores[number], abs=1e-6)
    (bad,) = [row for row in rows.values() if row["unreadable"]]
    assert bad["file"].endswith("01.tar::part/00003.png")
    assert bad["guess"] is bad["probability"] is None
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "_plan.json",
        "_summary.json",
        *(f"part-00000{number}.parquet" for number in range(3)),
    }


def test_names_that_are_no_text_are_written_out(model, tmp_path):
    with tarfile.open(tmp_path / "pool.tar", "w") as archive:
        member = tarfile.TarInfo("caf\udce9.png")
        content = as_png(random_images(1)[0])
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    label_shards(model, str(tmp_path / "pool.tar"), tmp_path / "out", cache_dir=tmp_path)
    assert [name.rpartition("::")[2] for name in read(tmp_path / "out")] == [r"caf\xe9.png"]


def test_what_is_missing_is_made_and_what_is_there_is_left(model, tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_BLOCKS", 2)
    (tmp_path / "pool").mkdir()
    pool(tmp_path / "pool")
    label_shards(model, str(tmp_path / "pool"), tmp_path / "out", cache_dir=tmp_path)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "part-000002.parquet").unlink()
    (tmp_path / "out" / "part-000004.parquet").write_bytes(whole["part-000004.parquet"][:100])
    kept = (tmp_path / "out" / "part-000000.parquet").stat().st_mtime_ns
    found = label_shards(model, str(tmp_path / "pool"), tmp_path / "out", cache_dir=tmp_path)
    assert found["found"] == 4
    assert (tmp_path / "out" / "part-000000.parquet").stat().st_mtime_ns == kept
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == whole


def test_figures_in_the_card_do_not_make_another_model_of_it(model, run, tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_BLOCKS", 1)
    (tmp_path / "pool").mkdir()
    pool(tmp_path / "pool", files=2)
    mine, out = shutil.copytree(model, tmp_path / "mine"), tmp_path / "out"
    label_shards(mine, str(tmp_path / "pool"), out, cache_dir=tmp_path)
    (out / "part-000001.parquet").unlink()
    few = np.load(model.parent / "few.npz")
    named = {name: np.array(["cat", "dog"])[few[name]] for name in ("y_train", "y_test")}
    np.savez(tmp_path / "few.npz", X_train=few["X_train"], X_test=few["X_test"], **named)
    code, _, errors = run("evaluate", mine, tmp_path / "few.npz", "--card", "-q")
    assert code == 0, errors
    assert json.loads((mine / "config.json").read_text())["measured"]
    assert label_shards(mine, str(tmp_path / "pool"), out, cache_dir=tmp_path)["found"] == 1


def test_a_folder_that_an_earlier_version_has_begun_is_gone_on_with(model, tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_BLOCKS", 1)
    (tmp_path / "pool").mkdir()
    pool(tmp_path / "pool", files=2)
    out, plans = tmp_path / "out", partitions._plans
    with monkeypatch.context() as patch:
        patch.setattr(partitions, "_plans", lambda *given: plans(*given)[::-1])
        label_shards(model, str(tmp_path / "pool"), out, cache_dir=tmp_path)
    (out / "part-000001.parquet").unlink()
    assert label_shards(model, str(tmp_path / "pool"), out, cache_dir=tmp_path)["found"] == 1


def test_labels_that_are_stopped_say_that_the_same_command_goes_on(model, run, tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_BLOCKS", 1)
    (tmp_path / "pool").mkdir()
    pool(tmp_path / "pool", files=3)
    label_partition = partitions.label_partition

    def stopped(partition, *more):
        if partition.number == 1:
            # As by Ctrl-C, which a shell may have let this process ignore.
            raise KeyboardInterrupt
        return label_partition(partition, *more)

    words = ["label", model, tmp_path / "pool", "--engine", "local", "--out", "labels", "-q"]
    with monkeypatch.context() as patch:
        patch.setattr(partitions, "label_partition", stopped)
        code, _, errors = run(*words)
    kept = "the partitions that were labeled are kept in labels, and the same command goes on with the others"
    assert (code, errors) == (130, f"error: stopped; {kept}\n")
    assert "1 of them from before" in run(*words)[1]


def test_labels_of_another_pool_or_model_are_not_mixed_with_these(model, few_labels, tmp_path):
    (tmp_path / "pool").mkdir()
    pool(tmp_path / "pool", files=2)
    out = tmp_path / "out"
    label_shards(model, str(tmp_path / "pool"), out, cache_dir=tmp_path)
    (model / "README.md").write_text((model / "README.md").read_text() + "\nMine.\n")
    assert label_shards(model, str(tmp_path / "pool"), out, cache_dir=tmp_path)["found"] == 1
    write_tar(str(tmp_path / "pool" / "more.tar"), [as_png(image) for image in random_images(2)])
    with pytest.raises(InputError, match="labels of another pool or model"):
        label_shards(model, str(tmp_path / "pool"), out, cache_dir=tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(InputError, match="holds other files"):
        label_shards(model, str(tmp_path / "pool"), tmp_path / "mine", cache_dir=tmp_path)
    with pytest.raises(InputError, match="unknown engine 'spark'"):
        label_shards(model, str(tmp_path / "pool"), out, engine="spark")
    X, y, *_ = few_labels
    vectors = make_method("supervised", steps=1).fit(X.reshape(len(X), -1), y).save(tmp_path / "vectors")
    with pytest.raises(InputError, match="classifies vectors"):
        label_shards(vectors, str(tmp_path / "pool"), out)


def test_what_is_not_read_of_the_pool_is_told(model, tmp_path):
    write_tar(str(tmp_path / "pool" / "a.tar"), [as_png(image) for image in random_images(5, seed=1)])
    (tmp_path / "pool" / "b.tar.gz").write_bytes(b"")
    found = label_shards(model, str(tmp_path / "pool"), tmp_path / "out", cache_dir=tmp_path)
    assert found["notes"] == ["not read: b.tar.gz (compressed; unpack to .tar)"]
    shown = CliRunner().invoke(
        app, ["label", str(model), str(tmp_path / "pool"), "--engine", "local", "--out", str(tmp_path / "out")]
    )
    assert "note: not read: b.tar.gz (compressed; unpack to .tar)" in shown.output


def test_labels_among_the_pool_would_be_taken_for_a_part_of_it(model, tmp_path, monkeypatch):
    (tmp_path / "pool").mkdir()
    pool(tmp_path / "pool", files=2)
    for pool_given, out in (
        (str(tmp_path / "pool"), tmp_path / "pool" / "labels"),
        (f"file://{tmp_path}/pool", f"{tmp_path}/pool/labels"),
        (f"{tmp_path}/pool/*.parquet", tmp_path / "pool"),
        (f"{tmp_path}/**/*.parquet", tmp_path / "pool" / "a" / "b"),
    ):
        with pytest.raises(InputError, match="lies in the pool, of which the labels would be a part"):
            label_shards(model, pool_given, out)
    assert len(list((tmp_path / "pool").iterdir())) == 2
    shards = Shards(f"{tmp_path}/pool/*.parquet", tmp_path)
    assert not shards.would_take(f"{tmp_path}/pool/labels/part-000000.parquet")
    monkeypatch.chdir(tmp_path / "pool")
    assert not Shards(".", tmp_path).would_take("memory://labels/part-000000.parquet")


def test_a_file_of_another_plan_is_not_taken_for_this_ones(tmp_path):
    write_tar(str(tmp_path / "a.tar"), [b"no image"] * 3)
    one = partitions.Partition(0, Shards(str(tmp_path / "a.tar"), tmp_path), str(tmp_path / "out"), "this")
    rows = pa.Table.from_pylist([{"unreadable": "not an image"}] * 3, schema=partitions._SCHEMA)
    (tmp_path / "out").mkdir()
    pq.write_table(rows.replace_schema_metadata({"plan": "other"}), tmp_path / "out" / one.file)
    assert partitions.unreadable_in(one) is None
    pq.write_table(rows.replace_schema_metadata({"plan": "this"}), tmp_path / "out" / one.file)
    assert partitions.unreadable_in(one) == 3


@pytest.mark.skipif(not Path("/proc").exists(), reason="the processes of a cluster are found by /proc")
def test_a_cluster_that_loses_a_process_still_gives_each_image_one_row(model, cluster, tmp_path):
    (tmp_path / "pool").mkdir()
    pool(tmp_path / "pool", files=48, images=6)
    wanted = label_shards(model, str(tmp_path / "pool"), tmp_path / "here", cache_dir=tmp_path)
    assert wanted["partitions"] == 6
    words = ["label", model, tmp_path / "pool", "--engine", "ray", "--out", tmp_path / "out", "--json"]
    run = begin_fewlabels(*words, cache=tmp_path, folder=tmp_path, RAY_ADDRESS=cluster.address)
    killed = []

    def kill():
        while run.poll() is None:
            done = len(list((tmp_path / "out").glob("part-*.parquet")))
            if 1 <= done < 6 and (alive := workers_of(cluster.pid, b"Labeler")):
                os.kill(alive[0], signal.SIGKILL)
                killed.append((alive[0], done))
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        output, errors = run.communicate(timeout=400)
    finally:
        run.kill()
        killer.join()
    assert run.returncode == 0, errors
    assert killed, "no process was killed in the middle of the run"
    assert output.startswith("{"), output + errors
    assert json.loads(output)["images"] == 288
    assert read(tmp_path / "out") == read(tmp_path / "here")


def test_a_cluster_writes_where_the_command_was_typed(model, cluster, tmp_path):
    (tmp_path / "pool").mkdir()
    pool(tmp_path / "pool", files=2, images=6)
    words = ["label", model, "pool", "--engine=ray", "--out=out"]
    run = begin_fewlabels(*words, cache="cache", folder=tmp_path, RAY_ADDRESS=cluster.address)
    _, errors = run.communicate(timeout=400)
    assert run.returncode == 0, errors
    assert len(read(tmp_path / "out")) == 12
    assert not list(cluster.folder.iterdir())


def test_a_place_that_cannot_be_written_to_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        out = f"http://127.0.0.1:{taken.getsockname()[1]}/labels"
    with pytest.raises(InputError, match=f"^{out} cannot be written to: Cannot connect to host"):
        partitions.write_whole(out, "part-000000.parquet", b"labels")

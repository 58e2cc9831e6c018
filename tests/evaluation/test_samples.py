"""What a run keeps of pool and features, and that a comparison comes back from its folder as it was."""

from __future__ import annotations

import dataclasses
import math
import shutil

import numpy as np
import pytest

import fewlabels
from fewlabels import InputError
from fewlabels.evaluation import read_comparison
from fewlabels.evaluation import training as training_module
from fewlabels.evaluation.feature_sample import FeatureSample
from fewlabels.evaluation.pool_sample import few_of_each
from fewlabels.report import render_report

pytestmark = pytest.mark.usefixtures("narrow_nets")


@pytest.fixture(scope="module")
def data():
    return fewlabels.load_dataset("digits", labels_per_class=5)


@pytest.fixture(scope="module")
def found(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("run") / "run"
    methods = ["supervised", "self-training", "joint-autoencoder"]
    return fewlabels.compare(data, methods=methods, steps=10, out=out, check=False, settings={"rounds": 2})


def test_pool_images_are_those_of_the_pool_with_the_models_own_classes(found, data):
    sample = found.runs[0].pool_sample
    model = fewlabels.load(found.folder / "models" / "supervised-5-0")
    assert len(sample.guesses) == 1000
    assert sample.pool == len(data.pool)
    names = np.array([int(name) for name in data.class_names])
    guesses = model.predict(sample.images)
    assert np.array_equal(names[sample.guesses[sample.shown]], guesses.astype(int))
    confidences = model.predict_proba(sample.images).max(1)
    assert np.allclose(sample.confidences[sample.shown], confidences, atol=1e-5)
    pool = data.pool[:]
    for image, truth in zip(sample.images, sample.truth[sample.shown], strict=True):
        same = np.flatnonzero((pool == image).all((1, 2, 3)))
        assert truth in data.diagnostics.pool_labels[same]


def test_every_method_is_asked_about_the_same_pool_images(found):
    one, *others = [run.pool_sample for run in found.runs]
    assert all(np.array_equal(one.truth, other.truth) for other in others)


def test_without_a_pool_there_is_no_sample(data, tmp_path):
    alone = dataclasses.replace(data, pool=data.pool.take(np.empty(0, np.int64)))
    (run,) = fewlabels.compare(alone, methods="supervised", steps=2, out=tmp_path / "run", check=False).runs
    assert run.pool_sample is None
    assert len(run.feature_sample.points) == len(run.feature_sample.labels)


def test_of_images_that_are_all_alike_there_is_no_map(tmp_path):
    source = {part: (np.full((12, 8, 8), 70, np.uint8), np.arange(12) % 2) for part in ("train", "test")}
    (run,) = fewlabels.compare(source, methods="linear-probe", out=tmp_path / "run", check=False).runs
    assert run.feature_sample is None


def test_a_few_of_each_class_and_band_are_shown_and_no_more():
    guesses, bands = np.zeros(500, np.int64), np.full(500, 3)
    guesses[100:], bands[450:] = 1, 0
    shown = few_of_each(guesses, bands)
    assert sorted(shown.tolist()) == [0, 1, 2, 3, 100, 101, 102, 103, 450, 451, 452, 453]
    assert len(few_of_each(np.arange(1000) % 100, np.arange(1000) // 100 % 4)) == 160


def test_features_are_those_of_the_final_net_on_their_first_axes(found, data):
    sample = found.runs[1].feature_sample
    model = fewlabels.load(found.folder / "models" / "self-training-5-0")
    rows = np.random.default_rng(1).permutation(len(data.test))[:600]
    features = model.transform(data.test.take(rows))
    assert np.array_equal(sample.labels, data.test_labels[rows])
    # Distances survive the axes and the half precision.
    pairs = np.random.default_rng(0).integers(0, len(rows), (200, 2))
    kept = sample.points[: len(rows)].astype(float)
    distances = [np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1) for x in (features, kept)]
    assert np.corrcoef(*distances)[0, 1] > 0.98
    assert 0.8 < sample.explained <= 1.0001


def test_the_nearest_of_an_image_are_others(data):
    points = np.array([[0.0], [0.1], [5.0], [5.2]], np.float16)
    sample = FeatureSample(points, np.array([0, 1, 2, 3]), np.zeros(4, np.int64), 1.0)
    assert sample.neighbors()[:, 0].tolist() == [1, 0, 3, 2]


def test_a_comparison_comes_back_from_its_folder_to_the_letter(found):
    again = read_comparison(found.folder)
    assert [run.method for run in again.runs] == [run.method for run in found.runs]
    assert again.verdicts() == found.verdicts()
    text = (found.folder / "report.html").read_text(encoding="utf-8")
    assert render_report(again) == text


def test_a_folder_that_is_no_comparison_is_refused_in_one_line(tmp_path, found):
    with pytest.raises(InputError, match="is no folder"):
        read_comparison(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no comparison with a finished training"):
        read_comparison(tmp_path)
    copy = shutil.copytree(found.folder, tmp_path / "copy")
    (copy / "records" / "supervised-5-0.npz").write_bytes(b"not a zip file")
    with pytest.raises(InputError, match=r"supervised-5-0\.json or the \.npz beside it is damaged"):
        read_comparison(copy)
    for record in (copy / "records").glob("supervised-5-0.*"):
        record.unlink()
    with pytest.warns(UserWarning, match=r"has nothing of supervised-5-0, .*: left out; go on"):
        left = read_comparison(copy)
    assert [run.method for run in left.runs] == [run.method for run in found.runs if run.method != "supervised"]
    (copy / "results.json").write_text("{")
    with pytest.raises(InputError, match="holds a damaged comparison"):
        read_comparison(copy)
    shutil.rmtree(copy / "records")
    shutil.copy(found.folder / "results.json", copy / "results.json")
    with pytest.raises(InputError, match=r"holds no records .* go on by --resume"):
        read_comparison(copy)


def test_the_energy_of_a_training_is_kept_and_that_of_a_half_one_is_not_known(data, tmp_path, monkeypatch):
    class Meter:
        joules = 12.5

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(training_module, "EnergyMeter", Meter)
    options = {"methods": ["supervised"], "steps": 6, "out": tmp_path / "run", "check": False}

    def stop(event):
        if event["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(fewlabels.Interrupted):
        fewlabels.compare(data, **options, observer=stop, checkpoint_every=0)
    (run,) = fewlabels.compare(data, **options, resume=True).runs
    assert math.isnan(run.energy_joules)
    (run,) = fewlabels.compare(data, **options, overwrite=True).runs
    assert run.energy_joules == 12.5
    assert read_comparison(tmp_path / "run").runs[0].energy_joules == 12.5

"""Predicting any number of rows: the same answers in every chunking."""

import numpy as np
import pytest
import torch

from fewlabels import Supervised
from fewlabels.data import ImageRows
from fewlabels.methods import prediction
from fewlabels.methods.prediction import logits_and_features, output_chunks, predict_logits
from fewlabels.training.batches import Rows

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def fitted():
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    return Supervised(steps=3, random_state=0).fit(images, np.arange(40) % 4), images


def test_chunks_of_any_size_and_several_sources_give_the_same_outputs(fitted, monkeypatch):
    method, images = fitted
    whole = predict_logits(method.network_, Rows([images]), CPU)
    monkeypatch.setattr(prediction, "_CHUNK_PIXELS", 7 * 12 * 12)
    monkeypatch.setattr(prediction, "_SMALLEST_CHUNK", 1)
    parts = Rows([images[:5], ImageRows(images, np.arange(5, 12)), images[12:]])
    chunks = list(output_chunks(method.network_, parts, CPU))
    assert max(map(len, chunks)) == 7
    assert np.allclose(np.concatenate(chunks), whole, atol=1e-5)
    assert np.array_equal(method.predict(images), method.classes_[predict_flipped(method, images).argmax(1)])


@pytest.mark.parametrize("flip", [False, True])
def test_logits_and_features_together_are_those_of_either_in_parts_where_memory_is_short(fitted, flip, monkeypatch):
    method, images = fitted
    rows, network = Rows([images]), method.network_
    logits = predict_logits(network, rows, CPU, flip=flip)
    features = predict_logits(network, rows, CPU, features=True)
    whole, asked = network.feature_map, []

    def in_little_memory(inputs):
        asked.append(len(inputs))
        if len(inputs) > 15:
            raise MemoryError
        return whole(inputs)

    monkeypatch.setattr(network, "feature_map", in_little_memory)
    found = logits_and_features(network, rows, CPU, flip=flip)
    assert max(asked) == 40
    assert np.allclose(found[0], logits, atol=1e-5)
    assert np.allclose(found[1], features, atol=1e-5)


def predict_flipped(method, images):
    straight = predict_logits(method.network_, Rows([images]), CPU)
    mirrored = predict_logits(method.network_, Rows([images[:, :, ::-1]]), CPU)
    return (straight + mirrored) / 2


def test_half_precision_is_close_and_only_where_asked(fitted):
    method, images = fitted
    exact = predict_logits(method.network_, Rows([images]), CPU)
    rounded = predict_logits(method.network_, Rows([images]), CPU, precision=torch.bfloat16)
    assert not np.array_equal(exact, rounded)
    assert np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()

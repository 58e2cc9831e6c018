"""Selections of images that are read only where they are looked at."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from fewlabels.data.rows import FeatureRows, ImageRows, RecoloredRows, StackedRows, chosen_rows


def numbered(first, count):
    return np.arange(first, first + count, dtype=np.uint8).reshape(-1, 1, 1, 1)


def values(rows):
    return rows[:].ravel().tolist()


@pytest.mark.parametrize(
    "index", [3, -1, slice(1, None, 2), [0, -2], np.array([4, 1]), np.arange(5) % 2 == 0, [], np.array([1], np.uint8)]
)
@pytest.mark.parametrize("rows", [None, np.array([4, 3, 2, 1, 0])])
def test_an_index_means_what_it_means_to_numpy(index, rows):
    everything = np.arange(5) if rows is None else rows
    assert np.array_equal(chosen_rows(index, rows, 5), everything[index])
    assert np.array_equal(chosen_rows((index, ...), rows, 5), everything[index, ...])


@pytest.mark.parametrize("index", [[5], [-6]])
def test_rows_that_are_not_there_are_refused(index):
    with pytest.raises(IndexError):
        chosen_rows(np.array(index), None, 5)


def test_a_few_of_very_many_cost_no_list_of_all():
    tracemalloc.start()
    chosen_rows(np.array([0, 2]), None, 20_000_000)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_rows_of_several_arrays_are_joined_with_rows_of_the_first():
    first, second = numbered(10, 10), numbered(20, 10)
    stacked = ImageRows(first, np.array([0, 1])).joined(ImageRows(second, np.array([0, 1])))
    assert isinstance(stacked, StackedRows)
    some = stacked.take(np.array([1, 2]))
    assert values(some) == [11, 20]
    assert values(some.joined(ImageRows(first, np.array([0])))) == [11, 20, 10]
    assert values(ImageRows(first, np.array([2])).joined(some)) == [12, 11, 20]
    assert values(ImageRows(first, np.array([2])).joined(ImageRows(first, np.array([5])))) == [12, 15]


@pytest.mark.parametrize("rows", [None, np.arange(9, -1, -1)])
def test_scikit_learn_cuts_rows_as_it_cuts_arrays(rows):
    images = numbered(0, 10)
    stacked = StackedRows([ImageRows(images[:4]), ImageRows(images[4:])], rows)
    for cut in (ImageRows(images, rows), stacked, RecoloredRows(ImageRows(np.repeat(images, 3, -1), rows))):
        for part, expected in zip(*(train_test_split(of, random_state=0) for of in (cut, cut[:])), strict=True):
            assert np.array_equal(part, expected)


@pytest.mark.parametrize("index", [slice(2, 5), [4, 0, -1], np.arange(6) % 2 == 0, ([1, 2], ...)])
@pytest.mark.parametrize("chosen", [None, np.array([7, 5, 3, 1, 0, 2])])
def test_a_selection_of_features_knows_its_views_and_its_net(index, chosen):
    array = np.arange(32, dtype=np.float32).reshape(8, 4)[: 6 if chosen is None else 8]
    features = FeatureRows(array, chosen, views=2, backbone={"net": "own"})
    some = features[index]
    assert (type(some), some.views, some.backbone) == (FeatureRows, 2, {"net": "own"})
    assert np.array_equal(some, features[:][index])
    assert np.array_equal(some[1:][[0]], features[:][index][1:2])
    assert isinstance(features[0], np.ndarray)


def test_recolored_rows_are_what_a_file_of_the_same_pixels_is_read_as():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)
    gray = RecoloredRows(ImageRows(pixels, np.array([6, 0, 3])))
    assert (len(gray), gray.shape, gray.dtype) == (3, (3, 16, 16, 1), np.uint8)
    read = np.stack([np.asarray(Image.fromarray(pixels[row]).convert("L"))[..., None] for row in (6, 0, 3)])
    assert np.array_equal(gray[:], read)
    assert np.array_equal(gray[1], read[1])
    assert np.array_equal(gray.take(np.array([2, 1]))[:], read[[2, 1]])
    assert np.array_equal(gray.joined(gray)[:], np.concatenate([read, read]))
    color = RecoloredRows(gray)
    assert np.array_equal(color[:], np.repeat(read, 3, -1))

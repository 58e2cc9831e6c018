"""Labels as people have them: what is missing, and what the classes are called."""

import enum
import warnings

import numpy as np
import pandas as pd
import pytest

from fewlabels import InputError, Prototypes, load_dataset
from fewlabels.methods.targets import read_targets


def test_what_pandas_calls_missing_is_missing():
    found = read_targets(pd.Series(["cat", None, "dog"], dtype="string"))
    assert found.indices.tolist() == [0, -1, 1]
    assert read_targets(pd.Series([3, None, 5], dtype="Int64")).indices.tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    "labels", [[3, 5, 5, 3], [3.0, 5.0, 5.0, 3.0], ["cat", "dog", "dog", "cat"], [True, False] * 2]
)
def test_what_is_masked_is_missing(labels):
    masked = np.ma.array(labels, mask=[False, False, True, False])
    expected = read_targets([*labels[:2], None, labels[3]])
    found = read_targets(masked)
    assert (found.classes.tolist(), found.indices.tolist()) == (expected.classes.tolist(), expected.indices.tolist())
    assert read_targets(np.ma.array(labels)).indices.min() == 0


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("missing", [None, float("nan"), -1, np.int64(-1)])
def test_what_is_missing_in_a_list_of_texts_is_no_class(kind, missing):
    labels = kind(["cat", missing, "dog", missing] * 4)
    assert read_targets(labels).classes.tolist() == ["cat", "dog"]
    method = Prototypes(random_state=0).fit(np.eye(16, dtype=np.float32), labels)
    assert method.classes_.tolist() == ["cat", "dog"]
    assert method.n_pool_ == 8


class _Kind(str, enum.Enum):  # noqa: UP042, as those of a StrEnum are their texts to str() too
    CATS = "cat"
    CATTLE = "cattle"
    DOG = "dog"


@pytest.mark.parametrize("values", [list, lambda kinds: np.array(kinds, object), pd.Series])
def test_members_of_an_enum_of_texts_are_the_texts(values, few_labels):
    kinds = [*_Kind, None, *_Kind, *_Kind] * 3
    found = read_targets(values(kinds))
    assert found.classes.tolist() == ["cat", "cattle", "dog"]
    assert found.indices.tolist() == [0, 1, 2, -1, 0, 1, 2, 0, 1, 2] * 3
    X, y = np.tile(np.eye(10, dtype=np.float32), (3, 1)), values(kinds)
    method = Prototypes(random_state=0).fit(X, y, validation=(X, y))
    assert method.score(X, y) == method.score(X, [None if kind is None else kind.value for kind in kinds]) > 0.9
    images = few_labels[0][: len(kinds)]
    assert load_dataset((images, y)).class_names == ("cat", "cattle", "dog")
    labels = {f"train[{row}]": kind for row, kind in enumerate(kinds)}
    assert load_dataset((images, [None] * len(kinds)), labels=labels).class_names == ("cat", "cattle", "dog")


def test_an_array_of_texts_of_any_length_is_taken():
    kind = np.dtypes.StringDType(na_object=np.nan)
    found = read_targets(np.array(["cat", np.nan, "hippopotamus", "cat"], kind))
    assert (found.classes.tolist(), found.indices.tolist()) == (["cat", "hippopotamus"], [0, -1, 1, 0])
    assert read_targets(np.array(["cat", "", "dog"], np.dtypes.StringDType())).indices.tolist() == [0, -1, 1]


def test_large_numbers_are_told_apart_where_none_is_missing():
    labels = [2**53, 2**53 + 1, -1, 2**53]
    found = read_targets(np.array(labels, object))
    assert (found.classes.tolist(), found.indices.tolist()) == (labels[:2], [0, 1, -1, 0])
    with pytest.raises(InputError, match="are not told apart where others are missing"):
        read_targets(np.array([*labels, None], object))


def test_a_number_among_texts_is_told():
    with pytest.raises(InputError, match=r"labels mix types \(int, str\); .* those that are missing as None"):
        read_targets(["cat", 3, "dog"])


@pytest.mark.parametrize(("one", "other"), [("cat", "dog"), (True, False), (1, 2)])
def test_a_class_that_a_model_predicted_stands_among_labels_given(one, other):
    # An array gives its values as NumPy's own: a text as `np.str_`, true and false as `np.bool_`.
    predicted = np.array([one, other])[1]
    found = read_targets([one, other, predicted, None])
    assert (found.classes.tolist(), found.indices.tolist()[2:]) == (sorted([one, other]), [int(other > one), -1])


@pytest.mark.parametrize("values", [np.array, list, lambda labels: np.array(labels, object)])
@pytest.mark.parametrize("gap", ["-1", ""])
def test_the_text_that_a_missing_label_becomes_in_an_array_of_text_is_no_class(values, gap):
    found = read_targets(values(["cat", gap, "dog"]))
    assert (found.classes.tolist(), found.indices.tolist()) == (["cat", "dog"], [0, -1, 1])
    names = np.array(["cat", "bird", "dog"])
    names[1:2] = -1
    assert read_targets(names).indices.tolist() == [0, -1, 1]
    with pytest.raises(InputError, match="no sample has a label"):
        read_targets(values([gap, gap]))


def test_texts_of_missing_labels_that_may_be_names_are_warned_of():
    names = np.array(["cat", "bird", "dog", "none"])
    names[1] = np.nan
    with pytest.warns(UserWarning, match="the text 'nan', which is taken as a class"):
        assert read_targets(names).classes.tolist() == ["cat", "dog", "nan", "none"]


@pytest.mark.parametrize("labels", [[-1.0, 1.0, np.nan], [-1, 1, None], ["-1", "1", ""], ["-1", "1", None]])
def test_signs_are_two_classes_beside_what_is_missing_otherwise(labels):
    with pytest.warns(UserWarning, match="only -1 and 1"):
        found = read_targets(labels)
    assert (found.classes.tolist(), found.indices.tolist()) == (sorted(labels[:2]), [0, 1, -1])


def test_signs_in_text_are_two_classes_too():
    with pytest.warns(UserWarning, match="only -1 and 1"):
        found = read_targets(["-1", "1", "-1"])
    assert read_targets(["1", "-1"], found.classes).indices.tolist() == [1, 0]


def test_classes_take_no_more_room_than_their_names():
    classes = read_targets(np.array(["cat", "dog"], "U30")).classes
    assert classes.dtype == "U3"
    assert read_targets(np.array(["hippopotamus", "dog"]), np.array(["dog", "hippopotamus"])).indices.tolist() == [1, 0]


def test_classes_of_one_sample_each_are_no_regression():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_targets([f"bird {number}" for number in range(40)]).classes) == 40
    with pytest.raises(ValueError, match="continuous"):
        read_targets([0.5, 1.5, 2.25])


def test_a_list_may_be_a_column():
    with pytest.warns(UserWarning, match="column-vector y"):
        method = Prototypes(random_state=0).fit(np.eye(8, dtype=np.float32), [[0], [1], [-1], [1]] * 2)
    assert method.n_pool_ == 2


def test_true_and_false_stay_what_they_are():
    found = read_targets(np.array([True, None, False], object))
    assert found.classes.tolist() == [False, True]
    assert found.classes.dtype == bool
    assert found.indices.tolist() == [1, -1, 0]


def test_signs_are_told_of_at_the_line_that_gives_them():
    with pytest.warns(UserWarning, match="only -1 and 1") as told:
        Prototypes(random_state=0).fit(np.eye(8, dtype=np.float32), np.array([-1, 1] * 4))
    assert told[0].filename == __file__


@pytest.mark.parametrize("labels", [np.array(["2020-01-01", "2021-01-01"], "M8[D]"), [b"cat", b"dog"], [1j, 2j]])
def test_labels_that_no_file_could_keep_are_refused_before_anything_is_learned(labels):
    with pytest.raises(InputError, match="give them as strings or as whole numbers"):
        read_targets(labels)


def test_large_whole_numbers_are_not_taken_for_one_another():
    apart = read_targets([2**53, 2**53 + 1, 3])
    assert len(apart.classes) == 3
    with pytest.raises(InputError, match="give them as strings"):
        read_targets([2**53, 2**53 + 1, None, 3])
    assert read_targets([2**53, None, 3]).indices.tolist() == [1, -1, 0]


def test_further_labels_miss_where_the_first_did():
    numbers, signs = np.array([0, 1, 2]), np.array([-1, 1])
    assert read_targets([1, -1, 1, -1], numbers).indices.tolist() == [1, -1, 1, -1]
    assert read_targets([-1, -1], signs).indices.tolist() == [0, 0]
    assert read_targets([-1, 1], signs).indices.tolist() == [0, 1]

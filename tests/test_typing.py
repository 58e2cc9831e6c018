"""What type checkers are told is what there is; `typed_program.py` is what they are to make of it."""

import ast
import inspect
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import fewlabels
from fewlabels import InputError, evaluation
from fewlabels.methods.learned import Learned


def test_checkers_see_each_public_name_and_no_other():
    (block,) = [
        node
        for node in ast.parse(Path(fewlabels.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    assert sorted(name.name for line in block.body for name in line.names) == sorted(fewlabels.__all__)


def test_each_learned_attribute_that_is_documented_is_declared_and_is_no_setting(few_labels):
    X, y, *_ = few_labels
    told = inspect.getdoc(fewlabels.SemiSupervisedClassifier).partition("Attributes\n")[2]
    declared = inspect.get_annotations(Learned)
    assert set(re.findall(r"^(\w+_) : ", told, re.MULTILINE)) <= set(declared)
    assert not {field.name for field in fields(fewlabels.Supervised)} & set(declared)
    left = vars(fewlabels.Supervised(steps=1, assess_pool=True, guard=True, random_state=0).fit(X, y))
    assert {name for name in left if name.endswith("_") and not name.startswith("_")} <= set(declared)


def test_a_comparison_is_called_as_its_signature_says():
    told = inspect.signature(fewlabels.compare)
    assert told == inspect.signature(evaluation.compare)
    assert "track" in told.parameters
    assert "watching" not in told.parameters
    documented = re.findall(r"^(\w[\w, ]*?)(?: : .*)?$", inspect.getdoc(fewlabels.compare), re.MULTILINE)
    assert set(told.parameters) <= {name for line in documented for name in line.split(", ")}
    with pytest.raises(InputError, match=r"trackers are told by fewlabels\.compare"):
        evaluation.compare("digits", track="mlflow")


def test_rows_are_iterated_over():
    rows = fewlabels.load_dataset("digits", labels_per_class=2).labeled
    assert [image.shape for image in type(rows).__iter__(rows)] == [(8, 8, 1)] * 20
    assert np.array_equal(np.stack(list(rows)), rows[:])

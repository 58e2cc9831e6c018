"""What is taken for a folder that holds a model."""

import pytest

from fewlabels.storage.model_folder import CONFIG, WEIGHTS, is_weights, looks_like_a_model


@pytest.mark.parametrize(
    ("files", "looks"),
    [
        ({WEIGHTS: ""}, True),
        ({CONFIG: '{"format_version": 2}'}, True),
        ({"models/supervised/config.json": ""}, True),
        ({CONFIG: "{}"}, False),
        ({"red/0.png": ""}, False),
        ({}, False),
    ],
)
def test_a_damaged_model_and_a_comparison_are_meant_as_a_model_and_images_are_not(files, looks, tmp_path):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert looks_like_a_model(tmp_path) is looks


def test_what_a_person_keeps_beside_a_model_holds_none_of_its_weights():
    assert [is_weights(name) for name in (WEIGHTS, "weights-last.safetensors")] == [True, True]
    assert [is_weights(name) for name in ("weights.safetensors", "weights-LAST.safetensors")] == [False, False]

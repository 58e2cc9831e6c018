import json
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from ruined import ruined

import fewlabels
from fewlabels import METHODS, UDA, InputError, Supervised, TrainingWarning, load_dataset, make_method
from fewlabels.data import FeatureRows
from fewlabels.evaluation import evaluate_model, wilson_interval
from fewlabels.methods.card import measurement, model_card
from fewlabels.methods.choices import choices
from fewlabels.methods.embedding import features_of
from fewlabels.methods.findings import findings
from fewlabels.methods.guard import has_fallen_back
from fewlabels.methods.registry import method_name
from fewlabels.methods.saved import add_measurement
from fewlabels.nets import load_backbone
from fewlabels.storage.model_folder import model_files
from small_backbones import tiny_dinov2


@pytest.fixture
def fitted(few_labels):
    X, y, *_ = few_labels
    return make_method("supervised", steps=2, random_state=0).fit(X, y)


def figures(**others):
    found = {"test_images": 300, "test_accuracy": 0.81, "test_low": 0.7617, "test_high": 0.8504}
    return {**found, "balanced_accuracy": 0.8, "trust": {"calibration_error": 0.07}, **others}


def read(folder):
    return (folder / "README.md").read_text()


def test_what_was_not_measured_is_said_to_be_so(fitted, tmp_path):
    card = read(fitted.save(tmp_path / "model"))
    assert "| accuracy | test images | not measured | |" in card
    assert ModelCard(card).data.eval_results is None
    held_out = fitted.n_validation_
    right = round(fitted.validation_accuracy_ * held_out)
    low, high = wilson_interval(right, held_out)
    place = f"{held_out} held-out labeled samples, none of 1 of the 10 classes"
    assert f"| accuracy | {place} | {right / held_out:.1%} | {low:.1%} to {high:.1%} |" in card
    learned = f"{60 - held_out} labeled samples (90 unlabeled ones say how inputs are scaled)"
    assert f"{learned}; {held_out} more labeled ones were held out" in card


def test_what_learned_from_the_pool_is_said_to_have(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("fix-match", steps=1, validation_fraction=0).fit(X, y)
    card = read(method.save(tmp_path / "model"))
    assert "- **Learned from**: 60 labeled and 90 unlabeled samples\n" in card
    assert "(classifier: 1 step)\n" in card


def test_what_a_guard_held_back_is_not_said_to_have_been_learned_from(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("uda", preset="short", budget="600 images", batch_size=8, guard=True, random_state=0).fit(X, y)
    assert method.guard_["held_back"]
    assert "labeled samples (90 unlabeled ones say how inputs are scaled)" in read(method.save(tmp_path / "model"))


@pytest.mark.parametrize(("net", "pretrained"), [("auto", True), ("linear", False)])
def test_what_a_guard_fell_back_on_is_said_to_be_pretrained_on_the_pool(
    net, pretrained, few_labels, tmp_path, monkeypatch
):
    monkeypatch.setitem(METHODS, "uda", ruined(UDA))
    X, y, *_ = few_labels
    settings = {"preset": "short", "classifier_method": "uda", "guard": True, "validation_fraction": 0.4}
    method = make_method("sim-clr", net=net, steps=40, batch_size=32, pretraining_batch=32, random_state=0, **settings)
    with warnings.catch_warnings():
        # Of a net without an encoder.
        warnings.simplefilter("ignore", TrainingWarning)
        method.fit(X if pretrained else X.reshape(len(X), -1), y)
    assert has_fallen_back(method)
    told = "the labels alone after pretraining on the pool"
    assert choices(method)[-1]["result"].endswith(told) == pretrained
    assert ("what the labels alone gave after pretraining on the pool" in findings(method)[-1]) == pretrained
    of_both = f"{method.n_labeled_} labeled and 90 unlabeled samples"
    card = read(method.save(tmp_path / "model"))
    assert (of_both in card) == pretrained
    # A model of before does not tell, and is told of as it was.
    del method.guard_["pretrained"]
    before = fewlabels.load(method.save(tmp_path / "before"))
    assert of_both not in read(tmp_path / "before")
    assert choices(method)[-1]["result"].endswith("the labels alone")
    assert before.guard_ == method.guard_


class Silent(Supervised):
    pass


@dataclass(kw_only=True, eq=False, repr=False)
class SilentToo(Supervised):
    sharp: float = 1.0


@pytest.mark.parametrize("kind", [Silent, SilentToo])
def test_a_method_of_one_s_own_may_say_nothing_of_itself(kind, few_labels, tmp_path, monkeypatch):
    X, y, *_ = few_labels
    monkeypatch.setitem(METHODS, method_name(kind), kind)
    card = read(kind(steps=1).fit(X, y).save(tmp_path / "model"))
    assert f"classifier\n\nA classifier learned by {kind.__name__}.\n\n-" in card


def test_without_held_out_samples_nothing_is_measured(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("supervised", steps=2, validation_fraction=0).fit(X, y)
    card = read(method.save(tmp_path / "model"))
    assert "| held-out labeled samples | not measured: none were held out | |" in card
    assert "calibrated" not in card


def test_the_card_tells_how_to_use_what_the_model_reads(color_images, tmp_path):
    def card_of(method, name):
        card = ModelCard(read(method.save(tmp_path / name)))
        return card.data.pipeline_tag, card.text

    X, y = color_images
    tag, of_images = card_of(make_method("supervised", steps=2, random_state=0).fit(X, y), "images")
    assert tag == "image-classification"
    assert "model.predict(images)  # uint8, (n, 16, 16, 3)\n" in of_images
    assert "- It reads images of 16 x 16 pixels. The command line" in of_images
    assert "the probabilities were calibrated on them" in of_images
    backbone = load_backbone(tiny_dinov2(tmp_path / "dino"))
    features = FeatureRows(features_of(backbone, X, torch.device("cpu")), backbone=backbone.facts.to_dict())
    tag, of_features = card_of(make_method("linear-probe").fit(features, y), "features")
    assert tag == "image-classification"
    assert "model.predict(features)  # of its pretrained net, (n, 24)\n" in of_features
    assert "- Images are resized to the size that its pretrained net reads" in of_features
    vectors = np.random.default_rng(0).random((len(y), 7))
    tag, of_vectors = card_of(make_method("linear-probe").fit(vectors, y), "vectors")
    assert tag == "tabular-classification"
    assert "model.predict(vectors)  # (n, 7)\n" in of_vectors
    assert "Put vectors like those it learned from" in of_vectors
    assert "predict(images)" not in of_vectors
    assert "pixels" not in of_vectors
    assert "resized" not in of_vectors


@pytest.mark.parametrize("name", ["digits", 'my: "photos" #1 {x} [y] \\ é 猫', "- a\nb: c", "<b>*", "null", "1e3"])
def test_the_hub_reads_the_measured_figures_from_the_head(fitted, tmp_path, name):
    folder = fitted.save(tmp_path / "model")
    assert add_measurement(folder, measurement(name, figures()))
    card = ModelCard(read(folder))
    (found,) = card.data.eval_results
    assert found.task_type == card.data.pipeline_tag == "image-classification"
    assert (found.metric_type, found.metric_value) == ("accuracy", 0.81)
    assert found.dataset_name == name.replace("\n", "\\n")
    assert "95 % interval 0.7617 to 0.8504" in found.metric_name
    assert "fewlabels" in card.data.tags
    assert card.data.library_name == "fewlabels"


def test_a_second_measurement_on_the_same_data_takes_the_place_of_the_first(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    add_measurement(folder, measurement("digits", figures(test_accuracy=0.5)))
    add_measurement(folder, measurement("others", figures(test_accuracy=0.6)))
    add_measurement(folder, measurement("digits", figures(test_accuracy=0.7)))
    found = {one.dataset_name: one.metric_value for one in ModelCard(read(folder)).data.eval_results}
    assert found == {"digits": 0.7, "others": 0.6}
    assert np.array_equal(fewlabels.load(folder).network_.head.weight.detach(), fitted.network_.head.weight.detach())


def test_a_card_that_a_person_has_changed_stays_as_it_is(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    (folder / "README.md").write_text(read(folder).replace("---\n\n", "license: mit\n---\n\n", 1))
    mine = read(folder)
    assert not add_measurement(folder, measurement("digits", figures()))
    assert not add_measurement(folder, measurement("digits", figures()))
    assert read(folder) == mine
    assert json.loads((folder / "config.json").read_text())["measured"][0]["test_accuracy"] == 0.81


def test_a_comparison_writes_what_it_measured_into_its_models_cards(tmp_path):
    found = fewlabels.compare("digits", methods=["supervised"], steps=3, out=tmp_path / "run")
    run = found.runs[0]
    card = ModelCard(read(tmp_path / "run" / "models" / "supervised-10-0"))
    assert card.data.eval_results[0].metric_value == run.test_accuracy
    assert f"{run.test_low:.1%} to {run.test_high:.1%}" in card.text


def test_the_figures_of_the_card_are_those_of_evaluate(tmp_path):
    data = load_dataset("digits", labels_per_class=5, test_per_class=5)
    method = make_method("supervised", steps=3, random_state=0).fit(data.labeled, data.labels)
    folder = method.save(tmp_path / "model")
    found = evaluate_model(method, data)
    add_measurement(folder, measurement(data.name, found))
    assert f"| 50 test images of digits | {found['test_accuracy']:.1%} |" in read(folder)


def test_a_pretrained_net_of_the_hub_is_named_as_the_base(fitted, color_images, tmp_path):
    X, y = color_images
    method = make_method("supervised", net=tiny_dinov2(tmp_path / "dino"), steps=2).fit(X, y)
    folder = method.save(tmp_path / "model")
    assert ModelCard(read(folder)).data.base_model is None
    config = json.loads((folder / "config.json").read_text())
    for net, name in {
        "hf:facebook/dinov2-small": "facebook/dinov2-small",
        "timm:resnet18.a1_in1k": "timm/resnet18.a1_in1k",
        "timm:resnet18": None,
        "hf:/home/jane/net": None,
        "module": None,
    }.items():
        config["backbone"]["net"] = net
        assert ModelCard(model_card(config)).data.base_model == name


def test_files_of_a_model_are_those_that_its_description_names(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("supervised", steps=40, ema_decay=0.9, random_state=0).fit(X, y)
    folder = method.save(tmp_path / "model")
    (folder / "notes.txt").write_text("mine")
    present = {path.name for path in folder.iterdir()} - {"notes.txt"}
    assert set(model_files(folder)) == present
    assert any(name.startswith("weights-") for name in present)
    other = next(name for name in present if name.startswith("weights-"))
    content = bytearray((folder / other).read_bytes())
    content[-1] ^= 1
    (folder / other).write_bytes(bytes(content))
    with pytest.raises(InputError, match="is not what was saved"):
        model_files(folder)
    config = json.loads((folder / "config.json").read_text())
    config["other_weights_sha256"]["../../weights-x.safetensors"] = "0"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="names files that none has"):
        model_files(folder)

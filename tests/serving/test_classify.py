import io

import numpy as np
import pytest
from PIL import Image
from served import CLASSES, photo

from fewlabels import Supervised, load
from fewlabels.methods.examples import Examples
from fewlabels.serving.classify import ServedModel
from fewlabels.serving.limits import Limits
from fewlabels.serving.panels import answer_panel, set_sentence
from fewlabels.storage.errors import InputError


def content(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def model(trained):
    return ServedModel.read(trained / "model")


def test_probabilities_are_those_of_the_model(trained, model):
    image = photo("red", 5)
    answer = model.classify(content(image))
    assert answer.seen.shape == (16, 16, 3)
    expected = load(trained / "model").predict_proba(answer.seen[None])[0]
    found = dict(answer.classes)
    assert [found[name] for name in model.class_names] == pytest.approx(expected)
    assert [probability for _, probability in answer.classes] == sorted(expected, reverse=True)


def test_prediction_sets_are_those_of_the_model(trained, model):
    method = load(trained / "model")
    assert len(method.conformal_scores_) >= 9
    for seed in range(6):
        answer = model.classify(content(photo("blue", 50 + seed)))
        expected = method.predict_set(answer.seen[None], coverage=0.9)[0]
        assert [name in answer.prediction_set for name in model.class_names] == expected.tolist()


def test_neighbors_are_labeled_images_and_the_image_itself_comes_first(trained, model):
    path = next((trained / "photos" / "train" / "red").glob("*.png"))
    near = model.classify(path.read_bytes()).neighbors
    assert len(near) == 6
    assert near[0].similarity == pytest.approx(1, abs=1e-4)
    assert near[0].name == "red"
    assert [one.similarity for one in near] == sorted((one.similarity for one in near), reverse=True)
    np.testing.assert_array_equal(near[0].image, model.classify(path.read_bytes()).seen)


def test_a_model_that_keeps_no_images_answers_without_neighbors(model):
    method = Supervised(steps=1, batch_size=4, random_state=0)
    images = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 1)).astype(np.uint8)
    answer = ServedModel(method.fit(images, [0, 1] * 4)).classify(content(photo("red", 1)))
    assert answer.neighbors == ()
    assert answer.prediction_set == ()
    assert "cannot be said" in set_sentence(answer)
    assert "Nearest" not in answer_panel(answer)


@pytest.mark.parametrize("held_out", [10, 19])
def test_an_image_is_called_unlike_the_labeled_ones_only_where_enough_were_held_out_to_say_so(held_out):
    draws = np.random.default_rng(0)
    images = draws.integers(100, 130, (20 + held_out, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(len(images)) % 2
    method = Supervised(steps=1, batch_size=4, random_state=0)
    method.fit(images[:20], labels[:20], validation=(images[20:], labels[20:]))
    embeddings = method.transform(images)
    method.examples_ = Examples(images, labels, embeddings, np.arange(len(images)) >= 20)
    answer = ServedModel(method).classify(content(Image.new("RGB", (8, 8), "red")))
    assert (answer.in_distribution is not None) == (held_out == 19)
    assert ("unlike the labeled ones" in answer_panel(answer)) == (held_out == 19)


def test_models_of_vectors_have_no_page():
    method = Supervised(steps=1, random_state=0).fit(np.random.default_rng(0).random((20, 4)), [0, 1] * 10)
    with pytest.raises(InputError, match="vectors"):
        ServedModel(method)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "empty"),
        (b"MZ\x90 no image", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(model, bad, reason):
    with pytest.raises(InputError, match=reason) as refusal:
        model.classify(bad)
    assert "\n" not in str(refusal.value)


def test_damaged_images_are_refused(model):
    whole = content(photo("red", 1))
    with pytest.raises(InputError, match="cannot be read"):
        model.classify(whole[: len(whole) // 2])


def test_images_over_the_limits_are_refused_before_they_are_decoded(model):
    bomb = content(Image.new("1", (9000, 9000)))
    assert len(bomb) < 100_000
    with pytest.raises(InputError, match="9000x9000 pixels, above the limit of 64,000,000"):
        model.classify(bomb)
    with pytest.raises(InputError, match="larger than 1 MiB"):
        model.classify(b"\x89PNG" + bytes(1 << 20), Limits(upload_bytes=1 << 20))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_usual_formats_are_read(model, kind):
    assert len(model.classify(content(photo("blue", 3), kind)).classes) == len(CLASSES)


def test_names_of_classes_are_text_on_the_page(model):
    shown = answer_panel(model.classify(content(photo("red", 5))))
    assert "<b>green" not in shown
    assert "&lt;b&gt;green" in shown

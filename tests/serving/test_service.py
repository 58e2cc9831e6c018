import os
import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from served import CLASSES

import small_backbones
from fewlabels import Supervised, load, load_dataset
from fewlabels.data import read_labels
from fewlabels.evaluation import compare
from fewlabels.labeling import describe_pool
from fewlabels.methods.examples import remember
from fewlabels.methods.saved import save_model
from fewlabels.serving import desk
from fewlabels.serving.panels import label_panel
from fewlabels.serving.service import Service
from fewlabels.serving.training import data_to_fit, train_again
from fewlabels.storage.errors import InputError, TrainingWarning
from shard_files import as_png, random_images, write_parquet

pytestmark = pytest.mark.usefixtures("quick_starts")


@pytest.fixture
def service(place):
    service = Service(place / "model")
    yield service
    service.close()


def test_the_pool_is_ranked_and_its_images_shown(service):
    assert service.reason == ""
    desk = service.desk
    assert desk.batch("me") == []
    desk.rank(service.model)
    batch = desk.batch("me")
    assert len(batch) == 8
    assert all(one.name.startswith("unlabeled") and one.picture.startswith("data:image/png") for one in batch)
    assert desk.queue.left == 120


def test_a_person_sees_the_file_and_not_what_the_model_sees(service):
    import base64
    import io

    from PIL import Image

    pictures = service.desk.pictures

    def size(address):
        return Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).size

    assert size(pictures.large(pictures.names[0])) == (24, 16)
    assert size(pictures.small(pictures.names[0])) == (16, 16)


def test_files_that_links_lead_to_are_shown_and_others_outside_of_the_folder_are_not(place, trained, tmp_path):
    shutil.copytree(trained / "photos" / "train", tmp_path / "photos" / "train")
    try:
        (tmp_path / "photos" / "unlabeled").symlink_to(trained / "photos" / "unlabeled")
    except OSError:
        pytest.skip("this file system has no links")
    service = Service(place / "model", source=str(tmp_path / "photos"))
    pictures = service.desk.pictures
    assert pictures.large(pictures.names[0]) != pictures.small(pictures.names[0])
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        Image.new("RGB", (24, 16)).save(tmp_path / "secret.png")
        assert pictures._from_file(name) is None
    service.close()


def test_labels_are_in_the_file_and_count_the_next_day(service, place):
    name = service.desk.pictures.names[0]
    service.desk.queue.label("me", name, CLASSES[2])
    assert read_labels(place / "model-labels.csv").classes == {name: CLASSES[2]}
    again = Service(place / "model")
    assert again.desk.queue.labels() == {name: CLASSES[2]}
    again.desk.rank(again.model)
    assert name not in [one.name for one in again.desk.batch("me")]
    again.close()


def test_an_image_whose_label_is_taken_back_after_a_new_ranking_is_shown_to_whoever_comes(service):
    desk = service.desk
    name, *others = desk.pictures.names
    desk.queue.label("me", name, CLASSES[2])
    desk.rank(service.model)
    desk.queue.undo("me")
    desk.queue.leave("me")
    for other in others:
        desk.queue.label("you", other, CLASSES[0])
    assert [one.name for one in desk.batch("you")] == [name]


def test_training_again_learns_from_the_labels_and_takes_the_model_s_place(service, place):
    desk = service.desk
    desk.rank(service.model)
    before = service.model
    given = {}
    for one in desk.batch("me")[:3]:
        given[one.name] = CLASSES[int(one.name.split("/")[-1][0])]
        desk.queue.label("me", one.name, given[one.name])
    service.train()
    with pytest.raises(InputError, match="running already"):
        service.train()
    assert service.model is before
    end = time.monotonic() + 120
    while service.retraining.progress().state == "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    now = service.retraining.progress()
    assert now.state == "done", now.text
    assert now.text.startswith("39 labels")
    assert service.model is not before
    assert len(load(place / "model").examples_) == len(load(place / "model.before").examples_) + 3
    assert {one.name for one in desk.batch("you")}.isdisjoint(given)
    # The labels that it was trained with are still those to add to.
    again = Service(place / "model")
    assert again.desk.path == desk.path
    assert again.desk.queue.labels() == given
    again.close()


def test_a_model_of_pretrained_features_is_ranked_and_trained_again_on_such_features(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(trained / "cache"))
    photos, net = str(trained / "photos"), f"python:{small_backbones.__file__}:colors"
    compare(photos, net=net, methods=["linear-probe"], image_size=12, out=tmp_path / "run", check=False)
    folder = tmp_path / "run" / "models" / "linear-probe-all-0"
    before = load(folder, net=net)
    service = Service(folder, net=net)
    # The net reads 16 pixels; its features are of images of 12.
    assert service.desk.data.image_size == (12, 12)
    name = service.desk.pictures.names[0]
    service.close()
    with pytest.warns(TrainingWarning, match="were resized"):
        told = train_again(lambda event: None, folder, None, {name: CLASSES[0]}, net)
    assert told.startswith("37 labels")
    after = load(folder, net=net)
    assert after.sample_shape_ == before.sample_shape_ == (12,)
    assert after.backbone_facts_ == before.backbone_facts_
    assert after.source_ == {**before.source_, "labels": {name: CLASSES[0]}}
    np.testing.assert_array_equal(after.examples_.samples[:12], before.examples_.samples[:12])
    # A model of an earlier version does not say at which size its images were read.
    after.source_["image_size"] = None
    after.backbone_facts_ = replace(after.backbone_facts_, read_at=None)
    save_model(after, tmp_path / "older", after.class_names_)
    older = Service(tmp_path / "older", net=net)
    assert older.desk.data.image_size == (16, 16)
    older.close()


def test_labels_from_elsewhere_are_kept_when_new_ones_go_to_another_file(service, place):
    first, second = service.desk.pictures.names[:2]
    service.desk.queue.label("me", first, "red")
    service.train()
    while service.retraining.progress().state == "running":
        time.sleep(0.05)
    other = Service(place / "model", labels=place / "other.csv")
    assert other.desk.queue.labeled == 0
    assert first not in other.desk.pictures.names
    other.desk.queue.label("me", second, "blue")
    assert other.desk.labels_to_fit() == {first: "red", second: "blue"}
    other.close()


def fitted_with(place, labels):
    """Have the model say that it was fitted with these labels."""
    method = load(place / "model")
    method.source_["labels"] = labels
    method.save(place / "model", class_names=method.class_names_)


def test_images_that_the_labels_file_calls_in_other_ways_have_their_labels(service, place, trained):
    first, second = service.desk.pictures.names[:2]
    (place / "labels.csv").write_text(f"file,class\n{trained / 'photos' / first},red\n{second},red\n{second},\n")
    other = Service(place / "model", labels=place / "labels.csv")
    assert other.desk.queue.labels() == {first: "red"}
    other.desk.rank(other.model)
    assert first not in [one.name for one in other.desk.batch("me")]
    other.close()


def test_labels_of_another_file_are_found_from_where_that_lies(service, place, trained, monkeypatch):
    first, second, third = service.desk.pictures.names[:3]
    (place / "hand").mkdir()
    start = os.path.relpath(trained / "photos", place / "hand")
    (place / "hand" / "labels.csv").write_text(f"file,class\n{start}/{first},red\n{start}/{second},red\n")
    fitted_with(place, str(place / "hand" / "labels.csv"))
    (place / "other.csv").write_text(f"file,class\n{third},blue\n{second},\n")
    monkeypatch.chdir(place)
    other = Service(place / "model", labels=place / "other.csv")
    assert {first, second}.isdisjoint(other.desk.pictures.names)
    # A label is taken back in the other file too.
    assert other.desk.labels_to_fit() == {first: "red", third: "blue"}
    other.close()


def test_a_model_whose_labels_file_is_gone_is_not_trained_without_it(place):
    fitted_with(place, str(place / "hand" / "labels.csv"))
    service = Service(place / "model")
    assert service.desk is None
    assert "which the model was fitted with, is not here; put it back" in service.reason
    assert not (place / "hand").exists()
    with pytest.raises(InputError, match="is not here; put it back"):
        Service(place / "model", labels=place / "other.csv")
    service.close()


def test_a_labels_file_that_a_training_would_replace_is_refused(place):
    for folder in ("model", "model.before"):
        with pytest.raises(InputError, match=rf"lies in {folder}, which each training replaces"):
            Service(place / "model", labels=place / folder / "labels.csv")
        assert not (place / folder / "labels.csv").exists()


@pytest.mark.parametrize("left", ["file,class", "file,cl", "file,class\nunlabeled/0.png,re"])
def test_a_labels_file_whose_last_line_is_half_there_is_mended_and_noted(place, left):
    (place / "model-labels.csv").write_text(left)
    service = Service(place / "model")
    assert service.desk is not None, service.reason
    assert "was not finished and is left out; it is kept in" in service.desk.notes[0]
    assert read_labels(place / "model-labels.csv").classes == {}
    service.close()


def test_what_is_wrong_with_a_labels_file_does_not_hide_where_its_last_line_went(place):
    service = Service(place / "model")
    name = service.desk.pictures.names[0]
    service.close()
    (place / "model-labels.csv").write_text(f"file,class\n{name},zebra\nunlabeled/1.p")
    service = Service(place / "model")
    assert "has the class 'zebra'" in service.reason
    assert "it is kept in" in service.reason
    service.close()


def test_a_request_without_an_image_is_answered(service):
    from fewlabels.serving.label_tab import _answering

    answer = _answering(service.desk, lambda person, shown: service.desk.queue.label(person, shown, CLASSES[0]))
    assert (
        "Not saved: this image is not in the pool"
        in answer(None, service.desk.opening, SimpleNamespace(session_hash="s"))[0]
    )


def test_where_no_labels_file_can_be_made_the_model_classifies_all_the_same(place):
    (place / "model-labels.csv").mkdir()
    service = Service(place / "model")
    assert service.desk is None
    assert service.reason.endswith("model-labels.csv; give another labels file with --labels")
    service.close()
    with pytest.raises(InputError, match=r"model-labels\.csv; give another labels file with --labels"):
        Service(place / "model", labels=place / "model-labels.csv")


def test_labels_that_were_written_by_hand_meanwhile_can_be_learned_from(service, place, monkeypatch):
    with (place / "model-labels.csv").open("a") as file:
        file.write(f"{service.desk.pictures.names[0]},red\n")
    service.desk.rank(service.model)
    assert service.desk.queue.labels() == {service.desk.pictures.names[0]: "red"}
    assert service.desk.pictures.names[0] not in [one.name for one in service.desk.batch("me")]
    begun = []
    monkeypatch.setattr(service.retraining, "start", lambda *given: begun.append(given))
    service.train()
    assert len(begun) == 1


def test_without_a_label_there_is_nothing_to_train_again(service):
    with pytest.raises(InputError, match="no label was given yet"):
        service.train()


def test_a_model_whose_images_are_gone_classifies_all_the_same(place, trained, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(place / "cache"))
    method = load(place / "model")
    method.source_["source"] = str(place / "nowhere")
    method.save(place / "model", class_names=method.class_names_)
    service = Service(place / "model")
    assert service.desk is None
    assert "nowhere" in service.reason
    with pytest.raises(InputError, match="nowhere"):
        service.train()
    service.close()
    with pytest.raises(InputError, match="elsewhere"):
        Service(place / "model", source=str(place / "elsewhere"))
    moved = Service(place / "model", source=str(trained / "photos"))
    assert moved.desk.queue.left == 120
    moved.close()


def test_a_pool_that_cannot_be_looked_through_is_told_on_the_page(place, monkeypatch):
    def gone(method, images):
        raise OSError("there is nothing at the pool")

    service = Service(place / "model")
    monkeypatch.setattr(desk, "probabilities_and_embeddings", gone)
    service.begin()
    service._ranking.join()
    page = label_panel(service.desk.queue, [], ranked=service.desk.ranked, trouble=service.desk.trouble)
    assert "could not be looked through: there is nothing at the pool. Start the server again" in page
    service.close()


def test_images_of_a_pool_in_shards_are_not_asked_for(place):
    write_parquet(place / "pool.parquet", [as_png(image) for image in random_images(32, side=16)])
    method = load(place / "model")
    method.source_.update(pool=str(place / "pool.parquet"), pool_limit="1MB")
    method.save(place / "model", class_names=method.class_names_)
    service = Service(place / "model")
    assert not any("pool.parquet" in name for name in service.desk.pictures.names)
    assert any("pool.parquet cannot be labeled where they lie" in note for note in service.desk.notes)
    service.close()
    assert any("pool.parquet cannot be labeled where they lie" in note for note in describe_pool(method).notes)


def test_a_new_model_answers_even_where_the_pool_cannot_be_looked_through_with_it(service, monkeypatch):
    service.desk.rank(service.model)
    before = service.model

    def gone(model):
        raise OSError("the pool is gone")

    monkeypatch.setattr(service.desk, "rank", gone)
    service.retraining.finished()
    assert service.model is not before
    desk = service.desk
    page = label_panel(desk.queue, desk.batch("me"), ranked=desk.ranked, trouble=desk.trouble)
    assert "could not be looked through anew: the pool is gone. Its images come in the order of before" in page
    assert "Image to label" in page


def test_labels_that_a_training_leaves_out_are_told(service, place):
    name = service.desk.pictures.names[0]
    (place / "labels.csv").write_text(f"file,class\n{name},red\nunlabeled/moved.png,red\n")
    service.retraining.start(service.folder, None, str(place / "labels.csv"), None)
    while service.retraining.progress().state == "running":
        time.sleep(0.05)
    now = service.retraining.progress()
    assert now.state == "done", now.text
    assert any("left out 1 label of an image that is not in" in note for note in now.notes)


def test_what_others_keep_where_the_model_before_would_go_is_left_alone(place):
    (place / "model.before").mkdir()
    (place / "model.before" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files; move them away"):
        train_again(lambda event: None, place / "model", None, None, None)
    assert (place / "model.before" / "thesis.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_told_before_the_training(place):
    # Nothing can be written beside a folder of such a name, whoever writes.
    long = place / ("m" * 240)
    shutil.copytree(place / "model", long)
    with pytest.raises(InputError, match=r"m{240}\.before cannot be written: .*File name too long"):
        train_again(pytest.fail, long, None, None, None)


def test_a_labels_file_of_other_classes_is_refused(place):
    (place / "labels.csv").write_text("file,class\nunlabeled/0-0.png,zebra\n")
    with pytest.raises(InputError, match="zebra"):
        Service(place / "model", labels=place / "labels.csv")


def test_labeling_goes_on_while_the_pool_is_ranked_anew(service):
    desk = service.desk
    desk.rank(service.model)
    errors = []

    def rank():
        try:
            for _ in range(3):
                desk.rank(service.model)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=rank)
    thread.start()
    labeled = 0
    while batch := desk.batch("me"):
        desk.queue.label("me", batch[0].name, "red")
        labeled += 1
    thread.join()
    assert not errors
    assert desk.queue.left == 0


def test_a_folder_whose_images_came_in_another_size_is_read_as_the_model_learned_them(place, trained, tmp_path):
    shutil.copytree(trained / "photos", tmp_path / "photos")
    method = load(place / "model")
    # Without a size of one's own the default of the folder counts, which changes with its images.
    method.source_ = {**method.source_, "image_size": None}
    method.save(tmp_path / "free")
    Image.new("RGB", (100, 80)).save(tmp_path / "photos" / "unlabeled" / "large.png")
    service = Service(tmp_path / "free", source=str(tmp_path / "photos"))
    assert service.desk is not None
    assert service.desk.data.pool.shape[1:3] == (16, 16)
    again = data_to_fit(load(tmp_path / "free"), str(tmp_path / "photos"), None)
    assert again.labeled.shape[1:3] == (16, 16)


def test_where_a_labels_file_alone_tells_the_classes_its_images_are_not_asked_for_and_new_labels_join_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "labels.csv"
    (tmp_path / "photos").mkdir()
    for number in range(16):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    path.write_text("file,class\n" + "".join(f"{number}.png,{['cat', 'dog'][number % 2]}\n" for number in range(12)))
    data = load_dataset(tmp_path / "photos", labels=path)
    method = Supervised(steps=1, batch_size=4, validation_fraction=0.0, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    method.save(tmp_path / "model", class_names=list(data.class_names))
    service = Service(tmp_path / "model")
    service.desk.rank(service.model)
    name = service.desk.batch("me")[0].name
    assert name in {f"{number}.png" for number in range(12, 16)}
    service.desk.queue.label("me", name, "dog")
    to_fit = data_to_fit(service.model.method, None, service.desk.labels_to_fit())
    assert name in {*to_fit.diagnostics.labeled_names, *to_fit.diagnostics.test_names}
    assert len(to_fit.pool) == 3
    service.close()


def test_images_that_the_model_does_not_read_are_told_at_the_start(place, trained):
    # Images that are no squares stay as they are, and so do those that the page would label.
    oblong = np.random.default_rng(0).integers(0, 256, (30, 16, 24), np.uint8)
    Supervised(steps=1, random_state=0).fit(oblong, [*CLASSES] * 10).save(place / "oblong")
    with pytest.raises(InputError, match="of 32x32 pixels, and the model reads gray images of 16x24"):
        Service(place / "oblong", source=str(trained / "photos"))


def test_gray_images_are_labeled_with_a_model_that_reads_color_ones(place, trained):
    shutil.copytree(trained / "photos", place / "gray")
    for path in (place / "gray").rglob("*.png"):
        Image.open(path).convert("L").save(path)
    service = Service(place / "model", source=str(place / "gray"))
    assert "images are taken as color ones, which the model reads" in service.desk.notes
    assert service.desk.data.pool.shape[1:] == (16, 16, 3)
    service.close()

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import _http
from PIL import Image

import fewlabels
import small_backbones
from fewlabels import InputError, make_method, pull, push
from fewlabels.methods.card import measurement
from fewlabels.methods.examples import remember
from fewlabels.methods.saved import add_measurement
from fewlabels.storage.hub import HubAddress
from hub_server import READ_ONLY, TOKEN, Fault, Hub, hash_of

NAME = "jane/digits"
OWN = {".gitattributes", "README.md", "config.json", "model.safetensors", "weights-last.safetensors"}
# Of the Hub's own client, when it uploads.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    X = np.linspace(0, 1, 320).reshape(20, 4, 4)
    fitted = make_method("supervised", steps=30, ema_decay=0.9, random_state=0).fit(X, np.arange(20) // 10)
    folder = fitted.save(tmp_path_factory.mktemp("saved") / "model")
    assert (folder / "weights-last.safetensors").exists()
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub of its own for each test, its client without a wait between tries."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        use(server.url, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None, time=_http.time.time))
        monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _: None)
        yield server
        huggingface_hub.utils.close_session()
        server.shutdown()


def use(url, monkeypatch):
    """Do what HF_ENDPOINT does for a process that reads it when it starts."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def images():
    return np.linspace(0, 1, 160).reshape(10, 4, 4)


def test_a_model_that_was_pushed_comes_back_the_same(model, hub, tmp_path):
    assert push(model, NAME).startswith(f"{hub.url}/{NAME}/commit/")
    back = pull(NAME, tmp_path / "back")
    assert sorted(path.name for path in back.iterdir()) == sorted(path.name for path in model.iterdir())
    for file in model.glob("*.safetensors"):
        assert (back / file.name).read_bytes() == file.read_bytes()
    wanted = fewlabels.load(model).predict_proba(images())
    assert np.array_equal(fewlabels.load(back).predict_proba(images()), wanted)
    assert np.array_equal(fewlabels.load(f"hub:{NAME}").predict_proba(images()), wanted)


def test_the_card_on_the_hub_says_where_the_model_is(model, hub):
    push(model, NAME)
    card = ModelCard(hub.files(NAME)["README.md"].decode())
    assert f'fewlabels.load("hub:{NAME}")' in card.text
    assert "path/to" not in card.text
    assert card.data.pipeline_tag == "image-classification"


def test_the_card_of_a_pulled_model_is_ours_unless_a_person_has_changed_it(model, hub, tmp_path):
    push(model, NAME)
    back = pull(NAME, tmp_path / "back")
    figures = {"test_images": 30, "test_accuracy": 0.8, "test_low": 0.7, "test_high": 0.9, "balanced_accuracy": 0.8}
    found = measurement("digits", figures | {"trust": {"calibration_error": 0.1}})
    assert add_measurement(back, found)
    assert "30 test images of digits" in (back / "README.md").read_text()
    again = pull(NAME, tmp_path / "again")
    fewlabels.load(model).save(again)
    assert (again / "README.md").read_text() == (model / "README.md").read_text()
    mine = shutil.copytree(model, tmp_path / "mine")
    with (mine / "README.md").open("a") as card:
        card.write("\nMine.\n")
    push(mine, "jane/mine")
    assert not add_measurement(pull("jane/mine", tmp_path / "changed"), found)


def test_the_card_of_a_pulled_model_that_is_pushed_elsewhere_names_the_new_place(model, hub, tmp_path):
    push(model, f"{NAME}@v2")
    back = pull(f"{NAME}@v2", tmp_path / "back")
    push(back, "bob/crows")
    told = hub.files("bob/crows")["README.md"].decode()
    assert 'fewlabels.load("hub:bob/crows")' in told
    assert "jane" not in told
    with (back / "README.md").open("a") as card:
        card.write(f'\nSee also `fewlabels.load("hub:{NAME}")`.\n')
    push(back, "bob/crows")
    assert f'See also `fewlabels.load("hub:{NAME}")`' in hub.files("bob/crows")["README.md"].decode()


def test_only_the_models_own_files_travel(model, hub, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "secret.txt").write_text("password")
    (folder / ".env").write_text("password")
    push(folder, NAME)
    assert set(hub.files(NAME)) == OWN
    with pytest.raises(InputError, match=r"keeps no labeled images"):
        push(model, NAME, with_examples=True)


def test_images_and_places_of_this_machine_stay_here_unless_asked_for(hub, tmp_path):
    np.savez(tmp_path / "patients.npz", X_train=images(), y_train=np.arange(10) // 5, X_test=images(), y_test=[0] * 10)
    data = fewlabels.load_dataset(tmp_path / "patients.npz", cache_dir=tmp_path / "cache")
    method = make_method("supervised", steps=2, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    folder = method.save(tmp_path / "model")
    assert str(tmp_path) in (folder / "config.json").read_text()
    push(folder, NAME)
    assert set(hub.files(NAME)) == OWN - {"weights-last.safetensors"}
    assert not any(str(tmp_path).encode() in content for content in hub.files(NAME).values())
    back = fewlabels.load(pull(NAME, tmp_path / "without"))
    assert not hasattr(back, "examples_")
    assert np.array_equal(back.predict_proba(images()), method.predict_proba(images()))
    push(folder, NAME, with_examples=True)
    assert "examples.safetensors" in hub.files(NAME)
    assert not any(str(tmp_path).encode() in content for content in hub.files(NAME).values())
    again = fewlabels.load(pull(NAME, tmp_path / "with"))
    assert np.array_equal(again.examples_.samples, method.examples_.samples)
    push(folder, NAME)
    assert "examples.safetensors" not in hub.files(NAME)


@pytest.mark.parametrize("kind", ["hf:", "timm:local-dir:", "model:"])
def test_where_a_pretrained_net_lies_stays_here(kind, hub, tmp_path, monkeypatch, color_images):
    X, y = color_images
    small_backbones.stub_timm(monkeypatch)
    folder = tmp_path / "nets" / "dino"
    if kind == "model:":
        net = f"model:{make_method('supervised', steps=2, random_state=0).fit(X, y).save(folder)}"
    else:
        make_net = small_backbones.tiny_dinov2 if kind == "hf:" else small_backbones.tiny_timm
        net = make_net(folder)
    fitted = make_method("supervised", net=net, steps=2, random_state=0).fit(X, y)
    push(fitted.save(tmp_path / "model"), NAME)
    told = hub.files(NAME)
    for name in ("config.json", "README.md"):
        assert str(tmp_path) not in told[name].decode()
        assert f"{kind}./dino" in told[name].decode()
    back = pull(NAME, tmp_path / "back")
    assert np.array_equal(fewlabels.load(back).predict_proba(X), fitted.predict_proba(X))


def test_what_another_model_left_is_replaced_and_what_a_person_put_there_stays(model, hub):
    push(model, NAME)
    files = dict(hub.files(NAME))
    hub.repositories[NAME].commit("main", files | {"weights-other.safetensors": b"x", "LICENSE": b"MIT"}, "mine")
    push(model, NAME)
    assert "LICENSE" in hub.files(NAME)
    assert "weights-other.safetensors" not in hub.files(NAME)


def test_a_model_without_changes_makes_no_commit(model, hub):
    push(model, NAME)
    before = list(hub.repositories[NAME].messages)
    push(model, NAME)
    assert (
        hub.repositories[NAME].messages == before == ["initial commit", "Push a supervised classifier with fewlabels"]
    )


def test_revisions_are_branches_and_can_be_pulled_by_commit(model, hub, tmp_path):
    push(model, f"{NAME}@v2")
    assert set(hub.files(NAME)) == {".gitattributes"}
    commit = hub.repositories[NAME].branches["v2"]
    with pytest.raises(InputError, match="is a commit, which nothing can be added to; give a branch"):
        push(model, NAME, revision=commit)
    for number, (name, revision) in enumerate([(NAME, "v2"), (f"{NAME}@v2", None), (NAME, commit)]):
        assert (pull(name, tmp_path / str(number), revision=revision) / "config.json").exists()
    with pytest.raises(InputError, match=r"has no config.json"):
        pull(NAME, tmp_path / "main")
    with pytest.raises(InputError, match=r"no branch, tag or commit 'v3'"):
        pull(NAME, tmp_path / "v3", revision="v3")


def test_a_private_model_is_private_and_a_public_one_is_not_taken_for_it(model, hub, tmp_path, monkeypatch):
    push(model, NAME, private=True)
    assert hub.repositories[NAME].private
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"there is no model jane/digits on 127.*or it is private"):
        pull(NAME, tmp_path / "back")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push(model, "jane/open")
    before = dict(hub.files("jane/open"))
    with pytest.raises(InputError, match=r"exists and is public, so nothing was uploaded"):
        push(model, "jane/open", private=True)
    assert hub.files("jane/open") == before


def test_without_a_token_or_with_a_wrong_one_nothing_is_pushed(model, hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"no token for the Hub"):
        push(model, NAME)
    assert not hub.seen
    for token in (READ_ONLY, "hf_wrong"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(InputError, match=r"does not let this token write to jane/digits"):
            push(model, NAME)
    assert not hub.repositories


@pytest.mark.parametrize(
    "name",
    ["digits", "a/b/c", "jane/", "/x", "jane/x y", "jane/..", "jane/a--b", "jane/x.git", "j" * 60 + "/" + "x" * 60],
)
def test_what_is_no_name_is_refused_before_anything_is_sent(name, model, hub):
    for call in (lambda: push(model, name), lambda: pull(name), lambda: fewlabels.load(f"hub:{name}")):
        with pytest.raises(InputError, match=r"is no name of a model on the Hub"):
            call()
    assert not hub.seen


def test_addresses_name_one_revision():
    assert HubAddress.parse("hub:a/b@refs/pr/1").revision == "refs/pr/1"
    assert HubAddress.parse("a/b", "v1") == HubAddress.parse("a/b@v1", "v1")
    for text, revision in (("a/b@", None), ("a/b@v1", "v2")):
        with pytest.raises(InputError, match=r"give it once"):
            HubAddress.parse(text, revision)


def test_a_name_that_nobody_has_taken_says_so(hub, tmp_path):
    with pytest.raises(InputError, match=r"there is no model jane/none on 127"):
        pull("jane/none", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("path", ["preupload", "objects/batch", "/upload/", "/verify/", "/resolve/"])
def test_a_hub_that_stumbles_is_asked_again(status, path, model, hub, tmp_path):
    method = {"/upload/": "PUT", "/resolve/": "HEAD"}.get(path, "POST")
    hub.faults.append(Fault(method, path, status, times=1))
    push(model, NAME)
    assert (pull(NAME, tmp_path / "back") / "model.safetensors").read_bytes() == (
        model / "model.safetensors"
    ).read_bytes()
    assert hub.faults[0].times == 0


@pytest.mark.parametrize(
    ("method", "path", "action", "message"),
    [
        ("POST", "repos/create", 500, "has trouble of its own"),
        ("POST", "repos/create", 429, "too many requests"),
        ("POST", "validate-yaml", 500, "do not understand each other|trouble"),
        ("POST", "preupload", 500, "has trouble of its own"),
        ("PUT", "/upload/", 503, "has trouble of its own"),
        ("PUT", "/upload/", "cut", "cannot be reached"),
        ("POST", "/commit/", 500, "has trouble of its own"),
        ("POST", "/commit/", "cut", "cannot be reached"),
    ],
)
def test_a_push_that_fails_leaves_nothing_to_be_seen_and_the_next_goes_on(method, path, action, message, model, hub):
    hub.faults.append(Fault(method, path, action, times=100))
    with pytest.raises(InputError, match=message) as caught:
        push(model, NAME)
    assert "\n" not in str(caught.value)
    assert NAME not in hub.repositories or set(hub.files(NAME)) == {".gitattributes"}
    arrived = len(hub.stored)
    hub.faults.clear()
    hub.seen.clear()
    push(model, NAME)
    assert "model.safetensors" in hub.files(NAME)
    # What has arrived is not sent twice.
    assert sum(request.startswith("PUT") for request in hub.seen) == 2 - arrived


def test_somebody_elses_commit_in_between_is_not_undone(model, hub, monkeypatch):
    push(model, NAME)
    create = huggingface_hub.HfApi.create_commit

    def late(self, *args, **kwargs):
        hub.repositories[NAME].commit("main", {"theirs.txt": b"1"}, "theirs")
        return create(self, *args, **kwargs)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", late)
    with pytest.raises(InputError, match=r"somebody else changed jane/digits in the meantime"):
        push(model, NAME)
    assert set(hub.files(NAME)) == {"theirs.txt"}


def test_a_download_that_is_cut_off_goes_on_where_it_was(model, hub, tmp_path):
    push(model, NAME)
    hub.faults.append(Fault("GET", r"/resolve/.*/model\.safetensors", "cut", times=2))
    back = pull(NAME, tmp_path / "back")
    assert (back / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert hub.faults[0].times == 0


def test_what_comes_damaged_is_refused_and_fetched_anew_the_next_time(model, hub, tmp_path):
    push(model, NAME)
    hub.faults.append(Fault("GET", r"/resolve/.*/weights-last\.safetensors", "other", times=1))
    with pytest.raises(InputError, match=r"what came from hub:jane/digits is damaged.*is not what was saved"):
        pull(NAME, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert (pull(NAME, tmp_path / "back") / "weights-last.safetensors").exists()


def change(hub, **files):
    present = hub.files(NAME)
    new = {key.replace("_", "."): value for key, value in files.items()}
    hub.repositories[NAME].commit("main", {k: v for k, v in {**present, **new}.items() if v is not None}, "changed")


def description(hub, **changes):
    return json.dumps({**json.loads(hub.files(NAME)["config.json"]), **changes}).encode()


def test_what_is_no_model_of_this_library_is_not_let_in(model, hub, tmp_path):
    push(model, NAME)
    good = dict(hub.files(NAME))
    for files, message in [
        ({"config_json": None}, "it has no config.json"),
        (
            {"config_json": b'{"architectures": ["BertModel"]}'},
            "config.json of hub:jane/digits is not a",
        ),
        ({"config_json": b"\x80\x04."}, "is not a fewlabels model"),
        ({"model_safetensors": None}, "no complete fewlabels model.*no model.safetensors"),
        ({"model_safetensors": b"\x80\x04K\x01."}, "is not what was saved"),
        ({"config_json": description(hub, format_version=99)}, "written by a newer fewlabels"),
        ({"config_json": description(hub, method="magic")}, "unknown method"),
        ({"config_json": description(hub, other_weights_sha256={"../x.safetensors": "0"})}, "files that none has"),
        ({"config_json": description(hub, sample_shape=[4, 4, 3])}, "does not fit|is damaged"),
    ]:
        hub.repositories[NAME].commit("main", good, "good")
        change(hub, **files)
        with pytest.raises(InputError, match=message) as caught:
            pull(NAME, tmp_path / "back")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "back").exists()


def test_weights_that_execute_something_are_never_opened(model, hub, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    push(model, NAME)
    bomb = pickle.dumps(Bomb())
    config = json.loads(hub.files(NAME)["config.json"])
    config["weights_sha256"] = hash_of(bomb)
    change(hub, config_json=json.dumps(config).encode(), model_safetensors=bomb)
    with pytest.raises(InputError, match=r"is damaged"):
        pull(NAME, tmp_path / "back")
    assert not (tmp_path / "owned").exists()


def test_a_folder_that_is_taken_is_left_alone(model, hub, tmp_path, monkeypatch):
    push(model, NAME)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match=r"digits is there already"):
        pull(NAME)
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["mine.txt"]
    shutil.rmtree(tmp_path / "digits")
    assert pull(NAME).name == "digits"


def test_a_damaged_folder_or_card_is_not_pushed(model, hub, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("tags:", "tags: [", 1))
    with pytest.raises(InputError, match=r"the head of .* is not what the Hub reads"):
        push(folder, NAME)
    (folder / "README.md").write_text(card)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"is not what was saved"):
        push(folder, NAME)
    assert not hub.seen


def test_a_model_in_the_cache_is_loaded_without_a_network(model, hub, monkeypatch):
    push(model, NAME)
    wanted = fewlabels.load(f"hub:{NAME}").predict_proba(images())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        use(f"http://127.0.0.1:{unused.getsockname()[1]}", monkeypatch)
    assert np.array_equal(fewlabels.load(f"hub:{NAME}").predict_proba(images()), wanted)
    with pytest.raises(InputError, match=r"cannot be reached for hub:jane/other"):
        fewlabels.load("hub:jane/other")
    with pytest.raises(InputError, match=r"cannot be reached"):
        push(model, NAME)


def test_the_commands_push_pull_and_predict(model, hub, run, tmp_path, color_images):
    X, y = color_images
    folder = make_method("supervised", steps=2, random_state=0).fit(X, y).save(tmp_path / "colors")
    Image.fromarray(X[0]).save(tmp_path / "one.png")
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_HUB_DISABLE_XET": "1", "COLUMNS": "200", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    # By what a user says in the environment; the others go by what the fixture has set.
    command = [sys.executable, "-m", "fewlabels", "push", str(folder), "jane/colors", "--private", "--quiet"]
    pushed = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert pushed.returncode == 0, pushed.stderr
    assert f"{hub.url}/jane/colors/commit/" in pushed.stdout
    assert hub.repositories["jane/colors"].private
    code, output, errors = run("predict", "hub:jane/colors", "one.png", "--quiet")
    assert code == 0, errors
    assert "one.png" in output
    code, _, errors = run("pull", "nobody", "--quiet")
    assert code == 2
    assert errors.count("\n") == 1
    code, _, errors = run("pull", "jane/colors", "--out", "here", "--quiet")
    assert code == 0, errors
    assert (tmp_path / "here" / "config.json").exists()


def test_without_a_network_a_model_of_the_hub_is_given_up_at_once(tmp_path, monkeypatch, caplog):
    use("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in (NAME, f"{NAME}@v1"):
        with pytest.raises(InputError, match="cannot be reached for hub:jane/digits"):
            pull(name, tmp_path / "back")
    assert not caplog.records

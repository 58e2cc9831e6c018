"""`fewlabels serve` as it is typed."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from served import photo, serving


def refused(*words, **environment):
    """Return exit code and errors of a command that ends by itself."""
    command = [sys.executable, "-m", "fewlabels", "serve", *map(str, words), "--no-open"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "NO_COLOR": "1", **environment}
    )
    return done.returncode, done.stderr.strip()


def test_gradio_has_all_that_it_needs_but_an_old_pillow():
    # It is installed without its needs, which requirements-serve.txt lists by hand.
    pytest.importorskip("pip")
    told = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True).stdout
    unmet = [line for line in told.splitlines() if line.startswith("gradio")]
    assert all("has requirement pillow<13" in line for line in unmet), told


@pytest.fixture
def without_gradio(tmp_path):
    """A folder to put first on the path: Gradio is not installed."""
    (tmp_path / "gradio").mkdir()
    (tmp_path / "gradio" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'gradio'\")")
    return os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_without_gradio_it_says_how_to_install_it(trained, without_gradio):
    code, errors = refused(trained / "model", PYTHONPATH=without_gradio)
    assert code == 2
    assert errors.startswith("error: the page needs Gradio; install it with: pip install 'fewlabels[serve]'")
    assert "\n" not in errors


def test_a_port_that_is_taken_is_refused_in_one_line(run, place):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, _, errors = run("serve", place / "model", "--no-open", "--port", other.getsockname()[1])
    assert code == 2
    assert "cannot be had" in errors
    assert "--port" in errors


def test_there_must_be_a_model(run, tmp_path):
    code, _, errors = run("serve", tmp_path / "nothing", "--no-open")
    assert code == 2
    assert errors == (
        f"error: there is no model folder at {tmp_path / 'nothing'}; to label the first images and make one, give "
        "--source\n"
    )


def test_it_says_where_the_page_is_and_ends_cleanly_by_ctrl_c(place):
    with serving(place, typed=True) as server:
        assert server.address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(server.address, timeout=30) as answer:
            assert answer.status == 200
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
        said = (place / "log").read_text()
        assert said.splitlines()[-1] == "stopped"
        assert f"labels go to {place / 'model-labels.csv'}" in said
        assert "Traceback" not in said
        assert "terminate" not in said
        assert "warning" not in said


def test_a_training_that_is_lost_by_the_end_of_the_server_is_told(place):
    labels = place / "model-labels.csv"
    labels.write_text("file,class\nunlabeled/0-0.png,red\n")
    with serving(place) as server:
        assert asked(server.address, "train", "")[0]
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
    last = " ".join((place / "log").read_text().split()).rpartition("stopped")[2]
    assert last == f"; the training that ran is lost, its labels are in {labels}"


def test_images_that_cannot_be_read_are_told_whether_there_is_a_model_or_not(place, trained, tmp_path):
    shutil.copytree(trained / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "unlabeled" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    told = "phone.heic (HEIC, which is not read: convert it to JPEG)"
    with serving(place, "--source", str(tmp_path / "photos")):
        said = (place / "log").read_text()
        assert f"left out 1 unreadable file: {tmp_path / 'photos' / 'unlabeled' / told}" in said
        assert "were resized to 16x16" in said.replace("\n", " ")
    (tmp_path / "first").mkdir()
    with serving(tmp_path / "first", "--source", str(tmp_path / "photos")):
        assert told in (tmp_path / "first" / "log").read_text()


def test_whoever_lets_others_in_is_warned(place):
    with serving(place, "--host", "0.0.0.0") as server:
        assert "there is no password" in (place / "log").read_text()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def post(address, content, name, **headers):
    """Upload a file as a browser does; return status and text."""
    boundary = "0123456789"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(
        f"{address}/gradio_api/upload",
        data=body,
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def asked(address, name, *given):
    """Call one of the page's functions with what is given, and return whether it went well and what it gave."""
    config = json.load(urllib.request.urlopen(f"{address}/config", timeout=30))
    function = next(one["id"] for one in config["dependencies"] if one["api_name"] == name)
    call = {"fn_index": function, "session_hash": "test", "data": given}
    request = urllib.request.Request(
        f"{address}/gradio_api/queue/join", data=json.dumps(call).encode(), headers={"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=30).close()
    with urllib.request.urlopen(f"{address}/gradio_api/queue/data?session_hash=test", timeout=60) as stream:
        for line in stream:
            if line.startswith(b"data:"):
                told = json.loads(line[5:])
                if told["msg"] == "process_completed":
                    return told["success"], json.dumps(told["output"])
    raise AssertionError("no answer came")


@pytest.fixture
def old_pillow(tmp_path):
    """A folder to put first on the path: Pillow says, once it is loaded, that it is the last before 13."""
    (tmp_path / "sitecustomize.py").write_text("import PIL.Image\n\nPIL.__version__ = '12.3.0'\n")
    return os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_with_an_old_pillow_photos_alone_are_taken_and_the_way_to_a_new_one_is_told(place, old_pillow):
    with serving(place, typed=True, PYTHONPATH=old_pillow) as server:
        assert "pip install --no-deps 'pillow>=13'" in (place / "log").read_text().replace("\n", " ")
        for kind, taken in (("JPEG", True), ("TIFF", False)):
            content = io.BytesIO()
            photo("red", 0).save(content, kind)
            _, text = post(server.address, content.getvalue(), f"photo.{kind.lower()}")
            file = {"path": json.loads(text)[0], "meta": {"_type": "gradio.FileData"}}
            _, shown = asked(server.address, "classify", file)
            assert ("fl-first" in shown) == taken
            assert ("not an image" in shown) != taken


def test_a_file_in_place_of_text_is_refused_and_copied_nowhere(place, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with serving(place) as server:
        file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
        for given in ([file, ""], ["", {**file, "is_stream": True}], [[file], ""], ["", {"within": file}]):
            success, told = asked(server.address, "skip", *given)
            assert not success
            assert "files are taken as images alone" in told
        _, text = post(server.address, b"MZ no image", "no.png")
        uploads = Path(json.loads(text)[0]).parent.parent
        assert [path.name for path in uploads.rglob("*") if path.is_file()] == ["no.png"]
        assert "Traceback" not in (place / "log").read_text()
        # What the page sends goes on to work.
        config = json.load(urllib.request.urlopen(f"{server.address}/config", timeout=30))
        (opening,) = [
            one["props"]["value"] for one in config["components"] if one["props"].get("elem_id") == "fl-opening"
        ]
        _, told = asked(server.address, "open")
        image = json.loads(told)["data"][2]
        success, told = asked(server.address, "label_0", image, opening)
        assert success
        assert "Saved" in told
        assert len(server.labels) == 1
        assert asked(server.address, "skip", json.loads(told)["data"][1], opening)[0]


def test_uploads_are_limited_and_files_of_the_machine_stay_its_own(place, tmp_path):
    secret = tmp_path / "secret.png"
    photo("red", 1).save(secret)
    with serving(place) as server:
        # Beside the limit, what the form's own parts take.
        status, text = post(server.address, bytes((20 << 20) + (1 << 17)), "large.png")
        assert status == 413
        assert "larger than 20 MiB" in text
        status, text = post(server.address, b"MZ no image", "no.png")
        path = json.loads(text)[0]
        meta = {"meta": {"_type": "gradio.FileData"}}
        success, shown = asked(server.address, "classify", {"path": path, **meta})
        assert success
        assert "not an image" in shown
        status, text = post(server.address, secret.read_bytes(), "../../red.png")
        success, shown = asked(server.address, "classify", {"path": json.loads(text)[0], **meta})
        assert success
        assert "fl-first" in shown
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        inside = os.path.join(os.path.dirname(path), "pipe.png")
        os.mkfifo(inside)
        for stolen in (
            inside,
            str(secret),
            str(tmp_path / "none.png"),
            str(pipe),
            "http://127.0.0.1:9/a.png",
            "file:///etc/passwd",
        ):
            for said in (meta, {}, {"meta": {"_type": "other"}}):
                success, shown = asked(server.address, "classify", {"path": stolen, **said})
                assert not success
                assert "fl-first" not in shown
                assert "not here" not in shown, "which files there are"
        assert "Traceback" not in (place / "log").read_text()
        for hidden in (f"gradio_api/file={secret}", "gradio_api/proxy=http://127.0.0.1:9/", "monitoring/summary"):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{server.address}/{hidden}", timeout=30)
        folder = path.rsplit("/", 2)[0]
        assert os.path.isdir(folder)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        assert not os.path.exists(folder)

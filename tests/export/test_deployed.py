from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import fewlabels
from fewlabels import InputError, KMeansFeatures, NetAndPatches, Supervised, load_dataset
from fewlabels.export import deployed, export_model
from small_backbones import Colors, tiny_dinov2

COUNT = 1000


@pytest.fixture(scope="module")
def images():
    found = np.random.default_rng(0).integers(0, 160, (COUNT, 16, 16, 3))
    found[::2, :8] += 60
    found[1::2, 8:] += 60
    return found.astype(np.uint8)


@pytest.fixture(scope="module")
def model(images, narrow_nets):
    # Color images are predicted on both sides.
    labels = images[:60, :8].mean((1, 2, 3)) > images[:60, 8:].mean((1, 2, 3))
    return Supervised(steps=30, random_state=0).fit(images[:60], np.where(labels, "above", "below"))


def needs_onnx():
    pytest.importorskip("onnxscript")
    if not deployed.onnx_is_translated():
        pytest.skip("this PyTorch does not translate to ONNX")


def run_onnx(path, samples):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session, session.run(["probabilities"], {"samples": samples})[0]


def test_the_onnx_file_predicts_as_the_model_does_for_any_number_of_images(model, images, tmp_path):
    needs_onnx()
    path = export_model(model, tmp_path / "model.onnx")
    session, found = run_onnx(path, images)
    expected = model.predict_proba(images)
    assert np.abs(found - expected).max() <= 1e-4
    assert np.ptp(expected[:, 0]) > 0.2
    for count in (1, 7):
        assert np.abs(run_onnx(path, images[:count])[1] - expected[:count]).max() <= 1e-4
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["above", "below"]
    assert json.loads(facts["sample_shape"]) == [16, 16, 3]


def test_the_program_of_torch_export_predicts_as_the_model_does(model, images, tmp_path):
    path = export_model(model, tmp_path / "model.pt2")
    facts = {"classes": ""}
    program = torch.export.load(path, extra_files=facts).module()
    for count in (COUNT, 3, 1):
        found = program(torch.from_numpy(images[:count])).numpy()
        assert np.abs(found - model.predict_proba(images[:count])).max() <= 1e-4
    assert json.loads(facts["classes"]) == ["above", "below"]


@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_a_class_whose_name_is_no_text_is_written_out(model, images, tmp_path, ending):
    # As Python names a folder whose name is no UTF-8.
    names = ["caf\udce9", "below"]
    if ending == ".onnx":
        needs_onnx()
    path = export_model(model, tmp_path / f"model{ending}", class_names=names)
    if ending == ".onnx":
        facts = run_onnx(path, images[:1])[0].get_modelmeta().custom_metadata_map
    else:
        torch.export.load(path, extra_files=(facts := {"classes": ""}))
    assert json.loads(facts["classes"]) == [r"caf\xe9", "below"]


def test_vectors_are_exported_too(tmp_path):
    draws = np.random.default_rng(0)
    X = draws.normal(size=(40, 5)).astype(np.float32)
    model = Supervised(steps=20, random_state=0).fit(X, X[:, 0] > 0)
    program = torch.export.load(export_model(model, tmp_path / "model.pt2")).module()
    assert np.abs(program(torch.from_numpy(X)).numpy() - model.predict_proba(X)).max() <= 1e-4


def test_a_temporary_folder_without_room_is_named(model, tmp_path, monkeypatch):
    needs_onnx()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("torch.onnx.export", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        export_model(model, tmp_path / "model.onnx")
    assert Path(error.value.filename).parent.parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_a_pytorch_that_cannot_translate_is_told_in_one_line(model, tmp_path, monkeypatch):
    needs_onnx()
    monkeypatch.setattr(deployed, "onnx_is_translated", lambda: False)
    with pytest.raises(InputError, match=r"cannot translate this net to ONNX, 2\.8 and newer can"):
        export_model(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", [KMeansFeatures, NetAndPatches])
@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_features_of_patches_are_exported_for_any_number_of_images(images, tmp_path, ending, method):
    model = method(centroids=8, steps=2, random_state=0).fit(images[:40], np.arange(40) % 2)
    if ending == ".onnx":
        needs_onnx()
    path = export_model(model, tmp_path / f"model{ending}")
    expected = model.predict_proba(images[:20])
    for count in (20, 1, 0):
        if ending == ".onnx":
            found = run_onnx(path, images[:count])[1]
        else:
            found = torch.export.load(path).module()(torch.from_numpy(images[:count])).numpy()
        assert found.shape == (count, 2)
        assert np.allclose(found, expected[:count], rtol=0, atol=1e-4)


def test_the_command_exports_a_saved_model(model, images, tmp_path):
    from typer.testing import CliRunner

    from fewlabels.cli import app

    needs_onnx()
    model.save(tmp_path / "model")
    result = CliRunner().invoke(app, ["export", str(tmp_path / "model"), "--format", "onnx"])
    assert result.exit_code == 0
    _, found = run_onnx(tmp_path / "model.onnx", images[:50])
    assert np.abs(found - fewlabels.load(tmp_path / "model").predict_proba(images[:50])).max() <= 1e-4


def test_the_command_writes_what_the_name_of_the_file_says(model, tmp_path):
    from typer.testing import CliRunner

    from fewlabels.cli import app

    model.save(tmp_path / "model")
    answer = CliRunner().invoke(app, ["export", str(tmp_path / "model"), "--out", str(tmp_path / "a.pt2"), "--json"])
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["format"] == "torch"
    torch.export.load(tmp_path / "a.pt2")


def test_a_file_is_not_called_what_it_is_not(model, tmp_path):
    with pytest.raises(InputError, match=r"a.onnx is what a file of the format 'onnx' is called; give that, or a.pt2"):
        export_model(model, tmp_path / "a.onnx", format="torch")
    assert not list(tmp_path.iterdir())


def test_the_folder_that_is_worked_in_can_be_the_model(model, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from fewlabels.cli import app
    from fewlabels.export import deployed

    def write(_, target, *, format):
        target.write_text(format)
        return target

    monkeypatch.setattr(deployed, "export_model", write)
    model.save(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    assert CliRunner().invoke(app, ["export", ".", "--format", "torch"]).exit_code == 0
    assert (tmp_path / "model.pt2").read_text() == "torch"


def test_a_format_that_is_unknown_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="did you mean 'onnx'"):
        export_model(model, tmp_path / "model", format="onx")
    with pytest.raises(InputError, match=r"ends in neither \.onnx nor \.pt2"):
        export_model(model, tmp_path / "model.bin")
    assert not list(tmp_path.iterdir())


def test_endings_may_be_large_letters(model, tmp_path):
    assert export_model(model, tmp_path / "MODEL.PT2") == tmp_path / "MODEL.PT2"


@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_a_net_that_is_no_one_graph_is_told_in_one_line(images, tmp_path, ending, capfd):
    class Brighter(Colors):
        def forward(self, images):
            features = super().forward(images)
            return features * 2 if features.sum() > 0 else features

    if ending == ".onnx":
        needs_onnx()
    labels = np.arange(20) % 2
    model = Supervised(net=Brighter(), freeze=False, steps=2, random_state=0).fit(images[:20], labels)
    capfd.readouterr()
    with pytest.raises(InputError, match=r"as one graph: .*data-dependent expression[^\n]*torch\.where") as told:
        export_model(model, tmp_path / f"model{ending}")
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_what_reads_features_says_whose(color_images, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from fewlabels.cli import app

    X, y = color_images
    net = tiny_dinov2(tmp_path / "dino")
    data = load_dataset(fewlabels.embed((X, y), net, tmp_path / "features", cache_dir=tmp_path).folder)
    fewlabels.LinearProbe().fit(data.labeled, data.labels).save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["export", "model", "--format", "torch"])
    assert found.exit_code == 0
    assert f"note: it reads features of {net}, not images" in " ".join(found.output.split())
    facts = {"features_of": ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=facts)
    told = json.loads(facts["features_of"])
    assert (told["net"], told["size"]) == (net, 28)
    assert told["weights"] == data.backbone["weights"]


def test_a_class_whose_name_is_no_text_can_be_exported(model, tmp_path):
    target = export_model(model, tmp_path / "model.pt2", class_names=["caf\udce9", "below"])
    facts = {"classes": ""}
    torch.export.load(target, extra_files=facts)
    assert json.loads(facts["classes"]) == ["caf\\xe9", "below"]

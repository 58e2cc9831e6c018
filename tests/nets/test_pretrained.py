"""Pretrained nets: what is read from where, preprocessing, features, rates of layers, and what each was trained on."""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from torch import nn

import prestarted
from fewlabels import InputError
from fewlabels.nets import build_classifier, build_decoder
from fewlabels.nets.backbone import Backbone, BackboneFacts, fingerprint, layer_rates, pooling_of
from fewlabels.nets.pretrained import empty_backbone, is_backbone, load_backbone, open_backbone
from fewlabels.nets.provenance import leak_warning, trained_on
from fewlabels.training.recipe import Recipe
from hub_server import Hub, Repository, hash_of
from small_backbones import Colors, stub_timm, tiny_dinov2, tiny_timm


@pytest.fixture
def dino(tmp_path):
    return tiny_dinov2(tmp_path / "dino")


def test_a_local_folder_of_transformers_gives_its_own_features(dino, tmp_path):
    from transformers import AutoModel

    own = AutoModel.from_pretrained(tmp_path / "dino").eval()
    backbone = load_backbone(dino).eval()
    images = torch.rand(3, 3, 28, 28)
    with torch.inference_mode():
        expected = own(pixel_values=images).pooler_output
        assert torch.equal(backbone(images), expected)
        assert backbone(torch.rand(3, 3, 40, 40)).shape == expected.shape
    assert (backbone.facts.size, backbone.feature_size, backbone.facts.pooling) == (28, 24, "pooler")


def test_the_models_own_preprocessing_is_read_without_its_processor(dino, tmp_path):
    settings = {
        "image_processor_type": "BitImageProcessor",
        "crop_size": {"height": 42, "width": 42},
        "size": {"shortest_edge": 48},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
    }
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(settings))
    facts = load_backbone(dino).facts
    assert (facts.size, facts.mean, facts.std) == (42, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    classifier = build_classifier(dino, (50, 50, 3), 4)
    assert torch.allclose(classifier.mean, torch.tensor([0.1, 0.2, 0.3]))
    classifier.start(torch.rand(5, 3, 50, 50))
    assert torch.allclose(classifier.std, torch.tensor([0.4, 0.5, 0.6])), "the data must not replace it"


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({}, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ({"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}, (0.5,) * 3, (0.5,) * 3),
        ({"do_rescale": False, "image_mean": [51.0] * 3, "image_std": [51.0] * 3}, (0.2,) * 3, (0.2,) * 3),
    ],
)
def test_a_model_without_the_usual_normalization_gets_its_own(dino, tmp_path, settings, mean, std):
    described = {"image_processor_type": "BitImageProcessor", **settings}
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(described))
    facts = load_backbone(dino).facts
    assert facts.mean == pytest.approx(mean)
    assert facts.std == pytest.approx(std)


def test_efficientnet_and_align_are_read_as_their_processors_do(dino, tmp_path):
    # What the hub's google/efficientnet-b0 and kakaobrain/align-base say.
    efficientnet = {
        "crop_size": {"height": 289, "width": 289},
        "do_center_crop": False,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.5, 0.4, 0.3],
        "include_top": True,
        "rescale_factor": 1 / 255,
        "size": {"height": 224, "width": 224},
    }
    once = efficientnet | {"do_normalize": False}
    align = efficientnet | {"do_center_crop": True, "include_top": False, "rescale_factor": 2 / 255}
    align |= {"rescale_offset": True, "do_normalize": False}
    for settings, side in ((efficientnet, 224), (once, 224), (align, 289)):
        (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps(settings))
        facts = load_backbone(dino).facts
        processor = transformers_processor(settings)
        pixels = torch.arange(256, dtype=torch.uint8).expand(3, side, 256).contiguous()
        wide = torch.nn.functional.interpolate(pixels[None].float(), (side, side), mode="nearest").to(torch.uint8)
        expected = processor(wide[0], return_tensors="pt")["pixel_values"][0]
        ours = (wide[0] / 255 - torch.tensor(facts.mean).view(3, 1, 1)) / torch.tensor(facts.std).view(3, 1, 1)
        assert facts.size == side
        assert torch.allclose(ours, expected, atol=1e-4)


def transformers_processor(settings):
    module = pytest.importorskip("transformers.models.efficientnet.image_processing_pil_efficientnet")
    return module.EfficientNetImageProcessorPil(**settings | {"do_resize": False})


def test_a_model_that_reads_colors_in_another_order_is_refused(dino, tmp_path):
    (tmp_path / "dino" / "preprocessor_config.json").write_text(json.dumps({"do_flip_channel_order": True}))
    with pytest.raises(InputError, match="blue, green, red"):
        load_backbone(dino)


def test_a_masked_autoencoder_looks_at_all_of_an_image(tmp_path):
    from transformers import ViTMAEConfig, ViTMAEModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    ViTMAEModel(ViTMAEConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(tmp_path / "mae")
    backbone = load_backbone(f"hf:{tmp_path / 'mae'}").eval()
    again = empty_backbone(backbone.facts).eval()
    again.load_state_dict(backbone.state_dict())
    images = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        first = backbone(images)
        for net in (backbone, again):
            # The order of the patches, which is drawn anew, is all that may differ.
            assert torch.allclose(net(images), first, atol=1e-4)


def test_weights_that_are_pickled_are_refused(dino, tmp_path):
    from safetensors.torch import load_file

    weights = tmp_path / "dino" / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "dino" / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(InputError, match="safetensors"):
        load_backbone(dino)


def test_a_model_that_lacks_weights_is_refused_but_for_a_pooler(tmp_path):
    from safetensors.torch import load_file, save_file
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "vit")
    backbone = load_backbone(f"hf:{tmp_path / 'vit'}")
    assert backbone.facts.pooling == "first", "a pooler with random weights must not be used"
    weights = load_file(tmp_path / "vit" / "model.safetensors")
    lost = next(name for name in weights if "attention" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, tmp_path / "vit" / "model.safetensors")
    with pytest.raises(InputError, match="lacks weights"):
        load_backbone(f"hf:{tmp_path / 'vit'}")


def test_a_net_whose_pooler_has_no_weights_is_the_same_whenever_it_is_loaded(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ViTForImageClassification(ViTConfig(**small, image_size=28, patch_size=14)).save_pretrained(tmp_path / "net")
    first, second = (load_backbone(f"hf:{tmp_path / 'net'}") for _ in range(2))
    assert first.facts == second.facts
    assert open_backbone(first.facts).facts == first.facts
    again = empty_backbone(first.facts)
    again.load_state_dict(first.state_dict())
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(again.eval()(images), second.eval()(images))


def test_of_tokens_without_one_for_the_class_the_mean_is_taken(tmp_path):
    from transformers import AutoModel, IJepaConfig, IJepaModel

    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    IJepaModel(IJepaConfig(**small, image_size=32, patch_size=8), add_pooling_layer=False).save_pretrained(
        tmp_path / "ijepa"
    )
    net = f"hf:{tmp_path / 'ijepa'}"
    backbone, images = load_backbone(net).eval(), torch.rand(3, 3, 32, 32)
    own = AutoModel.from_pretrained(tmp_path / "ijepa").eval()
    with torch.inference_mode():
        tokens = own(pixel_values=images).last_hidden_state
        assert tokens.shape[1] == 16
        assert torch.allclose(backbone(images), tokens.mean(1), atol=1e-6)
        # Models that were saved with the first of them go on with it.
        before = open_backbone(replace(backbone.facts, pooling="first")).eval()
        assert torch.allclose(before(images), tokens[:, 0], atol=1e-6)


@pytest.mark.parametrize("harm", ["cut off", "empty", "another net's"])
def test_weights_that_are_damaged_or_of_another_net_are_told_in_a_line(harm, dino, tmp_path):
    weights, config = tmp_path / "dino" / "model.safetensors", tmp_path / "dino" / "config.json"
    if harm == "another net's":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_size": 36, "num_attention_heads": 3}))
    else:
        weights.write_bytes(weights.read_bytes()[: 3000 if harm == "cut off" else 0])
    with pytest.raises(InputError, match=r"weights of hf:.* are damaged, or not of the net that its config.json tells"):
        load_backbone(dino)


def test_code_that_comes_with_a_model_is_not_run_nor_asked_about(dino, tmp_path):
    config, marker = tmp_path / "dino" / "config.json", tmp_path / "ran"
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    (tmp_path / "dino" / "own.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    parent, child = os.openpty()  # it asks on a terminal alone
    code = f"import sys; sys.stdin = open({os.ttyname(child)!r}); "
    code += f"from fewlabels.nets import load_backbone; load_backbone({dino!r})"
    try:
        os.write(parent, b"y\n")
        found = prestarted.run(prestarted.script, code, (), environment={"HF_HOME": str(tmp_path / "home")})
    finally:
        os.close(parent)
        os.close(child)
    assert "comes with code of its own, which is not run" in found.stderr
    assert not marker.exists()


def test_a_description_of_images_that_cannot_be_read_is_not_taken_for_none(dino, tmp_path):
    described = tmp_path / "dino" / "preprocessor_config.json"
    text = json.dumps({"image_processor_type": "ViTImageProcessor", "image_mean": 0.25, "image_std": 0.5})
    described.write_text(text)
    facts = load_backbone(dino).facts
    assert (facts.mean, facts.std) == ((0.25,) * 3, (0.5,) * 3)
    described.write_text(text[:60])
    with pytest.raises(InputError, match="wants its images normalized cannot be read"):
        load_backbone(dino)
    described.unlink()
    assert load_backbone(dino).facts.mean[0] == 0.485


def test_of_a_model_of_images_and_text_the_images_part_is_taken(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1},
        vision_config={**small, "image_size": 28, "patch_size": 14},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    backbone = load_backbone(f"hf:{tmp_path / 'clip'}")
    assert (backbone.facts.size, backbone.feature_size) == (28, 16)
    again = empty_backbone(BackboneFacts.from_dict(json.loads(json.dumps(backbone.facts.to_dict()))))
    again.load_state_dict(backbone.state_dict())
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(again.eval()(images), backbone.eval()(images))


def test_facts_survive_json_and_the_weights_are_checked(dino):
    backbone = load_backbone(dino)
    facts = BackboneFacts.from_dict(json.loads(json.dumps(backbone.facts.to_dict())))
    assert facts == backbone.facts
    assert fingerprint(open_backbone(facts).body) == facts.weights
    tiny_dinov2(dino.removeprefix("hf:"), seed=1)
    with pytest.raises(InputError, match="are not those that the features were made with"):
        open_backbone(facts)


def test_a_module_tells_its_preprocessing_and_is_copied():
    module = Colors()
    backbone = load_backbone(module)
    facts = backbone.facts
    assert (facts.size, facts.mean, facts.trained_on) == (16, (0.5,) * 3, "ImageNet")
    assert (backbone.feature_size, facts.pooling) == (12, "mean")
    with torch.no_grad():
        backbone.body.blocks[0][0].weight.zero_()
    assert module.blocks[0][0].weight.abs().sum() > 0


def described(**attributes):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def test_a_module_may_give_a_square_a_number_or_none():
    facts = load_backbone(described(image_size=(32, 32), image_mean=0.5, image_std=None)).facts
    assert (facts.size, facts.mean, facts.std) == (32, (0.5,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"image_size": (32, 48)}, r"image_size of module is \(32, 48\); expected a side in pixels"),
        ({"image_size": "large"}, "image_size of module is 'large'; expected a side in pixels"),
        ({"image_mean": "auto"}, "image_mean of module is 'auto'; expected a number, or one for each channel"),
        ({"image_mean": (0.5,), "image_std": 0.5}, r"image_mean of module has 1 channel and image_std 3 .*; give both"),
    ],
)
def test_attributes_that_cannot_be_are_told(attributes, message):
    with pytest.raises(InputError, match=message):
        load_backbone(described(**attributes))


def test_a_module_whose_features_depend_on_the_size_of_images_says_what_it_needs():
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(InputError, match=r"gives 3,600 features for an image of 32x32 .* image_size"):
        load_backbone(flat)(torch.zeros(2, 3, 32, 32))
    flat.image_size = 32
    assert load_backbone(flat)(torch.zeros(2, 3, 40, 40)).shape == (2, 3600)


def test_what_a_module_raises_of_a_size_is_told_with_what_it_needs():
    class Fixed(Colors):
        image_size = None

        def forward(self, images):
            assert images.shape[2] == 16, f"Input height ({images.shape[2]}) doesn't match model (16)."
            return super().forward(images)

    with pytest.raises(InputError, match=r"64x64 pixels: Input height \(64\) .*; give it an attribute image_size"):
        load_backbone(Fixed())
    fixed = Fixed()
    fixed.image_size = 16
    assert load_backbone(fixed)(torch.zeros(2, 3, 20, 20)).shape == (2, 12)


@pytest.mark.parametrize("given", ["image_mean", "image_std"])
def test_what_a_module_does_not_give_has_the_channels_of_what_it_gives(given):
    module = nn.Conv2d(1, 4, 3)
    setattr(module, given, (0.5,))
    facts = load_backbone(module).facts
    assert (len(facts.mean), len(facts.std)) == (1, 1)
    assert build_classifier(module, (20, 20, 1), 2)(torch.zeros(2, 1, 20, 20)).shape == (2, 2)


def test_a_module_of_gray_images_refuses_colors():
    module = nn.Conv2d(1, 4, 3)
    module.image_mean, module.image_std = (0.5,), (0.5,)
    backbone = load_backbone(module)
    assert backbone(torch.zeros(2, 1, 20, 20)).shape == (2, 4)
    with pytest.raises(InputError, match=r"reads images of 1 channel .*, and these have 3"):
        backbone(torch.zeros(2, 3, 20, 20))


def test_gray_images_are_read_as_gray_colors():
    classifier = build_classifier(Colors(), (16, 16, 1), 3).eval()
    gray = torch.rand(2, 1, 16, 16)
    assert torch.allclose(classifier(gray), classifier(gray.expand(-1, 3, -1, -1)), atol=1e-6)


def test_a_function_of_a_file_gives_a_backbone_but_is_never_run_for_recorded_facts(tmp_path):
    marker = tmp_path / "ran"
    code = (
        f"from pathlib import Path\nfrom small_backbones import Colors\nPath({str(marker)!r}).touch()\nmake = Colors\n"
    )
    (tmp_path / "mine.py").write_text(f"{code}make = Colors\n")
    backbone = load_backbone(f"python:{tmp_path / 'mine.py'}:make")
    assert backbone.feature_size == 12
    marker.unlink()
    (tmp_path / "settings.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from small_backbones import Colors\n@dataclass\nclass Settings:\n    of: ClassVar[int] = 3\n"
        "    side: int = 8\nmake = Colors\n"
    )
    assert load_backbone(f"python:{tmp_path / 'settings.py'}:make").feature_size == 12
    assert not [name for name in sys.modules if name.startswith("_own_")], "other processes could not import it"
    with pytest.raises(InputError, match="not loaded unasked"):
        open_backbone(backbone.facts)
    with pytest.raises(InputError, match="not loaded unasked"):
        load_backbone(backbone.facts)
    with pytest.raises(InputError, match="give it as net"):
        empty_backbone(backbone.facts)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"use_pretrained_backbone": True}, "another net to be fetched"),
        ({"backbone": "somebody/net"}, "another net to be fetched"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:somebody/net"}}, "to be fetched"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:somebody/net"}, "to be fetched"),
        ({"num_hidden_layers": 1_000_000}, "more than 1000 layers"),
        ({"depths": [3, 1_000_000]}, "more than 1000 layers"),
    ],
)
def test_a_description_that_asks_for_another_net_or_for_endless_layers_is_refused(dino, asked, message):
    facts = load_backbone(dino).facts
    described = {"kind": "hf", "config": facts.architecture["config"] | asked}
    with pytest.raises(InputError, match=message):
        empty_backbone(replace(facts, architecture=described))


def test_a_description_names_no_code_that_a_net_is_computed_with(dino):
    backbone = load_backbone(dino).eval()
    facts = backbone.facts
    asked = {
        "attn_implementation": "somebody/kernel",
        "_attn_implementation": "somebody/kernel",
        "auto_map": {"AutoModel": "somebody/net--code.Net"},
        "quantization_config": {"quant_method": "gptq", "bits": 4},
        "use_kernels": True,
    }
    described = {"kind": "hf", "config": facts.architecture["config"] | asked}
    again = empty_backbone(replace(facts, architecture=described)).eval()
    again.load_state_dict(backbone.state_dict())
    images = torch.rand(2, 3, 28, 28)
    with torch.inference_mode():
        assert torch.equal(again(images), backbone(images))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("hf:/no/such/folder", "there is no folder"),
        ("hf:", "is no backbone"),
        ("python:nowhere", "names no function"),
        ("python:no.such.module:make", "cannot be loaded"),
        ("python:os:getcwd", "expected a torch.nn.Module"),
        (nn.Flatten(0), "expected features"),
        (nn.Linear(3, 3), "does not read images"),
        (nn.AdaptiveMaxPool2d(1, return_indices=True), "gives tuple for one image"),
    ],
)
def test_what_is_no_backbone_is_refused_with_the_reason(net, message):
    with pytest.raises(InputError, match=message):
        load_backbone(net)


def at_hub(url, home, monkeypatch):
    """Do what HF_ENDPOINT and HF_HOME do for a process that reads them when it starts."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    for name in ("HF_HUB_CACHE", "HF_XET_CACHE"):
        monkeypatch.setattr(constants, name, str(home))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def test_without_a_network_a_net_of_the_hub_is_given_up_at_once(tmp_path, monkeypatch, caplog):
    at_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    with pytest.raises(InputError, match=r"cannot be reached for hub:jane/dino .* then run the same command again$"):
        load_backbone("hf:jane/dino")
    assert not caplog.records


def test_a_net_of_the_hub_is_fetched_once_and_a_missing_one_is_named(tmp_path, dino, monkeypatch):
    files = {path.name: path.read_bytes() for path in Path(dino.removeprefix("hf:")).iterdir()}
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True).start()
        at_hub(hub.url, tmp_path / "cache", monkeypatch)
        hub.repositories["jane/dino"] = repository = Repository()
        repository.commit("main", files, "a net")
        hub.stored |= {hash_of(content): content for content in files.values()}
        found = load_backbone("hf:jane/dino")
        with pytest.raises(InputError, match=r"there is no model jane/none on 127\.0\.0\.1"):
            load_backbone("hf:jane/none")
        hub.shutdown()
    at_hub("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
    assert fingerprint(load_backbone("hf:jane/dino").body) == fingerprint(found.body)
    assert fingerprint(found.body) == fingerprint(load_backbone(dino).body)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision::nms does not exist"),
        ("import torchvision_of_no_build", "No module named 'torchvision_of_no_build'"),
    ],
)
def test_a_timm_that_cannot_be_imported_says_what_to_do(code, reason, tmp_path):
    """As it is where torchvision is missing, or its build does not match torch's."""
    package = tmp_path / "timm"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    code += "from fewlabels.nets import load_backbone; load_backbone('timm:resnet18')"
    found = prestarted.run(prestarted.script, code, ())
    last = found.stderr.strip().splitlines()[-1]
    assert reason in last
    assert "hf:NAME" in last
    assert "InputError" in last


def test_a_real_net_of_timm_is_built_again_without_its_folder(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    settings = {"img_size": 32, "act_layer": "relu"}
    own = timm.create_model("vit_tiny_patch16_224", **settings).eval()
    timm.models.save_for_hf(own, tmp_path / "plants", safe_serialization=True, model_args=settings)
    found = load_backbone(f"timm:local-dir:{tmp_path / 'plants'}").eval()
    (tmp_path / "plants").rename(tmp_path / "elsewhere")
    again = empty_backbone(found.facts).eval()
    again.load_state_dict(found.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again(images), found(images))
        assert torch.equal(found(images), own.forward_head(own.forward_features(images), pre_logits=True))


def test_a_net_of_timm_in_a_folder_goes_by_its_whole_path_and_no_more_than_its_name_is_known(tmp_path, monkeypatch):
    stub_timm(monkeypatch)
    tiny_timm(tmp_path / "birds" / "resnet18")
    monkeypatch.chdir(tmp_path)
    facts = load_backbone("timm:local-dir:birds/resnet18").facts
    assert facts.net == f"timm:local-dir:{tmp_path / 'birds' / 'resnet18'}"
    assert facts.trained_on == "ImageNet, by the name of its folder"
    assert leak_warning(facts.trained_on, "birds", facts.net) is None, "where it lies says nothing"
    monkeypatch.chdir("/")
    assert fingerprint(open_backbone(facts).body) == facts.weights
    (tmp_path / "birds").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"which is not there; give it .* net='timm:local-dir:FOLDER'"):
        open_backbone(facts)


def test_nothing_of_ours_imports_torchvision(dino):
    code = f"import sys; from fewlabels.nets import load_backbone; load_backbone({dino!r})"
    code += "; sys.exit('torchvision' in sys.modules)"
    found = prestarted.run(prestarted.script, code, ())
    assert found.returncode == 0, found.stderr


def test_rates_fall_block_by_block_and_every_parameter_has_one(dino):
    classifier = build_classifier(dino, (28, 28, 3), 4)
    rates = layer_rates(classifier, share=0.1, decay=0.5)
    groups = Recipe(optimizer="adam", learning_rate=1.0).optimizers(classifier, rates)[0].param_groups
    given = [(id(parameter), group["lr"]) for group in groups for parameter in group["params"]]
    assert len(given) == len(dict(given))
    named = {id(parameter): name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    assert named.keys() == dict(given).keys()
    found = {named[parameter]: rate for parameter, rate in given}
    assert found["head.weight"] == 1.0
    assert found["encoder.body.layernorm.weight"] == pytest.approx(0.1)
    blocks = [found[f"encoder.body.encoder.layer.{number}.norm1.weight"] for number in range(3)]
    assert blocks == pytest.approx([0.025, 0.05, 0.1])
    assert found["encoder.body.embeddings.cls_token"] == pytest.approx(0.0125)


def test_stages_that_follow_each_other_are_one_list_of_blocks():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, images):
            return images + self.conv(images)

    stages = {f"layer{number}": nn.Sequential(Block(), Block()) for number in (1, 2, 3)}
    ends = {"bn": nn.BatchNorm2d(4), "fc": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))}
    body = nn.Module()
    for name, module in {"stem": nn.Conv2d(3, 4, 1), **stages, **ends}.items():
        setattr(body, name, module)
    facts = BackboneFacts("module", None, (0.0,) * 3, (1.0,) * 3, feature_size=3)
    rates = layer_rates(Backbone(body, facts), share=0.1, decay=0.5)
    blocks = [f"body.layer{stage}.{number}." for stage in (1, 2, 3) for number in (0, 1)]
    assert [rates[block] for block in blocks] == pytest.approx([0.1 * 0.5**before for before in (5, 4, 3, 2, 1, 0)])
    assert {rates[f"body.{name}"] for name in ("bn.weight", "fc.2.weight")} == {0.1}
    assert rates["body."] == pytest.approx(0.1 * 0.5**6)


def test_batch_statistics_stay_those_of_the_pretraining():
    backbone = load_backbone(Colors()).train()
    before = backbone.body.blocks[0][1].running_mean.clone()
    backbone(torch.rand(8, 3, 16, 16))
    assert torch.equal(backbone.body.blocks[0][1].running_mean, before)
    assert backbone.body.blocks[0].training


def test_a_backbone_has_no_decoder():
    encoder = load_backbone(Colors())
    with pytest.raises(InputError, match="without an autoencoder"):
        build_decoder(Colors(), encoder, (16, 16, 3))


def test_tokens_maps_and_features_are_told_apart():
    assert [pooling_of(torch.zeros(1, 4, *more), "x") for more in ((), (3,), (2, 2))] == ["none", "first", "mean"]
    assert not is_backbone("fast")


def test_what_known_nets_were_trained_on():
    assert "ImageNet" in trained_on("facebook/dinov2-small")
    assert trained_on("microsoft/resnet-50") == "ImageNet"
    assert "captions" in trained_on("openai/clip-vit-base-patch32")
    assert trained_on("/home/me/model") == "unknown images"
    assert trained_on("hf:my/eclipse-photos") == "unknown images"
    assert "captions" in trained_on("facebook/metaclip-b32-400m")
    assert trained_on("facebook/levit-128S") == "ImageNet"
    cached = trained_on("/home/me/.cache/huggingface/hub/models--facebook--dinov2-small/snapshots/0a1b2c")
    assert cached.startswith("LVD-142M")
    assert trained_on("/home/clip/dino_nets/mine") == "unknown images", "where it lies says nothing"
    assert trained_on("/home/me/resnet-50") == "ImageNet, by the name of its folder"
    assert "has seen them" in leak_warning(trained_on("/home/me/resnet-50"), "stl10")


def test_a_leak_is_warned_of_where_images_come_from_imagenet():
    assert "has seen them" in leak_warning(trained_on("facebook/dinov2-small"), "stl10")
    assert "has seen them" in leak_warning("ImageNet", "tiny-imagenet-200")
    assert "may have seen" in leak_warning(trained_on("openai/clip"), "stl10")
    assert "unknown" in leak_warning("unknown images", "my-photos")
    assert leak_warning("ImageNet", "my-photos") is None


def test_a_net_whose_name_tells_of_the_data_set_is_warned_of():
    net = "hf:aaraki/vit-base-patch16-224-in21k-finetuned-cifar10"
    images = trained_on(net.removeprefix("hf:"))
    assert images == "ImageNet-21k"
    for name in ("cifar10", "CIFAR-10", "cifar_10"):
        assert f"-finetuned-cifar10, tells of {name}: if it was trained further" in leak_warning(images, name, net)
    for name in ("cifar100", "cifar", "fine", "aaraki10", "猫"):
        assert leak_warning(images, name, net) is None
    assert "tells of my photos" in leak_warning("ImageNet", "my photos", "timm:resnet18.my_photos")
    assert leak_warning("ImageNet", "photos", "hf:/home/me/photos/resnet-50") is None, "where it lies says nothing"
    assert "has seen them" in leak_warning("ImageNet", "stl10", "hf:microsoft/resnet-50")


def test_resizing_is_that_of_the_net(dino):
    backbone = load_backbone(dino).eval()
    large = torch.from_numpy(np.random.default_rng(0).random((1, 3, 56, 56), np.float32))
    small = nn.functional.interpolate(large, (28, 28), mode="bicubic", antialias=True, align_corners=False)
    assert isinstance(backbone, Backbone)
    assert torch.allclose(backbone(large), backbone(small), atol=1e-6)

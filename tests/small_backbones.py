"""Small pretrained nets with random weights, for tests: in a folder as transformers saves them, and as modules."""

import json
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def tiny_dinov2(folder, seed=0):
    """Save a tiny Dinov2 of random weights to a folder and return its spec."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(seed)
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=14, layerscale_value=1.0
    )
    Dinov2Model(config).save_pretrained(folder, safe_serialization=True)
    return f"hf:{folder}"


def stub_timm(monkeypatch, *, needs_values=False):
    """Have `timm` be a module with one architecture, "tiny", that reads folders as timm does.

    `needs_values`: it computes with values while it builds, as releases of timm do up to 1.0.15.
    """

    def create_model(name, pretrained=False, pretrained_cfg=None, checkpoint_path=None, num_classes=1000, width=6):
        source, _, place = name.partition(":")
        if source == "local-dir":
            described = json.loads((Path(place) / "config.json").read_text())
            name, pretrained_cfg = described["architecture"], described["pretrained_cfg"]
            width = described["model_args"]["width"]
        if name != "tiny":
            raise RuntimeError(f"Unknown model ({name})")
        if needs_values:
            width += int(torch.zeros(1).item())
        body = _tiny(width, pretrained_cfg["input_size"][1])
        body.pretrained_cfg = {"architecture": name, **pretrained_cfg}
        if pretrained:
            body.load_state_dict(load_file(Path(place) / "model.safetensors"))
        return body

    timm = ModuleType("timm")
    timm.create_model = create_model
    timm.data = ModuleType("timm.data")
    timm.data.resolve_model_data_config = lambda body: body.pretrained_cfg | {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.data", timm.data)


def _tiny(width, side):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(width * (side - 2) ** 2, 5))


def tiny_timm(folder, side=12):
    """Save a net of the timm of `stub_timm` to a folder, as timm does, and return its spec."""
    torch.manual_seed(0)
    described = {
        "architecture": "tiny",
        "model_args": {"width": 4},
        "pretrained_cfg": {"input_size": [3, side, side], "fixed_input_size": True},
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(described))
    save_file(_tiny(4, side).state_dict(), folder / "model.safetensors")
    return f"timm:local-dir:{folder}"


class Colors(nn.Module):
    """Tells images by their mean colors and edges."""

    image_size = 16
    image_mean = (0.5, 0.5, 0.5)
    image_std = (0.25, 0.25, 0.25)
    trained_on = "ImageNet"

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.GELU()),
            nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.GELU()),
        )

    def forward(self, images):
        return self.blocks(images)


def colors():
    return Colors()

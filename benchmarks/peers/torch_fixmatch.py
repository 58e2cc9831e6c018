"""FixMatch as its public implementations are written: WRN-28-2, one image after the other through Pillow.

    python torch_fixmatch.py DATA.npz MINUTES

Batch 64, seven pool images a labeled one, threshold 0.95, SGD, average of the weights. Views are made by Pillow in
the worker processes of a DataLoader. Prints a line of JSON a look: seconds of training so far (looks left out) and
the accuracy on the test images, of the net or its average, whichever is better: to its favor.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fewlabels.views.randaugment import OPERATIONS
from views import pillow_operation

BATCH, RATIO, THRESHOLD, DECAY = 64, 7, 0.95, 0.999
MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
DEVIATION = np.array([0.2471, 0.2435, 0.2616], np.float32)


def weak(image: Image.Image) -> Image.Image:
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    padded = ImageOps.expand(image, 4)
    left, top = random.randint(0, 8), random.randint(0, 8)
    return padded.crop((left, top, left + 32, top + 32))


def strong(image: Image.Image) -> Image.Image:
    image = weak(image)
    for _ in range(2):
        image = pillow_operation(image, random.choice(OPERATIONS), random.uniform(-1, 1))
    x, y = random.randrange(32), random.randrange(32)
    ImageDraw.Draw(image).rectangle((x - 8, y - 8, x + 8, y + 8), fill=(127, 127, 127))
    return image


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(((np.asarray(image, np.float32) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1))


class Labeled(Dataset):
    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return to_tensor(weak(Image.fromarray(self.images[index]))), int(self.labels[index])


class Unlabeled(Dataset):
    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.fromarray(self.images[index])
        return to_tensor(weak(image)), to_tensor(strong(image))


class Block(nn.Module):
    def __init__(self, incoming: int, width: int, stride: int) -> None:
        super().__init__()
        self.first_norm, self.first = nn.BatchNorm2d(incoming), nn.Conv2d(incoming, width, 3, stride, 1, bias=False)
        self.second_norm, self.second = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(incoming, width, 1, stride, bias=False) if incoming != width else None

    def forward(self, maps: Tensor) -> Tensor:
        ready = F.leaky_relu(self.first_norm(maps), 0.1)
        found = self.second(F.leaky_relu(self.second_norm(self.first(ready)), 0.1))
        return found + (maps if self.shortcut is None else self.shortcut(ready))


def wide_resnet(depth: int = 28, factor: int = 2, classes: int = 10) -> nn.Sequential:
    blocks = (depth - 4) // 6
    modules: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)]
    incoming = 16
    for width, stride in ((16 * factor, 1), (32 * factor, 2), (64 * factor, 2)):
        for number in range(blocks):
            modules.append(Block(incoming, width, stride if number == 0 else 1))
            incoming = width
    modules += [nn.BatchNorm2d(incoming), nn.LeakyReLU(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*modules, nn.Linear(incoming, classes))


def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    net.eval()
    with torch.no_grad():
        right = sum(
            int((net(images[i : i + 500]).argmax(1) == labels[i : i + 500]).sum()) for i in range(0, len(labels), 500)
        )
    net.train()
    return right / len(labels)


def main() -> None:
    stored, limit = np.load(sys.argv[1]), 60 * float(sys.argv[2])
    data = {name: stored[name] for name in stored.files}
    torch.manual_seed(0)
    random.seed(0)
    test = torch.from_numpy(((data["test"].astype(np.float32) / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2).copy())
    test_labels = torch.from_numpy(data["test_labels"])
    labeled = Labeled(data["labeled"], data["labels"])
    pool = Unlabeled(data["pool"])
    many = 1 << 20
    labeled_loader = iter(
        DataLoader(labeled, BATCH, sampler=RandomSampler(labeled, True, many * BATCH), num_workers=1, drop_last=True)
    )
    pool_size = BATCH * RATIO
    pool_loader = iter(
        DataLoader(pool, pool_size, sampler=RandomSampler(pool, True, many * pool_size), num_workers=1, drop_last=True)
    )
    net = wide_resnet()
    average = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    trained, steps, next_look = 0.0, 0, 60.0
    while trained < limit:
        began = time.perf_counter()
        images, labels = next(labeled_loader)
        weak_views, strong_views = next(pool_loader)
        logits = net(torch.cat([images, weak_views, strong_views]))
        for_labels, for_weak, for_strong = logits.split([BATCH, pool_size, pool_size])
        confidence, classes = for_weak.detach().softmax(1).max(1)
        mask = (confidence >= THRESHOLD).float()
        consistency = (F.cross_entropy(for_strong, classes, reduction="none") * mask).mean()
        loss = F.cross_entropy(for_labels, labels) + consistency
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        with torch.no_grad():
            for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                if value.is_floating_point():
                    mean.lerp_(value, 1 - DECAY)
                else:
                    mean.copy_(value)
        trained += time.perf_counter() - began
        if trained >= min(next_look, limit):
            next_look *= 2
            best = max(accuracy(net, test, test_labels), accuracy(average, test, test_labels))
            line = {"peer": "PyTorch FixMatch, WRN-28-2", "seconds": trained, "accuracy": best, "steps": steps}
            print(json.dumps(line))
            sys.stdout.flush()


if __name__ == "__main__":
    main()

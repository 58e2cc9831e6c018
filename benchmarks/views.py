"""Strong views of whole batches beside per-image Pillow and Kornia.

    python benchmarks/views.py [--kornia FOLDER]

All do the same: mirror, shift, two of RandAugment's fourteen operations an image, a square cut out, floats out.
Pillow works on single images in one process a core, as data loaders do. Kornia is measured where it can be
imported; `--kornia` names a folder to import it from (`pip install --no-deps --target FOLDER kornia kornia_rs`).
"""

from __future__ import annotations

import argparse
import importlib
import math
import multiprocessing
import os
import random
import statistics
import sys
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from fewlabels.nets import build_classifier
from fewlabels.training.memory import reused_memory
from fewlabels.training.recipe import choose_precision
from fewlabels.views import ImageViews
from fewlabels.views.randaugment import OPERATIONS
from harness import Report, rates

BATCH = 384
PER_PROCESS = 1500


def pillow_operation(image: Image.Image, name: str, amount: float) -> Image.Image:
    """Return the image after one of the operations, with Pillow's own means."""
    side = image.width
    affine = {
        "shear_x": (1, 0.3 * amount, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.3 * amount, 1, 0),
        "translate_x": (1, 0, 0.3 * amount * side, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, 0.3 * amount * side),
    }
    if name in affine:
        return image.transform(image.size, Image.Transform.AFFINE, affine[name])
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in enhancers:
        return enhancers[name](image).enhance(1 + 0.9 * amount)
    simple: dict[str, Callable[[], Image.Image]] = {
        "identity": lambda: image,
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "posterize": lambda: ImageOps.posterize(image, 8 - int(4 * abs(amount))),
        "solarize": lambda: ImageOps.solarize(image, 256 - int(255 * abs(amount))),
        "rotate": lambda: image.rotate(math.degrees(math.pi / 6 * amount)),
    }
    return simple[name]()


def pillow_view(array: np.ndarray, draw: random.Random) -> np.ndarray:
    """Return one strong view of one image."""
    image = Image.fromarray(array)
    if draw.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = image.width
    reach = side // 8
    left, top = draw.randint(0, 2 * reach), draw.randint(0, 2 * reach)
    image = ImageOps.expand(image, reach).crop((left, top, left + side, top + side))
    for _ in range(2):
        image = pillow_operation(image, draw.choice(OPERATIONS), draw.uniform(-1, 1))
    x, y = draw.randrange(side), draw.randrange(side)
    half = side // 4
    ImageDraw.Draw(image).rectangle((x - half, y - half, x + half, y + half), fill=(127, 127, 127))
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255


def pillow_worker(seed: int) -> int:
    """Make views of many images in one process."""
    images = np.random.default_rng(seed).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    draw = random.Random(seed)
    for number in range(PER_PROCESS):
        pillow_view(images[number % len(images)], draw)
    return PER_PROCESS


def kornia_views(folder: str | None) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return Kornia's pipeline of the same operations, or None where it is not installed."""
    if folder:
        sys.path.insert(0, folder)
    try:
        kornia = importlib.import_module("kornia.augmentation")
        auto = importlib.import_module("kornia.augmentation.auto")
    except ImportError:
        return None
    return torch.nn.Sequential(
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomCrop((32, 32), padding=4, padding_mode="reflect"),
        auto.RandAugment(n=2, m=10),
        kornia.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), value=0.5),
    )


def verdict(ratios: list[float], target: float) -> str:
    """Return the target and whether the median reaches it."""
    return f"target {target:g}: {'met' if statistics.median(ratios) >= target else 'missed'}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kornia", help="folder to import Kornia from")
    options = parser.parse_args()
    report = Report("views")
    images = torch.randint(0, 256, (BATCH, 32, 32, 3), dtype=torch.uint8)
    views = ImageViews(torch.Generator().manual_seed(0), cutout=0.5)
    net = build_classifier("auto", (32, 32, 3), 10).to(memory_format=torch.channels_last)
    inputs, targets = views.plain(images), torch.arange(BATCH) % 10
    net.start(inputs)
    precision = choose_precision("auto", torch.device("cpu"))

    def step() -> float:
        net.zero_grad(set_to_none=True)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = F.cross_entropy(net(inputs).float(), targets)
        loss.backward()
        return BATCH

    def several(view: Callable[[torch.Tensor], torch.Tensor], times: int) -> Callable[[], float]:
        def work() -> float:
            for _ in range(times):
                view(images)
            return times * BATCH

        return work

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(cores) as processes, reused_memory():
        contenders = {
            "weak": several(views.weak, 20),
            "medium": several(views.medium, 20),
            "strong": several(views.strong, 20),
            "Pillow": lambda: float(sum(processes.map(pillow_worker, range(cores), chunksize=1))),
            "training": step,
        }
        kornia = kornia_views(options.kornia)
        if kornia is not None:
            floats = images.permute(0, 3, 1, 2) / 255
            contenders["Kornia"] = lambda: float(len(kornia(floats)))
        found = rates(contenders)
    for name in ("weak", "medium", "strong"):
        report.add(f"{name} views of a batch of {BATCH}", found[name], "images/s")
    report.add(f"strong views by Pillow, one by one, {cores} processes", found["Pillow"], "images/s")
    ratios = [a / b for a, b in zip(found["strong"], found["Pillow"], strict=True)]
    report.add("times Pillow's rate", ratios, "", verdict(ratios, 20))
    if kornia is None:
        print("  Kornia is not installed: see --help")
    else:
        report.add("strong views by Kornia", found["Kornia"], "images/s")
        ratios = [a / b for a, b in zip(found["strong"], found["Kornia"], strict=True)]
        report.add("times Kornia's rate", ratios, "", verdict(ratios, 5))
    report.share("of a training step's bare passes", found["training"], found["strong"], 6, least=False)


if __name__ == "__main__":
    main()

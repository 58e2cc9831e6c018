"""Reproduce the notebook's four failures and measure their causes.

    python benchmarks/notebook_doctor.py CIFAR10_FOLDER [--pool 4500] [--only supervised,…]

This is the notebook's training with its mistakes, written out here because the package has none of them. The
mended trainings are the package's: `fewlabels compare … --preset notebook`. To take minutes rather than an
hour, a part of the pool is used; `--pool 45000` takes all of it. Accuracies are on the reference split's
8,000 test images.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels import ImageDataset, load_dataset
from fewlabels.nets.notebook import NotebookDecoder, NotebookEncoder
from fewlabels.views.images import to_float

BATCH = 32
RATE = 1e-3


def dense(features: int, *widths: int) -> nn.Sequential:
    """Return the notebook's dense layers, ReLU between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(features, width), nn.ReLU()]
        nn.init.xavier_uniform_(layers[-2].weight)
        nn.init.zeros_(layers[-2].bias)
        features = width
    return nn.Sequential(*layers[:-1])


def scaled(images: np.ndarray) -> Tensor:
    """Return images in [0, 1] as the notebook fed them."""
    return to_float(torch.from_numpy(images))


def shuffled(count: int, generator: np.random.Generator) -> Iterator[Tensor]:
    """Yield one pass in batches."""
    for rows in np.array_split(generator.permutation(count), max(1, count // BATCH)):
        yield torch.from_numpy(rows)


@torch.inference_mode()
def outputs(net: nn.Module, images: np.ndarray) -> Tensor:
    """Return a net's outputs for all images."""
    net.eval()
    return torch.cat([net(scaled(images[i : i + 500])) for i in range(0, len(images), 500)])


def accuracy(net: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose largest output is the label's."""
    return float((outputs(net, images).argmax(1).numpy() == labels).mean())


def gradient_norm(module: nn.Module) -> float:
    """Return the norm of all gradients in a module."""
    grads = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    return float(torch.stack(grads).norm()) if grads else 0.0


def supervised(data: ImageDataset) -> dict[str, object]:
    """Ten passes over plain images with nothing against overfitting."""
    generator, images, labels = np.random.default_rng(0), data.labeled[:], torch.from_numpy(data.labels)
    encoder = NotebookEncoder(3, (32, 32))
    net = nn.Sequential(encoder, dense(encoder.feature_size, 10))
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for _ in range(10):
        net.train()
        for rows in shuffled(len(labels), generator):
            loss = F.cross_entropy(net(scaled(images[rows.numpy()])), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {
        "train_accuracy": accuracy(net, images, data.labels),
        "test_accuracy": accuracy(net, data.test[:], data.test_labels),
    }


def self_training(data: ImageDataset) -> dict[str, object]:
    """Ten rounds that append confident pool images again and again, with the label of the day."""
    generator, pool, truth = np.random.default_rng(0), data.pool[:], data.diagnostics.pool_labels
    images, labels = data.labeled[:], data.labels
    encoder = NotebookEncoder(3, (32, 32))
    net = nn.Sequential(encoder, dense(encoder.feature_size, 10))
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    rows_of_pool = np.empty(0, np.int64)
    given = np.empty(0, np.int64)
    weights = np.ones(len(labels), np.float32)
    rounds = []
    for number in range(1, 11):
        net.train()
        targets = torch.from_numpy(np.concatenate([labels, given]))
        weight = torch.from_numpy(weights)
        for rows in shuffled(len(targets), generator):
            chosen = rows.numpy()
            batch = np.stack([images[r] if r < len(labels) else pool[rows_of_pool[r - len(labels)]] for r in chosen])
            losses = F.cross_entropy(net(scaled(batch)), targets[rows], reduction="none")
            loss = (losses * weight[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        confidences, guesses = (part.numpy() for part in outputs(net, pool).softmax(1).max(1))
        sure = np.flatnonzero(confidences > 0.8)
        stale = float((guesses[rows_of_pool] != given).mean()) if len(given) else 0.0
        rows_of_pool = np.concatenate([rows_of_pool, sure])
        given = np.concatenate([given, guesses[sure]])
        weights = np.concatenate([weights, confidences[sure]])
        rounds.append(
            {
                "round": number,
                "appended": len(given),
                "different_images": len(np.unique(rows_of_pool)),
                "precision_of_appended": float((given == truth[rows_of_pool]).mean()) if len(given) else None,
                "stale": stale,
                "mean_weight": float(weights[len(labels) :].mean()) if len(given) else None,
            }
        )
    return {
        "train_accuracy": accuracy(net, data.labeled[:], data.labels),
        "test_accuracy": accuracy(net, data.test[:], data.test_labels),
        "rounds": rounds,
    }


def autoencoder_of_the_notebook(seed: int) -> tuple[NotebookEncoder, NotebookDecoder]:
    """Return encoder and decoder, the decoder with a ReLU as its last layer."""
    torch.manual_seed(seed)
    encoder = NotebookEncoder(3, (32, 32), pooled=True)
    return encoder, NotebookDecoder(encoder.map_shape, 3, (32, 32), dying=True)


def vital_signs(encoder: nn.Module, decoder: nn.Module, images: np.ndarray) -> dict[str, float]:
    """Return what is alive: outputs above zero, and the reconstruction's gradient in the encoder."""
    inputs = scaled(images)
    nets = nn.ModuleList([encoder, decoder])
    nets.zero_grad()
    code = encoder.feature_map(inputs)
    made = decoder(code)
    loss = F.mse_loss(made, inputs)
    loss.backward()
    return {
        "outputs_above_zero": float((made > 0).float().mean()),
        "codes_above_zero": float((code > 0).float().mean()),
        "reconstruction_error": float(loss),
        "error_of_a_black_image": float(inputs.square().mean()),
        "gradient_in_encoder": gradient_norm(encoder),
    }


def two_step(data: ImageDataset) -> dict[str, object]:
    """Five passes of an autoencoder that ends in a ReLU, then dense layers on its codes."""
    generator = np.random.default_rng(0)
    encoder, decoder = autoencoder_of_the_notebook(0)
    everything = np.concatenate([data.labeled[:], data.pool[:]])
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], RATE)
    signs = [vital_signs(encoder, decoder, data.test[:500])]
    for _ in range(5):
        for rows in shuffled(len(everything), generator):
            inputs = scaled(everything[rows.numpy()])
            loss = F.mse_loss(decoder(encoder.feature_map(inputs)), inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        signs.append(vital_signs(encoder, decoder, data.test[:500]))
    codes = outputs(encoder, data.labeled[:])
    labels = torch.from_numpy(data.labels)
    head = dense(encoder.feature_size, 25, 15, 10)
    optimizer = torch.optim.Adam(head.parameters(), RATE)
    for _ in range(20):
        for rows in shuffled(len(labels), generator):
            loss = F.cross_entropy(head(codes[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net = nn.Sequential(encoder, head)
    return {
        "train_accuracy": accuracy(net, data.labeled[:], data.labels),
        "test_accuracy": accuracy(net, data.test[:], data.test_labels),
        "head_units_that_ever_fire": units_that_fire(head, codes),
        "starts_with_a_dead_color": dead_starts(everything),
        "after_each_pass": signs,
    }


@torch.inference_mode()
def units_that_fire(head: nn.Module, codes: Tensor) -> list[int]:
    """Return for each hidden layer how many of its units are above zero for any image."""
    found, values = [], codes
    for layer in head.children():
        values = layer(values)
        if isinstance(layer, nn.ReLU):
            found.append(int((values > 0).any(0).sum()))
    return found


def dead_starts(images: np.ndarray, starts: int = 10, steps: int = 150) -> list[int]:
    """Return for each of several random starts how many of the three colors are black in every image."""
    found = []
    for seed in range(starts):
        generator = np.random.default_rng(seed)
        encoder, decoder = autoencoder_of_the_notebook(seed)
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], RATE)
        for _ in range(steps):
            inputs = scaled(images[generator.integers(0, len(images), BATCH)])
            loss = F.mse_loss(decoder(encoder.feature_map(inputs)), inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            made = decoder(encoder.feature_map(scaled(images[:200])))
        found.append(int((made.amax((0, 2, 3)) <= 0).sum()))
    return found


def one_step(data: ImageDataset) -> dict[str, object]:
    """A classifier with a softmax inside that reads the reconstruction, and pool labels of all zeros."""
    found: dict[str, object] = {}
    for name, wiring in WIRINGS.items():
        found[name] = _one_step(data, **wiring)
        print(name, json.dumps(found[name]), flush=True)
    return found


WIRINGS = {
    "as it was": {"inner_softmax": True, "reads_code": False},
    "without the inner softmax": {"inner_softmax": False, "reads_code": False},
    "and reading the code": {"inner_softmax": False, "reads_code": True},
}


def _one_step(data: ImageDataset, *, inner_softmax: bool, reads_code: bool) -> dict[str, object]:
    generator = np.random.default_rng(0)
    encoder, decoder = autoencoder_of_the_notebook(0)
    width = encoder.feature_size if reads_code else 3072
    head = nn.Sequential(
        nn.Flatten(), nn.Linear(width, 15), nn.Softmax(1) if inner_softmax else nn.Identity(), nn.Linear(15, 10)
    )
    everything = np.concatenate([data.labeled[:], data.pool[:]])
    targets = torch.zeros(len(everything), 10)
    targets[torch.arange(len(data.labels)), torch.from_numpy(data.labels)] = 1
    nets = nn.ModuleList([encoder, decoder, head])
    optimizer = torch.optim.Adam(nets.parameters(), RATE)
    net = nn.Sequential(_Codes(encoder), head if reads_code else nn.Sequential(decoder, head))

    def signs() -> dict[str, float]:
        return vital_signs(encoder, decoder, data.test[:500]) | _label_gradient(net, encoder, data)

    found = [signs()]
    for _ in range(5):
        net.train()
        for rows in shuffled(len(everything), generator):
            inputs = scaled(everything[rows.numpy()])
            code = encoder.feature_map(inputs)
            made = decoder(code)
            logits = head(code if reads_code else made)
            entropy = -(targets[rows] * logits.log_softmax(1)).sum(1).mean()
            optimizer.zero_grad()
            (F.mse_loss(made, inputs) + entropy).backward()
            optimizer.step()
        found.append(signs())
    return {
        "train_accuracy": accuracy(net, data.labeled[:], data.labels),
        "test_accuracy": accuracy(net, data.test[:], data.test_labels),
        "after_each_pass": found,
    }


class _Codes(nn.Module):
    def __init__(self, encoder: NotebookEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Tensor) -> Tensor:
        return self.encoder.feature_map(inputs)


def _label_gradient(net: nn.Module, encoder: nn.Module, data: ImageDataset) -> dict[str, float]:
    """Return how much of the labels' gradient reaches the encoder."""
    net.zero_grad()
    rows = np.arange(0, len(data.labels), max(1, len(data.labels) // 500))
    F.cross_entropy(net(scaled(data.labeled[rows])), torch.from_numpy(data.labels[rows])).backward()
    return {"label_gradient_in_encoder": gradient_norm(encoder)}


PATIENTS = {
    "supervised": supervised,
    "self-training": self_training,
    "two-step-autoencoder": two_step,
    "joint-autoencoder": one_step,
}


def main() -> None:
    """Examine each patient."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--pool", type=int, default=4500, help="pool images to use, of 45,000")
    parser.add_argument("--only", default=",".join(PATIENTS), help="comma-separated names")
    parser.add_argument("--out", type=Path, default=Path("runs/notebook-doctor.json"))
    options = parser.parse_args()
    data = load_dataset(options.cifar10, labels_per_class=500, test_per_class=800)
    rows = np.arange(options.pool) * len(data.pool) // options.pool
    pool_labels = data.diagnostics.pool_labels[rows]
    data = ImageDataset(
        **{
            **vars(data),
            "pool": data.pool.take(rows),
            "diagnostics": type(data.diagnostics)(pool_labels=pool_labels),
        }
    )
    found: dict[str, object] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.only.split(","):
        torch.manual_seed(0)
        began = time.perf_counter()
        before = PATIENTS[name](data)
        seconds = time.perf_counter() - began
        print(f"\n{name}: {seconds:.0f} s\n{json.dumps(before, indent=1)}", flush=True)
        found[name] = before | {"seconds": seconds}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

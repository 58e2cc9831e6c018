"""What `test_shares.py` runs in several processes, and in one: passes through nets, forward and backward."""

import copy
import sys
from pathlib import Path

import numpy as np
import torch

from fewlabels.nets import build_classifier, build_decoder
from fewlabels.training.processes import Processes, joined
from fewlabels.training.shares import SharedRows
from fewlabels.training.synchronized import SynchronizedStatistics


def passes(net: str, shape: tuple[int, ...], rows: int, shared: SharedRows | None) -> dict[str, torch.Tensor]:
    """Return what comes out of a net, its gradients, those of the inputs, and its running statistics."""
    torch.manual_seed(0)
    classifier = build_classifier(net, shape, 3).double()
    decoder = build_decoder(net, classifier.encoder, shape).double()
    inputs = torch.randn(rows, *(shape if len(shape) == 1 else (shape[2], *shape[:2]))).double().requires_grad_()
    processes = None if shared is None else shared.processes
    if shared is not None:
        shared.divide(torch.nn.ModuleList([classifier, decoder]))
    # A copy, such as a teacher, is divided as well, and keeps its own weights.
    classifier = copy.deepcopy(classifier)
    maps = classifier.feature_map(inputs)
    outputs = classifier(inputs)
    # A loss that needs all rows at once: each is compared with all others.
    loss = (outputs @ outputs.T).logsumexp(1).mean() + decoder(maps).square().mean()
    loss.backward()
    weights = [*classifier.named_parameters(), *decoder.named_parameters("decoder")]
    if processes is not None:
        processes.average([value.grad for _, value in weights if value.grad is not None])
    found = {"outputs": outputs, "maps": maps, "loss": loss, "inputs": inputs.grad}
    found |= {name: value.grad for name, value in weights if value.grad is not None}
    found |= {name: value for name, value in classifier.named_buffers() if "running" in name}
    if shared is not None:
        shared.release()
        # What is no longer divided asks nobody: the first process alone may use it.
        assert all(not vars(module).keys() & {"forward", "feature_map"} for module in classifier.modules())
    return {name: value.detach() for name, value in found.items()}


def channels(processes: Processes | None) -> dict[str, torch.Tensor]:
    """Return the running statistics of a channel that has one value alone, of one far from zero, and of another."""
    torch.manual_seed(0)
    inputs = torch.randn(8, 3, 4, 4).double()
    inputs[:, 0] = 0.25
    inputs[:, 1] += 1000
    layer = torch.nn.BatchNorm2d(3).double()
    if processes is None:
        layer(inputs)
    else:
        with SynchronizedStatistics(processes):
            layer(inputs[processes.rank :: processes.count])
    return {name: value for name, value in layer.named_buffers() if "running" in name}


def layers(processes: Processes | None) -> dict[str, np.ndarray]:
    """Return what all passes give, by name."""
    found = {f"channels/{name}": value.numpy() for name, value in channels(processes).items()}
    shared = None if processes is None else SharedRows(processes)
    for net, shape in (("fast", (8, 8, 3)), ("mlp", (5,)), ("notebook-autoencoder", (12, 12, 1))):
        for rows in (8, 7, 2):
            for name, value in passes(net, shape, rows, shared).items():
                found[f"{net}/{rows}/{name}"] = value.numpy()
    return found


def write_layers(processes: Processes, folder: Path) -> None:
    np.savez(folder / f"layers-{processes.rank}.npz", **layers(processes))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined() as processes:
        assert processes is not None
        write_layers(processes, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

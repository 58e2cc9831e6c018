"""What a training run is made with: optimizer, schedule, averaging, precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fewlabels.nets.output import OutputConv2d, OutputLinear
from fewlabels.storage.errors import InputError, nearest
from fewlabels.training.muon import Muon
from fewlabels.training.optimizers import SGD, AdamW, Optimizer

OPTIMIZERS = ("muon", "sgd", "adam")
SCHEDULES = ("triangle", "constant")
_MUON_RATE = 0.24
# Biases, norms and the head under Muon: rates of cifar10-airbench scaled to its batch.
_MUON_COMPANION_RATE = 0.1
_MUON_COMPANION_MOMENTUM = 0.85


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one call of the training loop.

    Parameters
    ----------
    optimizer : {"muon", "sgd", "adam"}
        Muon moves convolution filters and hidden matrices and leaves the rest to SGD.
    learning_rate : float
        Peak rate, > 0. Of Muon, where it moves anything: what it leaves to SGD has a rate and a momentum of its own
        then. In a net with an output layer alone the rate of SGD is in proportion to it.
    momentum : float
        In [0, 1); not used by Adam.
    weight_decay : float
        Of weights, not of biases and norms, >= 0; Muon holds the weights' norm instead.
    schedule : {"triangle", "constant"}
        Triangle: linear warm-up over `warmup` of the steps, then linear to zero.
    warmup : float
        Share of the steps, in [0, 1).
    ema_decay : float
        Of the exponential moving average of the weights that training ends with; 0 for none.
    precision : torch.dtype
        Of the arithmetic under autocast: float32 or bfloat16.
    part : tuple of float
        Where on the schedule this call begins and ends, as shares of it: several calls may share one.
    """

    optimizer: str = "muon"
    learning_rate: float = _MUON_RATE
    momentum: float = 0.6
    weight_decay: float = 0.0
    schedule: str = "triangle"
    warmup: float = 0.2
    ema_decay: float = 0.0
    precision: torch.dtype = torch.float32
    part: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.optimizer, OPTIMIZERS, "optimizer"),
            (self.schedule, SCHEDULES, "schedule"),
        ):
            if value not in known:
                raise InputError(f"unknown {what} {value!r}{nearest(str(value), known)} (known: {', '.join(known)})")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate={self.learning_rate} is not above 0")

    def factor(self, step: int, steps: int) -> float:
        """Return the share of the peak rate that step number `step` of `steps` (from 0) uses."""
        if self.schedule == "constant":
            return 1.0
        begin, end = self.part
        position = begin + (end - begin) * (step + 0.5) / steps
        if position < self.warmup:
            return position / self.warmup
        return (1 - position) / (1 - self.warmup)

    def optimizers(self, nets: nn.Module, rate_factors: dict[str, float]) -> list[Optimizer]:
        """Return the optimizers that together move every trainable parameter of `nets`.

        Parameters
        ----------
        nets : nn.Module
            Modules to train.
        rate_factors : dict of str to float
            Learning rates of the parameters whose name begins so, as a multiple of the others'.
        """
        outputs = {id(p) for p in _output_layers(nets)}
        trained = [(name, parameter) for name, parameter in nets.named_parameters() if parameter.requires_grad]
        for_muon = {id(p) for _, p in trained if p.ndim > 1} - outputs if self.optimizer == "muon" else set()
        rate = self.learning_rate
        if self.optimizer == "muon":
            rate = _MUON_COMPANION_RATE
            if not for_muon:
                # Where Muon moves nothing, the rate that is asked for is that of what is left.
                rate *= self.learning_rate / _MUON_RATE
        # Parameters of the same rates share a group, which moves them with few calls.
        muon: dict[float, list[nn.Parameter]] = {}
        plain: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in trained:
            factor = next((f for prefix, f in rate_factors.items() if name.startswith(prefix)), 1.0)
            matrix = parameter.ndim > 1
            if id(parameter) in for_muon:
                muon.setdefault(self.learning_rate * factor, []).append(parameter)
            else:
                plain.setdefault((rate * factor, self.weight_decay if matrix else 0.0), []).append(parameter)
        result: list[Optimizer] = []
        if muon:
            groups = [{"params": parameters, "lr": peak} for peak, parameters in muon.items()]
            result.append(Muon(groups, lr=self.learning_rate, momentum=self.momentum))
        if plain:
            groups = [{"params": some, "lr": peak, "weight_decay": decay} for (peak, decay), some in plain.items()]
            if self.optimizer == "adam":
                result.append(AdamW(groups))
            else:
                momentum = _MUON_COMPANION_MOMENTUM if self.optimizer == "muon" else self.momentum
                result.append(SGD(groups, momentum=momentum, nesterov=momentum > 0))
        return result


def _output_layers(nets: nn.Module) -> list[nn.Parameter]:
    return [
        p for module in nets.modules() if isinstance(module, OutputLinear | OutputConv2d) for p in module.parameters()
    ]


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype for `precision` "auto", "float32" or "bfloat16" on `device`.

    "auto" is bfloat16 where the hardware multiplies it natively (CUDA from Ampere on, CPUs with AMX or
    AVX-512 BF16), since elsewhere it is emulated and several times slower than float32.
    """
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision in names:
        return names[precision]
    if precision != "auto":
        raise InputError(
            f"unknown precision {precision!r}{nearest(precision, [*names, 'auto'])} (auto, float32, bfloat16)"
        )
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32

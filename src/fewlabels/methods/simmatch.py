"""SimMatch: guesses of class and of which labeled samples are similar correct each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.methods.consistency import consistency
from fewlabels.methods.online import SHORT, OnlineClassifier
from fewlabels.methods.ranges import check_above_zero, check_not_below_zero, check_whole, check_within
from fewlabels.methods.running import RunningMean, aligned, uniform
from fewlabels.methods.session import Session
from fewlabels.methods.supervised import labeled_loss
from fewlabels.nets import Classifier
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.training.batches import Batch


class Embedder(nn.Module):
    """A classifier, and a projection of its features to the unit sphere.

    Parameters
    ----------
    classifier : Classifier
        Is called when this is.
    size : int
        Length of an embedding.
    """

    def __init__(self, classifier: Classifier, size: int) -> None:
        super().__init__()
        self.classifier = classifier
        width = classifier.encoder.feature_size
        # As wide as the features it would cost more than all else on those of a large pretrained net.
        hidden = min(width, 2 * size)
        self.projection = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, size))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return class logits, (batch, classes)."""
        logits: Tensor = self.classifier(inputs)
        return logits

    def both(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and embeddings of length one, float32."""
        features = self.classifier.features(inputs)
        logits: Tensor = self.classifier.head(features)
        return logits.float(), F.normalize(self.projection(features).float(), dim=1)


class LabeledBank:
    """An embedding and the class of every labeled sample.

    Parameters
    ----------
    targets : Tensor
        Class of each labeled sample, (n,).
    classes, size : int
        Number of classes, length of an embedding.
    decay : float
        Share of an old embedding that stays when its sample is seen again, in [0, 1).
    generator : torch.Generator
        For the embeddings of samples not seen yet.
    """

    def __init__(self, targets: Tensor, classes: int, size: int, decay: float, generator: torch.Generator) -> None:
        self.targets, self.decay = targets, decay
        start = torch.empty(len(targets), size, device=targets.device).normal_(generator=generator)
        self.embeddings = F.normalize(start, dim=1)
        self.of_class = F.one_hot(targets, classes).float()

    @torch.no_grad()
    def update(self, rows: Tensor, embeddings: Tensor) -> None:
        """Move the embeddings of some samples towards new ones."""
        moved = F.normalize(torch.lerp(embeddings, self.embeddings[rows], self.decay), dim=1)
        # Not in place: a loss whose gradient is still to come may have read the old ones.
        self.embeddings = self.embeddings.index_copy(0, rows, moved)

    def similarities(self, embeddings: Tensor, temperature: float) -> Tensor:
        """Return how similar embeddings are to each labeled sample, as logits, (batch, n)."""
        return embeddings @ self.embeddings.T / temperature


@dataclass
class _Kept:
    """What SimMatch keeps from step to step."""

    bank: LabeledBank
    seen: RunningMean
    prior: Tensor


@dataclass(kw_only=True, eq=False, repr=False)
class SimMatch(OnlineClassifier):
    """FixMatch, with similarities to the labeled samples that should agree between views as classes do.

    A projection head embeds every view; embeddings z_i of the labeled samples are kept. For a pool sample u let p
    be the aligned class probabilities of its weak view, and q_i the softmax over labeled samples i of z(w(u)) z_i /
    T. Each corrects the other:

        q^_i = q_i p_(y_i) / sum_j q_j p_(y_j),    p^_c = alpha p_c + (1 - alpha) sum_(i: y_i = c) q_i

    and with weak views w, strong views s and the similarities q_s of the strong view the loss is

        H(y, p(v(x))) + mu 1[max p >= tau] H(p^, p(s(u))) + nu H(q^, q_s)

    No gradient flows through the weak view.

    `preset="short"` is for minutes, as FixMatch's.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is mu.

    Parameters
    ----------
    threshold : float
        tau, in [0, 1).
    similarity_weight : float
        nu, at least 0.
    temperature : float
        T, > 0.
    smoothing : float
        alpha, in [0, 1].
    embedding_size : int
        Length of an embedding, at least 2.
    bank_decay : float
        Share of a labeled sample's old embedding that stays when it is seen again, in [0, 1).
    mean_decay : float
        Of the running mean of the guesses that alignment uses, in [0, 1).

    References
    ----------
    Zheng et al., "SimMatch: semi-supervised learning with similarity matching", 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = SimMatch(preset="short", steps=30, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"short": SHORT | {"threshold": 0.8, "mean_decay": 0.99}}

    threshold: float = 0.95
    similarity_weight: float = 1.0
    temperature: float = 0.1
    smoothing: float = 0.9
    embedding_size: int = 128
    bank_decay: float = 0.7
    mean_decay: float = 0.999

    def _new_nets(self, session: Session, network: Classifier) -> nn.Module:
        session.seed_weights()
        return Embedder(network, self.embedding_size).to(session.device)

    def _new_state(self, session: Session) -> Any:
        generator = torch.Generator(session.device).manual_seed(session.next_seed())
        return _Kept(
            LabeledBank(session.labeled.targets, session.classes, self.embedding_size, self.bank_decay, generator),
            RunningMean(uniform(session.classes, session.device), self.mean_decay),
            session.prior(),
        )

    def loss(self, nets: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy on labeled samples, and of classes and similarities on the pool's."""
        assert isinstance(nets, Embedder)
        if batch.unlabeled is None:
            return {"supervised": labeled_loss(nets, batch, view=self.view, label_smoothing=self.label_smoothing)}
        labeled_logits, embeddings = nets.both(getattr(batch.views, self.view)(batch.labeled))
        supervised = F.cross_entropy(labeled_logits, batch.targets, label_smoothing=self.label_smoothing)
        with frozen_statistics(nets):
            with torch.no_grad():
                logits, embedded = nets.both(batch.views.weak(batch.unlabeled))
            strong_logits, strong_embedded = nets.both(batch.views.strong(batch.unlabeled))
        classes, similar, confidences = self._guess(logits, embedded)
        sure = (confidences >= self.threshold).to(classes.dtype)
        batch.admitted = sure.mean()
        strong_similar = self._state.bank.similarities(strong_embedded, self.temperature)
        similarity = -(similar * strong_similar.log_softmax(1)).sum(1).mean()
        losses = {
            "supervised": supervised,
            "consistency": self.unlabeled_weight * consistency(strong_logits, classes, sure),
            "similarity": self.similarity_weight * similarity,
        }
        assert batch.labeled_rows is not None
        self._state.bank.update(batch.labeled_rows, embeddings.detach())
        return losses

    @torch.no_grad()
    def _guess(self, logits: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return corrected class probabilities, corrected similarities, and the confidence before correction."""
        found = logits.softmax(1)
        seen = self._state.seen.update(found.mean(0))
        found = aligned(found, self._state.prior, seen)
        bank = self._state.bank
        similar = bank.similarities(embedded, self.temperature).softmax(1)
        corrected = similar * found[:, bank.targets]
        corrected = corrected / corrected.sum(1, keepdim=True).clamp_min(1e-12)
        classes = self.smoothing * found + (1 - self.smoothing) * (similar @ bank.of_class)
        return classes, corrected, found.amax(1)

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "threshold", "bank_decay", "mean_decay")
        check_within(self, "[0, 1]", "smoothing")
        check_above_zero(self, "temperature")
        check_not_below_zero(self, "similarity_weight")
        check_whole(self, 2, "embedding_size")

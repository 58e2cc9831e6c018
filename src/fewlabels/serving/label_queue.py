"""Which image each person labels next, and what became of those before."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fewlabels.storage.errors import InputError

# A page that is closed gives back what it shows. One that could not say so is waited for so many seconds.
_HELD = 600.0
_PEOPLE = 1000
_UNDONE_AT_MOST = 100


@dataclass(frozen=True)
class _Action:
    name: str
    # The label that was there before.
    before: str | None = None
    is_skip: bool = False


@dataclass
class _Person:
    shown: list[str] = field(default_factory=list)
    seen_at: float = 0.0
    # What they labeled and skipped.
    done: list[_Action] = field(default_factory=list)


class LabelQueue:
    """Hands out images to label in the order of their use, no image to two people at a time.

    Every method may be called from several threads. A label is written before `label` returns.

    Parameters
    ----------
    ranking : sequence of str
        Names of the images, the most useful first.
    classes : sequence of str
        What they may be labeled as.
    write : callable
        Is called with name and class (None: the label is taken back) and returns when that is on the disk.
    labels : dict of str to str, optional
        Labels that were given before.
    known : sequence of str
        Images that may be labeled beside those of the ranking.
    others : sequence of str
        Images that nobody is asked for: labels of theirs are counted alone.
    batch : int
        How many images each person sees ahead.
    clock : callable, optional
        Returns the time in seconds.

    Examples
    --------
    >>> lines = []
    >>> queue = LabelQueue(["a", "b", "c"], ["cat", "dog"], lambda *line: lines.append(line), batch=2)
    >>> queue.batch("me")
    ['a', 'b']
    >>> queue.label("me", "a", "dog")
    >>> queue.batch("me"), lines
    (['b', 'c'], [('a', 'dog')])
    """

    def __init__(
        self,
        ranking: Sequence[str],
        classes: Sequence[str],
        write: Callable[[str, str | None], None],
        *,
        labels: dict[str, str] | None = None,
        known: Sequence[str] = (),
        others: Sequence[str] = (),
        batch: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._ranking = list(dict.fromkeys(ranking))
        self._known = {*self._ranking, *known}
        self._classes = tuple(dict.fromkeys(classes))
        self._write, self._clock, self._batch = write, clock, batch
        self._others = set(others) - self._known
        self._take(labels or {})
        self._skipped: dict[str, None] = {}
        self._people: OrderedDict[str, _Person] = OrderedDict()
        self._next = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """What images may be labeled as; a class keeps its place for good."""
        return self._classes

    def add_classes(self, classes: Sequence[str]) -> None:
        """Let images be labeled as these too, which come after those before."""
        with self._lock:
            self._classes = tuple(dict.fromkeys([*self._classes, *classes]))

    @property
    def labeled(self) -> int:
        """How many images have a label."""
        return len(self._labels) + len(self._counted)

    @property
    def left(self) -> int:
        """How many have none."""
        return len(self._known) - len(self._labels)

    def counts(self) -> dict[str, int]:
        """Return how many images have each class's label."""
        with self._lock:
            found = dict.fromkeys(sorted(self._classes), 0)
            for label in (*self._labels.values(), *self._counted.values()):
                found[label] = found.get(label, 0) + 1
            return found

    def labels(self) -> dict[str, str]:
        """Return the label of each image that has one."""
        with self._lock:
            return dict(self._labels)

    def read_anew(self, read: Callable[[], dict[str, str]]) -> None:
        """Take the labels from where they are written to, which a person may have edited.

        Parameters
        ----------
        read : callable
            Returns the label of each image that has one; no label is written meanwhile.
        """
        with self._lock:
            before = self._labels
            self._take(read())
            self._next = 0
            # One that was skipped may have its label by now, and is not asked for again.
            self._skipped = {name: None for name in self._skipped if name not in self._labels}
            for who in self._people.values():
                # What was edited is not theirs any more to take back.
                who.done = [one for one in who.done if self._labels.get(one.name) == before.get(one.name)]

    def batch(self, person: str) -> list[str]:
        """Return the images that a person is to label, the next one first; empty where all are labeled or held.

        Parameters
        ----------
        person : str
            Whatever tells people apart.
        """
        with self._lock:
            return list(self._filled(person).shown)

    def label(self, person: str, name: str, label: str) -> None:
        """Give an image a label; a later one counts, and nothing is lost once this returns.

        Raises
        ------
        InputError
            If there is no such image or class.
        """
        if name not in self._known:
            raise InputError("this image is not in the pool any more; reload the page")
        if label not in self._classes:
            raise InputError(f"there is no class {label!r}; reload the page")
        # Two labels of one image must come in the same order here as on the disk.
        with self._lock:
            self._write(name, label)
            who = self._person(person)
            # Of two that one gave oneself, both are taken back.
            before = next((one.before for one in who.done if one.name == name), self._labels.get(name))
            self._labels[name] = label
            self._skipped.pop(name, None)
            for other in self._people.values():
                if name in other.shown:
                    other.shown.remove(name)
                other.done = [one for one in other.done if one.name != name]  # no more theirs to take back
            who.done = [*who.done, _Action(name, before)][-_UNDONE_AT_MOST:]

    def skip(self, person: str, name: str) -> None:
        """Put an image behind all others."""
        with self._lock:
            who = self._person(person)
            if name in who.shown:
                who.shown.remove(name)
            if name in self._known and name not in self._labels:
                self._skipped.pop(name, None)
                self._skipped[name] = None
                done = [one for one in who.done if one.name != name]
                who.done = [*done, _Action(name, is_skip=True)][-_UNDONE_AT_MOST:]

    def undo(self, person: str) -> str | None:
        """Take back a person's last label or skip; return the image's name, None where there is none.

        The image is shown again, unless it had a label before, of somebody else or another day: that counts again.
        """
        with self._lock:
            who = self._person(person)
            if not who.done:
                return None
            last = who.done[-1]
            name = last.name
            if not last.is_skip:
                self._write(name, last.before)
            who.done.pop()
            self._skipped.pop(name, None)
            self._next = 0
            if last.before is not None:
                self._labels[name] = last.before
                return name
            self._labels.pop(name, None)
            who.shown = [name, *(other for other in who.shown if other != name)][: self._batch]
        return name

    def leave(self, person: str) -> None:
        """Give back what a person was shown: its page was closed, or cannot be reached for a moment."""
        with self._lock:
            # What it labeled is its own to take back still.
            if person in self._people:
                self._people[person].shown = []

    def rank(self, ranking: Sequence[str]) -> None:
        """Go on in another order, such as that of a model that was trained again; what people see stays."""
        with self._lock:
            self._ranking = list(dict.fromkeys(ranking))
            self._known |= set(self._ranking)
            self._next = 0

    def _take(self, labels: dict[str, str]) -> None:
        self._labels = {name: label for name, label in labels.items() if name in self._known}
        self._counted = {name: label for name, label in labels.items() if name in self._others}

    def _filled(self, person: str) -> _Person:
        who = self._person(person)
        now = self._clock()
        others = [one for one in self._people.values() if one is not who and now - one.seen_at < _HELD]
        held = {name for other in others for name in other.shown}
        # Of somebody who comes back after a while, others may have what was theirs.
        who.shown = [name for name in who.shown if name not in self._labels and name not in held]
        if len(who.shown) >= self._batch:
            return who
        held.update(who.shown)
        # What stands before has labels: those are many, and looked through once.
        while self._next < len(self._ranking) and self._ranking[self._next] in self._labels:
            self._next += 1
        for row in range(self._next, len(self._ranking)):
            name = self._ranking[row]
            if name not in self._labels and name not in held and name not in self._skipped:
                who.shown.append(name)
                if len(who.shown) >= self._batch:
                    return who
        for name in list(self._skipped):
            if len(who.shown) >= self._batch:
                break
            if name not in held:
                who.shown.append(name)
        return who

    def _person(self, person: str) -> _Person:
        who = self._people.setdefault(person, _Person())
        self._people.move_to_end(person)
        who.seen_at = self._clock()
        while len(self._people) > _PEOPLE:
            self._people.popitem(last=False)
        return who

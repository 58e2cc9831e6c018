"""The tab in which labels are given and the model is trained again, in Gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

import gradio as gr

from fewlabels.serving.desk import Desk
from fewlabels.serving.panels import about_panel, label_panel, training_panel
from fewlabels.serving.service import Service
from fewlabels.serving.trouble import in_words
from fewlabels.storage.errors import InputError
from fewlabels.storage.visible import visible

# So many buttons can be looked over; more classes are chosen from a list that can be searched.
_MOST_BUTTONS = 40
# For classes that are new in a model that was trained again: the layout is made once.
_SPARE_BUTTONS = 8
_NO_CLASSES = "What are the images of? Add the classes below, two at least; then click the class of each image."
_KEYS = "1234567890"
# Names of files may be no text, which a request cannot hold; in addresses such bytes are written out.
_BYTES = "surrogateescape"
# Once a class is added, and its field empty, keys give labels again.
_LEAVE_EMPTY = "(typed) => { if (!typed) document.activeElement.closest('#fl-new-class *')?.blur(); }"
_STARTED_AGAIN = "the server was started again; reload the page"
# Seconds after which a page looks again: at a training that runs, and whether another page has begun one.
_SOON, _LATER = 1.0, 10.0
# Does something for a person with the image that is shown; returns the image and class that were saved (None: taken
# back), if any were.
Action = Callable[[str, str], tuple[str, str | None] | None]


def label_tab(page: gr.Blocks, service: Service, about: gr.HTML) -> None:
    """Lay the tab out.

    Parameters
    ----------
    page : Blocks
        Whose tab it is.
    service : Service
        What answers; has a desk.
    about : HTML
        The part of the page that tells which model answers.
    """
    desk = service.desk
    assert desk is not None
    panel = gr.HTML(elem_id="fl-label")
    # The image that is shown goes along with each click: one that comes late is a label of what the person saw.
    current = gr.Textbox(visible="hidden", elem_id="fl-current", show_label=False)
    # What a page was laid out with, it brings along too: after a new start the same button may be another class.
    opening = gr.Textbox(desk.opening, visible="hidden", elem_id="fl-opening", show_label=False)
    classes, known, anew_classes = _buttons(desk, panel, current, opening)
    if desk.takes_new_classes:
        _adding(desk, panel, current, opening, classes, known, anew_classes)
    start = gr.Button(_train(service), variant="primary", elem_id="fl-train")
    training = gr.HTML(elem_id="fl-training")
    # Why the last click trained nothing, and how far a training was then: it holds until that changes.
    refused = gr.State(("", ""))
    timer = gr.Timer(_SOON, active=False)
    watched = [training, panel, current, timer, about, start, *classes, *known]

    def looked(shown: str, person: str, known: Sequence[int], refused: Sequence[str] = ("", "")) -> tuple[Any, ...]:
        now = service.retraining.progress()
        note = refused[0] if refused[1] == now.state else ""
        # An image that a person looks at is not taken from under their hands.
        anew = (gr.skip(), gr.skip()) if shown else _shown(desk, person)
        busy = now.state == "running" or not (desk.ranked or desk.trouble)
        return (
            training_panel(now, note, has_model=service.model is not None),
            *anew,
            gr.Timer(_SOON if busy else _LATER, active=True),
            about_panel(service.model, service.title),
            gr.Button(_train(service)),
            *anew_classes(*known),
        )

    def opened(request: gr.Request, *known: int) -> tuple[Any, ...]:
        return looked("", str(request.session_hash), known)

    def ticked(shown: str, refused: Sequence[str], request: gr.Request, *known: int) -> tuple[Any, ...]:
        return looked(shown, str(request.session_hash), known, refused)

    def trained(shown: str, request: gr.Request, *known: int) -> tuple[Any, ...]:
        note = ""
        try:
            service.train()
        except (InputError, OSError) as error:
            note = in_words(error)
        refused = note, service.retraining.progress().state
        return refused, *looked(shown, str(request.session_hash), known, refused)

    def left(request: gr.Request) -> None:
        desk.queue.leave(str(request.session_hash))

    options: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 8}
    page.load(opened, known, watched, api_name="open", **options)
    timer.tick(ticked, [current, refused, *known], watched, api_name="look", **options)
    page.unload(left)
    start.click(trained, [current, *known], [refused, *watched], api_name="train", **options)


def _train(service: Service) -> str:
    return "Train with these labels" if service.model is None else "Train again with these labels"


def class_keys(names: Sequence[str]) -> dict[str, str]:
    """Return the keys of classes: the digit itself where a class is one, those that are left for the first others.

    Examples
    --------
    >>> class_keys(["cat", "dog"]), class_keys(["0", "7", "none"])
    ({'cat': '1', 'dog': '2'}, {'0': '0', '7': '7', 'none': '1'})
    """
    # A person who types 2 means the class 2, whatever other classes there are.
    digits = {name: name for name in names if name in set(_KEYS)}
    left = (key for key in _KEYS if key not in digits)
    return digits | dict(zip((name for name in names if name not in digits), left, strict=False))


def keys_with_new(first: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return the keys of classes of which some came while the page was open: those before keep theirs.

    Examples
    --------
    >>> keys_with_new(["cat", "dog"], ["cat", "dog", "1", "none", "4"])
    {'cat': '1', 'dog': '2', 'none': '3', '4': '4'}
    """
    keys = class_keys(first)
    for name in names:
        left = [key for key in _KEYS if key not in keys.values()]
        wanted = [name] if name in set(_KEYS) else left
        if name not in keys and left and wanted[0] in left:
            keys[name] = wanted[0]
    return keys


def number_meant(given: int | str | None, names: Sequence[str]) -> int | None:
    """Return the number of the class that was chosen or typed; None where what was typed may be several, or none.

    Parameters
    ----------
    given : int or str or None
        The number of a class, or a part of one's name.
    names : sequence of str
        The classes.

    Examples
    --------
    >>> names = ["cat 1", "cat 12", "dog"]
    >>> [number_meant(given, names) for given in (2, "DO", "cat 1", "cat", "")]
    [2, 2, 0, None, None]
    """
    if not isinstance(given, str):
        return given if isinstance(given, int) else None
    typed, called = given.strip().casefold(), [visible(name).casefold() for name in names]
    whole = [number for number, name in enumerate(called) if typed == name]
    left = whole or [number for number, name in enumerate(called) if typed in name]
    return left[0] if len(left) == 1 else None


def _buttons(
    desk: Desk, panel: gr.HTML, current: gr.Textbox, opening: gr.Textbox
) -> tuple[list[gr.Button | gr.Dropdown], list[gr.Number], Callable[..., list[Any]]]:
    """Lay out what labels, skips and takes back.

    Returns what new classes are shown by, what a page brings along to tell which it has, and what shows new ones.
    """
    options: dict[str, Any] = {
        "outputs": [panel, current],
        "concurrency_id": "label",
        "concurrency_limit": 8,
        "show_progress": "hidden",
        "trigger_mode": "multiple",
    }

    def give(number: int) -> Action:
        def action(person: str, shown: str) -> tuple[str, str | None] | None:
            if not shown:
                # A hand in rhythm, after the last image.
                return None
            label = "".join(desk.queue.classes[number : number + 1])
            desk.queue.label(person, shown, label)
            return shown, label

        return action

    def skip(person: str, shown: str) -> None:
        desk.queue.skip(person, shown)

    def undo(person: str, shown: str) -> tuple[str, str | None]:
        del shown
        name = desk.queue.undo(person)
        if name is None:
            raise InputError("there is no label of yours to take back")
        return name, desk.queue.labels().get(name)

    first = desk.queue.classes
    laid: list[gr.Button | gr.Dropdown] = []
    known: list[gr.Number] = []
    if len(first) <= _MOST_BUTTONS:
        spare = max(_SPARE_BUTTONS, _MOST_BUTTONS - len(first)) if desk.takes_new_classes else _SPARE_BUTTONS
        with gr.Row(elem_id="fl-buttons"):
            for number in range(len(first) + spare):
                button = gr.Button(**_face(number, first, first), elem_id=f"fl-class-{number}", min_width=100)
                button.click(_answering(desk, give(number)), [current, opening], api_name=f"label_{number}", **options)
                laid.append(button)
        del laid[: len(first)]
    else:
        with gr.Row():
            choice = gr.Dropdown(
                _choices(first),
                # Gradio would choose the first class for whoever has chosen none,
                value=None,
                # and put the one before in the place of what is typed, once the field is left.
                allow_custom_value=True,
                label="Class",
                elem_id="fl-choice",
            )
            laid.append(choice)
            button = gr.Button("Save this class", elem_id="fl-save")
        known.append(gr.Number(len(first), precision=0, visible="hidden", elem_id="fl-known", show_label=False))

        def chosen(shown: str, given: int | str | None, opened: str, request: gr.Request) -> tuple[Any, Any]:
            number = number_meant(given, desk.queue.classes)
            if number is None:
                return _shown(desk, str(request.session_hash), note="choose a class first")
            return _answering(desk, give(number))(shown, opened, request)

        button.click(chosen, [current, choice, opening], api_name="label", **options)
    with gr.Row():
        for name, answer in (("skip", _answering(desk, skip)), ("undo", _answering(desk, undo, "Not taken back"))):
            button = gr.Button(f"{name.capitalize()} ({name[0]})", elem_id=f"fl-{name}")
            button.click(answer, [current, opening], api_name=name, **options)

    def anew(*had: int) -> list[Any]:
        now = desk.queue.classes
        if len(first) > _MOST_BUTTONS:
            # A list that is sent again is open in full, whatever is being typed to search it.
            return [gr.skip(), gr.skip()] if had == (len(now),) else [gr.Dropdown(_choices(now)), len(now)]
        numbers = range(len(first), len(first) + len(laid))
        return [gr.Button(**_face(number, now, first)) if number < len(now) else gr.skip() for number in numbers]

    return laid, known, anew


def _adding(
    desk: Desk,
    panel: gr.HTML,
    current: gr.Textbox,
    opening: gr.Textbox,
    laid: list[gr.Button | gr.Dropdown],
    known: list[gr.Number],
    anew: Callable[..., list[Any]],
) -> None:
    """Lay out what adds a class; `anew` says how new ones are shown by what is laid out for them."""
    room = len(desk.queue.classes) + len(laid)
    with gr.Row(elem_id="fl-adding"):
        name = gr.Textbox(
            placeholder="Another class",
            show_label=False,
            label="Another class",
            container=False,
            max_lines=1,
            elem_id="fl-new-class",
        )
        button = gr.Button("Add class", elem_id="fl-add-class", min_width=100, scale=0)

    def added(given: str, opened: str, request: gr.Request, *had: int) -> tuple[Any, ...]:
        person = str(request.session_hash)
        try:
            if opened != desk.opening:
                raise InputError(_STARTED_AGAIN)
            if isinstance(laid[0], gr.Button) and len(desk.queue.classes) >= room:
                raise InputError("the page has no room for more buttons; start the server again, and there is")
            desk.add_class(str(given or ""))
        except InputError as error:
            return gr.skip(), *_shown(desk, person, note=f"Not added: {error}"), *anew(*had)
        return "", *_shown(desk, person), *anew(*had)

    gr.on(
        [button.click, name.submit],
        added,
        [name, opening, *known],
        [name, panel, current, *laid, *known],
        api_name="add_class",
        concurrency_id="label",
        concurrency_limit=8,
        show_progress="hidden",
    ).then(None, name, None, js=_LEAVE_EMPTY)


def _choices(names: Sequence[str]) -> list[tuple[str, int]]:
    return [(visible(name), number) for number, name in enumerate(names)]


def _face(number: int, names: Sequence[str], first: Sequence[str]) -> dict[str, Any]:
    """Return how the button of a class looks; those that were there first keep their keys, whatever came since."""
    if number >= len(names):
        return {"value": "", "visible": False}
    name = names[number]
    key = keys_with_new(first, names).get(name)
    return {
        # A digit that is a class and the key of another looks as if it were its own.
        "value": visible(name)
        if key == name or (key is None and name not in set(_KEYS))
        else f"{key or ''} · {visible(name)}".strip(),
        "elem_classes": [] if key is None else [f"fl-key-{key}"],
        "visible": True,
    }


def _answering(desk: Desk, action: Action, failed: str = "Not saved") -> Callable[..., tuple[Any, Any]]:
    def answered(shown: str, opened: str, request: gr.Request) -> tuple[Any, Any]:
        person = str(request.session_hash)
        if opened != desk.opening:
            return _shown(desk, person, note=f"{failed}: {_STARTED_AGAIN}")
        try:
            # Whatever a request may bring in place of a name: it is no image.
            return _shown(desk, person, last=action(person, unquote(str(shown), errors=_BYTES)))
        except (InputError, OSError) as error:
            return _shown(desk, person, note=f"{failed}: {in_words(error)}")

    return answered


def _shown(desk: Desk, person: str, **what: Any) -> tuple[str, str]:
    batch = desk.batch(person)
    if not desk.queue.classes:
        what.setdefault("note", _NO_CLASSES)
    panel = label_panel(desk.queue, batch, ranked=desk.ranked, trouble=desk.trouble, **what)
    return panel, quote(batch[0].name, safe="/[]", errors=_BYTES) if batch else ""

"""The page as a person uses it: a real server, a real browser."""

import io
import re

import pytest
from served import CLASSES, photo, serving

from fewlabels.data import read_labels

pytestmark = pytest.mark.usefixtures("chromium")
# Of Gradio's own code; nothing here calls it.
_GRADIOS = {"Method not implemented."}


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    import os
    import shutil

    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(trained / "model", folder / "model")
    before = os.environ.get("FEWLABELS_CACHE")
    os.environ["FEWLABELS_CACHE"] = str(trained / "cache")
    with serving(folder) as running:
        yield running
    if before is None:
        del os.environ["FEWLABELS_CACHE"]
    else:
        os.environ["FEWLABELS_CACHE"] = before


@pytest.fixture
def tab(server, new_tab):
    """The page, opened; asks at the end that nothing was complained of and nobody else was asked for anything."""
    tab = new_tab(viewport={"width": 1000, "height": 900})
    # A machine that does other things beside takes its time.
    tab.page.set_default_timeout(180_000)
    tab.page.goto(server.address)
    tab.page.wait_for_selector("#fl-upload input[type=file]", state="attached")
    yield tab
    assert [error for error in tab.errors if error not in _GRADIOS] == []
    others = [address for address in tab.requests if not address.startswith((server.address, "data:", "blob:"))]
    assert others == []


def shown(tab):
    return tab.page.get_attribute(".fl-current", "data-name")


def after(tab, action):
    """Do something, and return which image is shown when that has changed."""
    before = shown(tab)
    action()
    tab.page.wait_for_function("before => document.querySelector('.fl-current')?.dataset.name !== before", arg=before)
    return before


def open_labels(tab):
    tab.page.get_by_role("tab", name="Label").click()
    tab.page.wait_for_selector(".fl-current img")


def test_an_image_is_uploaded_and_classified(tab, tmp_path):
    photo("red", 3).save(tmp_path / "red.png")
    tab.page.set_input_files("#fl-upload input[type=file]", tmp_path / "red.png")
    tab.page.wait_for_selector(".fl-first")
    rows = tab.page.query_selector_all(".fl-classes tbody tr")
    names = [row.query_selector("th").inner_text() for row in rows]
    assert sorted(names) == sorted(CLASSES)
    shares = [float(row.query_selector("b").inner_text().strip("<> %")) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert tab.page.inner_text(".fl-first").startswith(names[0])
    assert len(tab.page.query_selector_all(".fl-near img")) == 6
    assert "16×16 pixels" in tab.page.inner_text(".fl-seen")


def test_pasted_images_are_classified_one_after_the_other(tab):
    before = ""
    for name in ("red", "blue"):
        content = io.BytesIO()
        photo(name, 3).save(content, "PNG")
        tab.page.evaluate(
            """bytes => {
                const pasted = new DataTransfer();
                pasted.items.add(new File([new Uint8Array(bytes)], "image.png", {type: "image/png"}));
                const event = new ClipboardEvent("paste", {clipboardData: pasted, bubbles: true, cancelable: true});
                document.body.dispatchEvent(event);
            }""",
            list(content.getvalue()),
        )
        seen = "document.querySelector('.fl-seen img')?.src"
        tab.page.wait_for_function(f"before => ({seen} ?? before) !== before", arg=before, timeout=60_000)
        before = tab.page.evaluate(seen)


def test_what_is_no_image_is_said_to_be_none(tab, tmp_path):
    (tmp_path / "no.png").write_bytes(b"MZ no image")
    tab.page.set_input_files("#fl-upload input[type=file]", tmp_path / "no.png")
    assert "not an image" in tab.page.wait_for_selector("#fl-answer .fl-note").inner_text()
    # The browser could not draw it either, and says so.
    tab.errors[:] = [error for error in tab.errors if "Failed to load resource" not in error]


def test_labels_by_click_and_key_are_on_the_disk_when_the_page_says_so(tab, server):
    open_labels(tab)
    assert tab.page.get_by_role("button", name="1 · <b>green").is_visible()
    number = len(server.labels)
    given = {after(tab, lambda: tab.page.click("#fl-class-0")): "<b>green"}
    given[after(tab, lambda: tab.page.keyboard.press("2"))] = "blue"
    given[after(tab, lambda: tab.page.keyboard.press("3"))] = "red"
    assert "Saved" in tab.page.inner_text(".fl-count")
    assert len(server.labels) == number + 3
    skipped = after(tab, lambda: tab.page.keyboard.press("s"))
    assert skipped not in given
    after(tab, lambda: tab.page.keyboard.press("u"))
    assert shown(tab) == skipped
    assert len(server.labels) == number + 3
    after(tab, lambda: tab.page.keyboard.press("u"))
    last = list(given)[-1]
    assert shown(tab) == last
    assert "Taken back" in tab.page.inner_text(".fl-count")
    after(tab, lambda: tab.page.keyboard.press("2"))
    found = read_labels(server.folder / "model-labels.csv").classes
    assert {name: found[name] for name in given} == {**given, last: "blue"}
    assert skipped not in found


def test_what_changes_is_told_to_a_screen_reader_in_a_place_that_stays(tab, tmp_path):
    # As a screen reader hears it: what is set within an element that was there, once.
    tab.page.evaluate(
        "window.heard = []; new MutationObserver(() => heard.push(document.querySelector('[role=status].fl-hidden')"
        ".textContent)).observe(document.querySelector('[role=status].fl-hidden'), {childList: true})"
    )
    photo("red", 3).save(tmp_path / "red.png")
    tab.page.set_input_files("#fl-upload input[type=file]", tmp_path / "red.png")
    tab.page.wait_for_selector(".fl-first")
    first = tab.page.inner_text(".fl-first")
    open_labels(tab)
    labeled = after(tab, lambda: tab.page.keyboard.press("1")).rsplit("/")[-1]
    tab.page.wait_for_function("heard.length >= 3")
    tab.page.wait_for_timeout(2500)
    answer, opened, saved = tab.page.evaluate("heard")
    assert answer.startswith(first + ". ")
    assert opened == f"Image to label: {labeled}"
    assert saved == f"{labeled} is <b>green. Image to label: {shown(tab).rsplit('/')[-1]}"
    after(tab, lambda: tab.page.keyboard.press("u"))


def test_a_double_click_labels_one_image(tab, server):
    open_labels(tab)
    number = len(server.labels)
    tab.page.hover("#fl-class-0")
    for count in (1, 2):
        # By the second click the next image is there.
        before = shown(tab)
        tab.page.mouse.down(click_count=count)
        tab.page.mouse.up(click_count=count)
        tab.page.wait_for_timeout(1000)
        assert (shown(tab) != before) == (count == 1)
    assert len(server.labels) == number + 1
    after(tab, lambda: tab.page.dblclick("#fl-undo"))
    tab.page.wait_for_timeout(1000)
    assert len(server.labels) == number + 2
    # Keys are no clicks, however fast they follow each other.
    for key in "12":
        after(tab, lambda key=key: tab.page.keyboard.press(key))
    assert len(server.labels) == number + 4


def test_a_key_that_is_held_down_labels_one_image(tab, server):
    open_labels(tab)
    number = len(server.labels)
    tab.page.focus("#fl-class-1")

    def hold():
        for _ in range(8):
            # As a keyboard does: the first goes down, those that follow are repeats.
            tab.page.keyboard.down("Enter")
            tab.page.wait_for_timeout(150)

    after(tab, hold)
    hold()
    tab.page.keyboard.up("Enter")
    tab.page.wait_for_timeout(1000)
    assert len(server.labels) == number + 1
    assert tab.page.evaluate("document.activeElement.id") == "fl-class-1"


def test_a_tab_key_that_is_held_down_moves_on(tab, server):
    open_labels(tab)
    tab.page.focus("#fl-class-0")
    for _ in range(2):
        tab.page.keyboard.down("Tab")
    tab.page.keyboard.up("Tab")
    assert tab.page.evaluate("document.activeElement.id") == "fl-class-2"


def test_keys_that_are_typed_ahead_are_labels_of_the_images_that_come_next(tab, server):
    open_labels(tab)
    number = len(server.labels)
    ahead = [shown(tab).rsplit("/")[-1], *tab.page.eval_on_selector_all(".fl-ahead img", "all => all.map(i => i.alt)")]
    for key in "12312":
        tab.page.keyboard.press(key)
    tab.page.wait_for_function(
        "name => document.querySelector('.fl-current').dataset.name.endsWith(name)", arg=f"/{ahead[5]}"
    )
    names = ("<b>green", "blue", "red", "<b>green", "blue")
    written = [line.rsplit(",", 1) for line in server.labels[number:]]
    assert [(name.rsplit("/")[-1], label) for name, label in written] == list(zip(ahead[:5], names, strict=True))
    # A click is meant for what it is seen on.
    after(
        tab,
        lambda: tab.page.evaluate("for (const one of [0, 1, 2]) document.querySelector(`#fl-class-${one}`).click()"),
    )
    tab.page.wait_for_timeout(1000)
    assert len(server.labels) == number + 6


def test_keys_do_not_label_from_the_other_tab(tab, server):
    open_labels(tab)
    number = len(server.labels)
    tab.page.get_by_role("tab", name="Classify").click()
    tab.page.wait_for_selector("#fl-class-0", state="hidden")
    tab.page.keyboard.press("1")
    tab.page.wait_for_timeout(500)
    assert len(server.labels) == number


def test_two_people_label_different_images(tab, server, new_tab):
    open_labels(tab)
    other = new_tab()
    other.page.goto(server.address)
    open_labels(other)
    assert shown(tab) != shown(other)


def test_training_again_shows_its_progress_and_ends_with_the_new_model(tab, server, new_tab):
    open_labels(tab)
    after(tab, lambda: tab.page.keyboard.press("1"))
    before = tab.page.inner_text("#fl-about")
    other = new_tab()
    other.page.goto(server.address)
    open_labels(other)
    tab.page.click("#fl-train")
    tab.page.wait_for_selector("#fl-training progress")
    tab.page.click("#fl-train")
    tab.page.wait_for_function("document.querySelector('#fl-training').innerText.includes('running already')")
    # While it runs, labeling goes on.
    after(tab, lambda: tab.page.keyboard.press("2"))
    tab.page.wait_for_function(
        "/of 6/.test(document.querySelector('#fl-training').innerText) || "
        "document.querySelector('#fl-training').innerText.includes('answers')"
    )
    tab.page.wait_for_function("document.querySelector('#fl-training').innerText.includes('The new model answers')")
    text = tab.page.inner_text("#fl-training")
    assert re.search(r"\d+ labels, .* on \d+ held-out images", text)
    assert (server.folder / "model.before" / "config.json").is_file()
    assert "running already" not in text
    assert tab.page.inner_text("#fl-about").split("\n")[0] == before.split("\n")[0]
    # Who has begun no training hears of it too.
    other.page.wait_for_function("document.querySelector('#fl-training').innerText.includes('The new model answers')")
    assert other.page.inner_text("#fl-about") == tab.page.inner_text("#fl-about")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_used_by_everybody(server, new_tab, tmp_path, scheme):
    tab = new_tab(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    tab.page.goto(server.address)
    photo("blue", 3).save(tmp_path / "blue.png")
    tab.page.wait_for_selector("#fl-upload input[type=file]", state="attached")
    tab.page.set_input_files("#fl-upload input[type=file]", tmp_path / "blue.png")
    tab.page.wait_for_selector(".fl-first")
    for name in ("Classify", "Label"):
        tab.page.get_by_role("tab", name=name).click()
        tab.page.wait_for_timeout(500)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
        ours = [one for one in tab.violations() if "fl-" in one]
        assert ours == []


# Last: it takes the server away.
def test_no_click_is_lost_when_the_server_is_killed(tab, server):
    open_labels(tab)
    given = {}
    for key, label in (("1", "<b>green"), ("2", "blue"), ("3", "red")):
        given[after(tab, lambda key=key: tab.page.keyboard.press(key))] = label
    server.kill()
    found = read_labels(server.folder / "model-labels.csv").classes
    assert {name: found[name] for name in given} == given
    tab.page.goto("about:blank")
    tab.errors.clear()

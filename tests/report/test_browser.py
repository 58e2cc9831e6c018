"""The page in a real browser, as a person meets it: from a file, by mouse and by keyboard, dark and on a phone."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from made_samples import full_comparison
from test_html import NAMES

from fewlabels.report import write_report


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write_report(full_comparison(), tmp_path_factory.mktemp("report") / "report.html").as_uri()


@pytest.fixture
def tab(new_tab, address):
    tab = new_tab(viewport={"width": 1100, "height": 900}, color_scheme="light")
    tab.page.goto(address)
    return tab


def column(page, table, number):
    return page.locator(f"{table} tbody tr > :nth-child({number})").all_inner_texts()


def test_it_opens_from_a_file_without_a_request_or_a_complaint(tab, address):
    assert [one for one in tab.requests if not one.startswith("data:")] == [address]
    assert tab.errors == []
    assert tab.page.locator("img").count() > 20
    assert tab.page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_nothing_could_be_sent_anywhere_and_no_other_script_runs(tab):
    sent = tab.page.evaluate("fetch('https://example.com/').then(() => 'sent', () => 'refused')")
    assert sent == "refused"
    tab.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src='data:,' onerror='window.ran = true'>");
        }"""
    )
    tab.page.wait_for_timeout(200)
    assert tab.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in tab.errors)


def test_hostile_class_names_are_seen_as_they_are(tab):
    assert tab.page.locator(".classes tbody th").first.inner_text() == NAMES[0]
    assert tab.page.locator(".legend button").first.inner_text() == NAMES[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(new_tab, address, scheme):
    tab = new_tab(viewport={"width": 1100, "height": 900}, color_scheme=scheme)
    tab.page.goto(address)
    tab.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert tab.violations() == []


def test_axe_would_find_something(tab):
    tab.page.evaluate("document.querySelector('img').removeAttribute('alt')")
    assert any(one.startswith("image-alt") for one in tab.violations())


def test_tables_sort_by_mouse_and_by_keyboard(tab):
    page = tab.page
    before = column(page, ".results", 1)
    assert before == ["supervised", "self-training", "joint-autoencoder"]
    button = page.locator(".results thead th").nth(1).get_by_role("button")
    button.click()
    assert column(page, ".results", 2) == ["74.0%", "70.0%", "66.7%"]
    assert page.locator(".results thead th").nth(1).get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert column(page, ".results", 2) == ["66.7%", "70.0%", "74.0%"]
    assert page.locator(".results thead th").nth(1).get_attribute("aria-sort") == "ascending"
    page.locator(".results thead th").nth(0).get_by_role("button").click()
    assert column(page, ".results", 1) == sorted(before)
    assert page.locator("[aria-sort]").count() == 1


def test_the_gallery_of_mistakes_filters_by_class(tab):
    gallery = tab.page.locator("#supervised .gallery").first
    assert gallery.locator("output").inner_text() == "5 of 5 shown"
    gallery.get_by_label("True class").select_option(label="$cost & care$")
    assert gallery.locator("output").inner_text() == "2 of 5 shown"
    assert gallery.locator("li:visible").count() == 2
    assert all("$cost" in text for text in gallery.locator("li:visible").all_inner_texts())


def test_the_gallery_of_the_pool_filters_by_class_confidence_and_truth(tab):
    gallery = tab.page.locator("#supervised .gallery").nth(1)
    assert gallery.locator("li:visible").count() == 6
    gallery.get_by_label("Taken for").select_option(value="0")
    assert gallery.locator("li:visible").count() == 3
    assert gallery.locator(".of-class:visible").count() == 1
    gallery.get_by_label("In truth").select_option(label="wrong")
    assert gallery.locator("li:visible").count() == 2
    gallery.locator("select[data-filter=band]").select_option(label="80% to 95%")
    assert gallery.locator("li:visible").all_inner_texts() == ["85% ✗"]
    gallery.locator("select[data-filter=band]").select_option(label="above 95%")
    assert gallery.locator("output").inner_text() == "0 of 6 shown"


def test_a_class_of_the_map_is_picked_by_keyboard(tab):
    part = tab.page.locator("#supervised .mapped")
    part.get_by_role("button").nth(1).focus()
    tab.page.keyboard.press("Space")
    assert part.get_by_role("button").nth(1).get_attribute("aria-pressed") == "true"
    opacities = part.locator("svg.map > g").evaluate_all("all => all.map(one => +getComputedStyle(one).opacity)")
    assert opacities[1] == 1
    assert max(opacities[0], opacities[2]) < 0.2
    tab.page.keyboard.press("Space")
    assert part.locator("svg.map.picked").count() == 0


def test_colors_follow_the_system_and_then_the_choice_which_is_kept(new_tab, address):
    tab = new_tab(color_scheme="dark")
    tab.page.goto(address)

    def background():
        color = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(number) for number in re.findall(r"\d+", color)[:3])

    assert background() < 100
    tab.page.get_by_role("button", name="Light", exact=True).click()
    assert background() > 700
    tab.page.reload()
    assert background() > 700
    tab.page.get_by_role("button", name="Auto", exact=True).click()
    assert background() < 100


def test_a_phone_scrolls_down_and_not_sideways(new_tab, address):
    tab = new_tab(viewport={"width": 360, "height": 740})
    tab.page.goto(address)
    tab.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    # What is wider stands in a box that scrolls, and the Tab key gets there.
    wide = tab.page.evaluate(
        """[...document.querySelectorAll("table")].filter(table => table.offsetWidth > 360)
            .map(table => { const box = table.closest(".scroll");
                            return box && box.tabIndex === 0 && getComputedStyle(box).overflowX === "auto"; })"""
    )
    assert wide
    assert all(wide)


def test_the_tab_key_shows_where_it_is(tab):
    tab.page.keyboard.press("Tab")
    focused = "getComputedStyle(document.activeElement)"
    assert tab.page.evaluate("document.activeElement.textContent") == "Auto"
    assert tab.page.evaluate(f"{focused}.outlineStyle") == "solid"
    assert tab.page.evaluate(f"parseFloat({focused}.outlineWidth)") >= 2


def test_paper_is_white_and_has_no_buttons_but_every_picture(new_tab, address):
    tab = new_tab(color_scheme="dark")
    tab.page.goto(address)
    tab.page.get_by_role("button", name="Dark", exact=True).click()
    tab.page.emulate_media(media="print")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") in (
        "rgb(255, 255, 255)",
        "rgba(0, 0, 0, 0)",
    )
    assert tab.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert tab.page.locator(".theme:visible, .filters:visible, nav:visible").count() == 0
    assert tab.page.locator(".box").first.evaluate("box => box.scrollHeight <= box.clientHeight + 2")
    assert len(tab.page.pdf()) > 10_000


def test_without_scripts_everything_is_there_and_nothing_pretends_to_work(new_tab, address):
    tab = new_tab(java_script_enabled=False)
    tab.page.goto(address)
    assert tab.page.locator("li img:visible").count() == 3 * (5 + 6)
    assert tab.page.locator("button:visible, select:visible").count() == 0
    assert tab.page.locator("svg.map:visible").count() == 3


def test_headings_are_in_order_and_every_table_has_a_caption_and_scopes(tab):
    levels = tab.page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => +one.tagName[1])")
    assert levels[0] == levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tables = tab.page.locator("table")
    assert tables.count() == tab.page.locator("table > caption").count() > 10
    assert tab.page.locator("th:not([scope])").count() == 0
    assert tab.page.locator("svg:not([aria-label]):not([aria-hidden])").count() == 0


def test_the_file_is_all_there_is(address):
    path = Path(address.removeprefix("file://"))
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]

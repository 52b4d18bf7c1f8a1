"""The explorer of a study in JupyterLab: axes and cells are chosen by mouse and keys, and crops flip."""

import re

import pytest
from playwright.sync_api import expect
from test_ablation_explorer import EVIL, LARGER, METRIC, TRUTH, write_study

pytestmark = [pytest.mark.browser, pytest.mark.notebook]

CELL = """
from daclip_lab.ablation.results import StudyResults
from daclip_lab.widgets import AblationExplorer
explorer = AblationExplorer(StudyResults.read("study"))
explorer
"""
WAIT = """
import time
while explorer.columns != "photo":
    time.sleep(0.05)
"""


def test_a_study_is_explored_by_mouse_and_keys(notebook, jupyter):
    write_study(jupyter[0] / "study", kept=(0,))
    book = notebook([CELL, WAIT])
    book.run(0)
    shown = book.output(0).locator(".daclip-ablation")
    cells, page = shown.get_by_role("gridcell"), book.page
    expect(cells).to_have_count(16)
    expect(shown.get_by_role("rowheader")).to_have_text([*TRUTH])
    expect(shown.locator("td.pale").first).to_be_visible()
    expect(shown.get_by_text("Choose a cell")).to_be_visible()
    book.shot("ablation_first")

    # Axes and metric.
    shown.get_by_label("columns", exact=True).select_option("seeds")
    expect(shown.get_by_role("columnheader")).to_have_text(["all images", *"01234"])
    shown.get_by_label("metric", exact=True).select_option(LARGER)
    expect(shown.locator(".title").first).to_contain_text(LARGER)
    shown.get_by_label("show", exact=True).select_option("means")
    expect(shown.locator(".title").first).to_have_text(f"{LARGER} (dB): mean")
    expect(shown.locator("td.pale")).to_have_count(0)
    assert book.value("(explorer.columns, explorer.metric, explorer.against)") == (
        f"('seed', '{LARGER}', '')"
    )
    shown.get_by_label("show", exact=True).select_option("difference to “nothing”")
    shown.get_by_label("metric", exact=True).select_option(METRIC)
    shown.get_by_label("columns", exact=True).select_option("degradations")
    expect(shown.get_by_role("columnheader")).to_have_text(["all images", "hazy", "noisy", "rainy"])

    # A click shows the crops behind a cell, those of its degradation first.
    shown.get_by_role("row", name="true word").first.get_by_role("gridcell").nth(2).click()
    expect(shown.get_by_text("Crops behind “true word”, noisy")).to_be_visible()
    cards = shown.locator(".card")
    expect(cards).to_have_count(8)
    expect(shown.locator(".card.first")).to_have_count(3)
    expect(cards.first.locator(".name")).to_contain_text("noisy")
    expect(cards.first.get_by_role("img", name="true word")).to_have_js_property(
        "naturalWidth", 128
    )
    expect(shown.get_by_text("Crops of seed 0 only are kept.")).to_be_visible()
    assert book.value("explorer.selection[['variant', 'degradation']].tolist()") == (
        "['true word', 'noisy']"
    )

    # Flipping by the button, by the space bar and while the mouse points.
    mine, other = cards.first.locator(".pair > .one"), cards.first.locator(".pair > .other")
    status = shown.get_by_role("status")
    expect(mine).to_be_visible()
    expect(other).to_be_hidden()
    shown.get_by_role("button", name="Show “nothing”").click()
    expect(other).to_be_visible()
    expect(mine).to_be_hidden()
    expect(status).to_have_text("shown: nothing")
    shown.locator("td[aria-selected=true]").press("Space")
    expect(status).to_have_text("shown: true word")
    cards.first.locator(".pair").hover()
    expect(other).to_be_visible()
    book.shot("ablation_crops")
    page.mouse.move(2, 2)
    expect(mine).to_be_visible()

    # The keys walk through the cells; Enter chooses.
    shown.locator("td[aria-selected=true]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(shown.get_by_text("Crops behind “wrong word”, all images")).to_be_visible()
    expect(shown.locator(".card.first")).to_have_count(0)
    shown.get_by_label("flip with", exact=True).select_option(EVIL)
    expect(shown.get_by_role("button", name=f"Show “{EVIL}”")).to_be_visible()
    expect(cards.first.locator(".other span")).to_have_text(EVIL)

    for theme, width in (("dark", 1600), ("light", 1000)):
        book.theme(theme)
        shown.scroll_into_view_if_needed()
        book.shot(f"ablation_{theme}", width=width, height=1400)
    shown.get_by_label("twice as large").check()
    expect(cards.first.get_by_role("img").first).to_have_css("width", "256px")
    # It answers while a cell runs: this one ends once the choice has reached Python.
    book.start(1)
    shown.get_by_label("columns", exact=True).select_option("photos")
    expect(shown.get_by_role("columnheader")).to_have_count(7)
    book.shot("ablation_photos", height=1400)
    # The page does not scroll sideways.
    frame = "node => node.scrollWidth <= node.clientWidth + 1"
    assert book.output(0).locator(".jp-OutputArea-output:visible").last.evaluate(frame)

    book.value("explorer.refresh_static()")
    book.save()
    book.reopen()
    still = book.output(0).locator(".daclip-ablation-still")
    expect(still).to_be_visible()
    expect(still.get_by_text("photo 3")).to_be_visible()
    expect(still.get_by_role("img")).to_have_count(32)
    expect(still.get_by_text(re.compile("Seed 0"))).to_be_visible()
    expect(book.output(0).get_by_text("model not found")).to_be_hidden()
    book.shot("ablation_reopened", height=1200)

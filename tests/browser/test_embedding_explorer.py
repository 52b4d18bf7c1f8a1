"""The maps of embeddings in JupyterLab: a mouse points, clicks and lassos, and Python receives what it chose."""

import ast
import math
import re

import pytest
from playwright.sync_api import expect

from daclip_lab.data.embedding_table import shipped
from daclip_lab.widgets import EmbeddingExplorer
from daclip_lab.widgets.embedding.panel import HEIGHT

pytestmark = [pytest.mark.browser, pytest.mark.notebook]

CELL = """
from daclip_lab.widgets import EmbeddingExplorer
explorer = EmbeddingExplorer()
explorer
"""


class Map:
    """One of the maps, by its canvas."""

    def __init__(self, book, places):
        self.mouse = book.page.mouse
        self.canvas = book.output(0).locator("canvas:visible").first
        self.places = places

    def at(self, row):
        """Where a row lies in the window: the canvas shows -1.21..1.21 from its lower to its upper edge."""
        self.canvas.evaluate("canvas => canvas.scrollIntoView({ block: 'center' })")
        box = self.canvas.bounding_box()
        x, y = (number * box["height"] / 2 / 1.21 for number in self.places[row])
        return box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2 - y

    def point(self, row):
        x, y = self.at(row)
        self.mouse.move(x - 3, y)
        self.mouse.move(x, y)

    def circle(self, row, radius):
        """Draw a circle around a row."""
        x, y = self.at(row)
        turns = [2 * math.pi * k / 24 for k in range(24)]
        around = [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]
        self.mouse.move(*around[0])
        self.mouse.down()
        for place in around:
            self.mouse.move(*place, steps=2)
            self.canvas.page.wait_for_timeout(15)  # the lasso takes a point each 10 ms
        self.mouse.up()


def test_pointing_clicking_and_a_lasso_reach_python(notebook, photo_folder):
    book = notebook([CELL])
    book.run(0)
    out = book.output(0)
    panel = out.locator(".daclip-explorer")
    expect(panel.get_by_text("Point at a mark")).to_be_visible()
    places = ast.literal_eval(book.value("explorer.maps.unit_coordinates('content').tolist()"))
    shown = Map(book, places)
    lonely = max(range(len(places)), key=lambda row: places[row][0])

    shown.point(lonely)
    expect(panel.locator(".point h4")).to_have_text(re.compile(rf"row {lonely}: "))
    expect(panel.locator(".photo")).to_be_visible()
    shown.mouse.click(*shown.at(lonely))
    expect(panel.locator(".near .tile")).to_have_count(20)
    book.shot("explorer_1000", 1000, 1150)
    assert book.value("explorer.selected.index.tolist()") == f"[{lonely}]"

    out.locator("[title='Activate lasso selection']").first.click()
    middle = min(range(len(places)), key=lambda row: math.hypot(*places[row]))
    shown.circle(middle, 60)
    expect(panel.get_by_text("rows selected")).to_be_visible()
    expect(panel.locator(".chosen .tile").first).to_be_visible()
    book.shot("explorer_1600", 1600, 1000)
    selected = set(ast.literal_eval(book.value("explorer.selected.index.tolist()")))
    # All that lie well inside the circle, none that lie well outside of it.
    pixels = [math.dist(place, places[middle]) * HEIGHT / 2 / 1.21 for place in places]
    assert {row for row, distance in enumerate(pixels) if distance < 50} <= selected
    assert all(pixels[row] < 65 for row in selected)

    out.get_by_label("colour", exact=True).and_(out.locator("select:visible")).select_option(
        "severity"
    )
    expect(panel.get_by_role("button", name="0.6, 80 rows")).to_be_visible()
    with book.page.expect_file_chooser() as chooser:
        out.get_by_role("button", name="Add a photo").click()
    chooser.value.set_files(photo_folder / "cup.png")
    expect(panel.locator(".point h4")).to_have_text("row 248: cup, new photo")
    panel.get_by_role("button", name="1, 80 rows", exact=True).click()
    expect(panel.get_by_text("80 rows selected")).to_be_visible()
    book.theme("dark")
    book.shot("explorer_dark", 1000, 1150)
    assert book.value("set(explorer.selected.severity)") == "{1.0}"

    book.theme("light")
    book.save()
    book.reopen()
    still = out.locator(".daclip-maps")
    expect(still).to_be_visible()
    book.shot("explorer_still", 1000, 900)


def test_a_still_is_alive_without_a_kernel(page, tmp_path):
    explorer = EmbeddingExplorer(shipped())
    both = explorer.static_html() * 2  # two on a page do not disturb each other
    (tmp_path / "still.html").write_text(f"<!doctype html><meta charset=utf-8>{both}", "utf-8")
    page.goto((tmp_path / "still.html").as_uri())
    first, second = page.locator(".daclip-maps").all()
    for still in (first, second):
        expect(still.locator("canvas")).to_have_count(2)
    place = explorer.maps.unit_coordinates("degradation")[7]
    canvas = first.locator("canvas").nth(1)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = ((1 + 0.94 * sign * number) / 2 for number, sign in zip(place, (1, -1), strict=True))
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    expect(first.locator("[role=status]")).to_contain_text("100007")
    expect(second.locator("[role=status]")).to_contain_text("Point at a mark")
    canvas.press("ArrowRight")
    expect(first.locator("[role=status] b")).to_have_text(
        re.compile("shadowed|snowy|rainy|raindrop|clean")
    )
    first.locator("select").select_option(label="severity")
    expect(first.locator(".legend")).to_contain_text(" to ")
    page.screenshot(path="runs/browser/explorer_still_page.png")

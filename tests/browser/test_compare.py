"""The before/after slider as a person moves it: on a page and in JupyterLab."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from daclip_lab.widgets import CompareSlider

pytestmark = pytest.mark.browser

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)
ROWS, COLUMNS = np.indices((256, 256))
PLACES = np.stack([COLUMNS, ROWS, np.full_like(ROWS, 128)], -1).astype(np.uint8)
"""A picture whose red is the column of the pixel and whose green is the row."""


def flat(colour):
    return Image.new("RGB", (16, 12), colour)


def red_and_blue(page, **options):
    options = {"labels": ("rainy", "restored")} | options
    return opened(page, CompareSlider(flat(RED), flat(BLUE), **options))


def opened(page, slider):
    """The stage of a slider on a page of its own."""
    page.set_content(slider.html())
    page.locator(".live").wait_for()
    return page.locator(".stage")


def pixels(locator):
    shot = Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
    return np.asarray(shot).astype(int)


def at(locator, x, y):
    """The colour at a point, each 0..1; red and green of `PLACES` are that point of the picture in 1/256."""
    shot = pixels(locator)
    return tuple(shot[round(y * len(shot)), round(x * shot.shape[1])].tolist())


def drag(stage, start, end, release=True):
    """Press at a point of the stage, each coordinate 0..1, move, and let go at another."""
    box, mouse = stage.bounding_box(), stage.page.mouse
    (x0, y0), (x1, y1) = (
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)
    )
    mouse.move(x0, y0)
    mouse.down()
    mouse.move(x1, y1, steps=5)
    if release:
        mouse.up()


def divider(stage):
    """Where red ends and blue begins, as a fraction of the width; fails if the two are not whole and in order."""
    shot = pixels(stage)
    row = shot[len(shot) // 5]  # above the handle and the captions
    red = np.abs(row - RED).sum(axis=1) < 30
    blue = np.abs(row - BLUE).sum(axis=1) < 30
    last_red, first_blue = np.flatnonzero(red).max(), np.flatnonzero(blue).min()
    assert red[6:last_red].all() and blue[first_blue:-6].all()  # the focus ring lies at the edge
    assert first_blue - last_red < 12  # the white line and its shadow
    return (last_red + first_blue) / 2 / len(row)


def choose(page, mode):
    page.get_by_role("radio", name=mode).check()


# ---- on a page ----


def test_dragging_shows_before_on_the_left_and_after_on_the_right(page):
    stage = red_and_blue(page)
    assert divider(stage) == pytest.approx(0.5, abs=0.01)
    for start, end in [(0.5, 0.25), (0.25, 0.8), (0.1, 0.1)]:
        drag(stage, (start, 0.3), (end, 0.3))
        assert divider(stage) == pytest.approx(end, abs=0.01)
    expect(stage.locator(".before figcaption")).to_have_text("rainy")
    expect(stage.locator(".after figcaption")).to_have_text("restored")


def test_the_keyboard_moves_it_and_its_name_is_spoken(page):
    stage = red_and_blue(page)
    slider = page.get_by_role("slider", name="rainy on its left, restored on its right")
    while not slider.evaluate("node => node === document.activeElement"):
        page.keyboard.press("Tab")
    assert at(stage, 0, 0.3) not in (RED, BLUE)  # the focus ring
    for key in ("Home", "PageUp", "PageUp", "ArrowRight"):
        page.keyboard.press(key)
    expect(slider).to_have_attribute("aria-valuetext", "21% rainy")
    assert divider(stage) == pytest.approx(0.21, abs=0.01)
    page.keyboard.press("End")
    assert at(stage, 0.9, 0.3) == RED
    page.keyboard.press("Space")
    expect(page.get_by_role("radio", name="blink")).to_be_checked()
    shown = []
    for _ in range(3):
        shown.append(at(stage, 0.5, 0.3))
        page.keyboard.press("Space")
    assert shown == [RED, BLUE, RED]


def test_sliders_on_one_page_are_independent_even_when_equal(page):
    one = CompareSlider(flat(RED), flat(BLUE)).html()
    page.set_content(one + one)
    first, second = page.locator(".stage").all()
    drag(second, (0.5, 0.3), (0.9, 0.3))
    assert divider(first) == pytest.approx(0.5, abs=0.01)
    assert divider(second) == pytest.approx(0.9, abs=0.01)
    page.get_by_role("radio", name="difference").first.check()
    assert divider(second) == pytest.approx(0.9, abs=0.01)


def test_the_modes_show_what_they_say(page):
    before, after, clean = (flat((level, 100, 100)) for level in (100, 130, 120))
    stage = opened(page, CompareSlider(before, after, clean, labels=("rainy", "restored")))
    choose(page, "difference")
    assert at(stage, 0.2, 0.3) == (80, 0, 0)  # 4 |100 - 120|
    assert at(stage, 0.8, 0.3) == (40, 0, 0)  # 4 |130 - 120|
    expect(stage.locator(".before figcaption")).to_have_text("|rainy − clean| × 4")
    choose(page, "side by side")
    assert [at(stage, x, 0.3)[0] for x in (0.1, 0.5, 0.9)] == [100, 130, 120]
    assert page.get_by_role("img").count() == 3
    choose(page, "blink")
    for opacity in ("0", "1"):  # by itself
        expect(stage.locator(".after")).to_have_css("opacity", opacity)
    stage.click(position={"x": 30, "y": 30})
    seen = [at(stage, 0.5, 0.3)[0]]
    stage.click(position={"x": 30, "y": 30})
    seen.append(at(stage, 0.5, 0.3)[0])
    assert sorted(seen) == [100, 130]
    choose(page, "split")
    assert [at(stage, x, 0.3)[0] for x in (0.2, 0.8)] == [100, 130]
    page.get_by_role("button", name="hold for clean").hover()
    page.mouse.down()
    assert [at(stage, x, 0.3)[0] for x in (0.2, 0.5, 0.8)] == [120, 120, 120]
    page.mouse.up()
    assert [at(stage, x, 0.3)[0] for x in (0.2, 0.8)] == [100, 130]

    stage = opened(page, CompareSlider(before, after, mode="difference"))
    assert [at(stage, x, 0.3) for x in (0.2, 0.5, 0.8)] == 3 * [(120, 0, 0)]  # 4 |100 - 130|
    expect(page.get_by_role("button", name="hold")).to_be_hidden()


def test_pixels_are_sharp_squares_from_two_screen_pixels_on(page):
    checks = np.indices((40, 40)).sum(0).astype(np.uint8) % 2 * 255
    for width, sharp in [(320, True), (100, True), (60, False), (40, True)]:
        stage = opened(page, CompareSlider(checks, checks, width=width))
        found = set(pixels(stage)[8, 6 : width // 2 - 17, 0].tolist())
        assert found.issubset({0, 255}) == sharp
    stage = opened(page, CompareSlider(checks, checks, width=60))
    page.get_by_role("button", name="zoom in").click()  # the next whole number: 2
    expect(page.get_by_role("status")).to_have_text("200 %")
    row = pixels(stage)[8, 2:12, 0].tolist()
    assert set(row) == {0, 255} and row[::2] != row[2::2]


def test_the_wheel_zooms_at_the_pointer_and_dragging_pans(page):
    stage = opened(page, CompareSlider(PLACES, PLACES, width=512))
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.25 * 512, box["y"] + 0.75 * 512)
    page.mouse.wheel(0, -500)  # without focus the page scrolls
    expect(page.get_by_role("status")).to_have_text("200 %")
    page.keyboard.down("Control")
    for _ in range(3):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    expect(page.get_by_role("status")).to_have_text("492 %")  # 2 e^0.9
    assert at(stage, 0.25, 0.75)[:2] == pytest.approx((64, 192), abs=1)
    red, green, _ = at(stage, 0.8, 0.3)
    drag(stage, (0.8, 0.3), (0.3, 0.1))
    assert at(stage, 0.3, 0.1)[:2] == pytest.approx((red, green), abs=1)
    drag(stage, (0.5, 0.5), (0.1, 0.5))  # this moves the divider, not the picture
    assert at(stage, 0.3, 0.1)[:2] == pytest.approx((red, green), abs=1)
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "10% before")
    page.keyboard.press("Shift+ArrowRight")
    assert at(stage, 0.3, 0.1)[0] == pytest.approx(red + 25.6 / np.exp(0.9), abs=2)
    for _ in range(9):
        drag(stage, (0.2, 0.5), (0.9, 0.9))
    assert at(stage, 0.02, 0.02)[:2] == pytest.approx((2, 2), abs=1)  # no further than the corner
    stage.dblclick(position={"x": 400, "y": 60})
    expect(page.get_by_role("status")).to_have_text("200 %")
    assert at(stage, 0.9, 0.25)[:2] == pytest.approx((230, 64), abs=1)


def test_without_scripts_all_pictures_are_there(browser):
    with browser.new_page(java_script_enabled=False) as page:
        slider = CompareSlider(flat(RED), flat(BLUE), flat(GREEN), labels=("rainy", "restored"))
        page.set_content(slider.static_html())
        for name in ("rainy", "restored", "clean"):
            assert page.get_by_role("img", name=name).bounding_box()["height"] > 100
            assert page.get_by_text(name).is_visible()


# ---- in JupyterLab ----

MAKE = """
import ipywidgets
from PIL import Image
from daclip_lab.widgets import CompareSlider
from daclip_lab.widgets.static import encode

def flat(colour):
    return Image.new("RGB", (16, 12), colour)

slider = CompareSlider(flat("red"), flat("blue"))
slider"""
SECOND = """
other = CompareSlider(flat("red"), flat("blue"), flat("lime"), width=300)
ipywidgets.jslink((slider, "position"), (other, "position"))
other"""


@pytest.mark.notebook
def test_in_jupyterlab_it_follows_python_and_python_follows_it(notebook):
    book = notebook([MAKE, SECOND, "slider.show(flat('lime'), flat('blue'), labels=('a', 'b'))"])
    book.run(0)
    book.run(1)
    live = book.output(0).locator(".stage:visible")
    other = book.output(1).locator(".stage:visible")
    drag(live, (0.5, 0.3), (0.25, 0.3), release=False)
    assert divider(live) == pytest.approx(0.25, abs=0.01)
    page = book.page
    expect(other.get_by_role("slider")).to_have_attribute("aria-valuetext", "25% before")
    page.mouse.up()
    for name in ("slider", "other"):
        assert float(book.value(f"{name}.position")) == pytest.approx(0.25, abs=0.01)
    live.locator(".before img.own").evaluate("node => { window.known = node }")

    book.run(2)
    expect(live.locator(".before figcaption")).to_have_text("a")
    assert live.locator(".before img.own").evaluate("node => node === window.known")
    assert at(live, 0.1, 0.3) == GREEN and at(live, 0.5, 0.3) == BLUE
    book.value("other.show(flat('red'), flat('blue'))")
    expect(book.output(1).get_by_role("button", name="hold")).to_be_hidden()

    # A stream of pictures ends with the newest; what is no picture is named and the last one stays.
    book.value("[slider.set_trait('after', encode(flat(c))) for c in 30 * ['lime', 'red', 'blue']]")
    book.value("slider.set_trait('after', b'no picture')")
    expect(live.locator("xpath=..").get_by_text('The picture "after" cannot')).to_be_visible()
    assert at(live, 0.1, 0.3) == GREEN and at(live, 0.5, 0.3) == BLUE
    book.value("slider.set_trait('after', encode(flat('blue')))")
    expect(live.locator("xpath=..").get_by_text("drag the divider")).to_be_visible()

    # Keys of the slider are no shortcuts of the notebook: C copies cells there, 00 restarts the kernel.
    live.click(position={"x": 128, "y": 60})
    for key in ("ArrowRight", "ArrowDown", "c", "0", "0", "+", "Space", "Escape", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("() => document.activeElement.type") == "range"
    assert book.value("[slider.mode, slider.zoom > 1]") == "['blink', True]"
    book.value("slider.set_trait('mode', 'split') or slider.set_trait('zoom', 1.0)")
    assert at(live, 0.1, 0.3) == GREEN

    book.value("slider.show(flat('red'), flat('blue')) or slider.refresh_static()")
    book.save()
    book.reopen()
    copy = book.output(0).locator(".stage:visible")
    assert divider(copy) == pytest.approx(0.25, abs=0.03)
    drag(copy, (0.3, 0.3), (0.8, 0.3))
    assert divider(copy) == pytest.approx(0.8, abs=0.01)
    expect(book.output(0).get_by_text("model not found")).to_be_hidden()

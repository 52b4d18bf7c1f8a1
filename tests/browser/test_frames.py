"""The slider over frames, and a figure and a pair of images under controls, as a person sees and moves them."""

import pytest
import torch
from playwright.sync_api import expect

from daclip_lab.widgets.frames import scrubber

pytestmark = pytest.mark.browser

CELLS = [
    """
import time
import torch
from daclip_lab.figures.primitives import strip
from daclip_lab.widgets.controls import compared, controlled

drawn = []
def draw(kind="dark", level=0.5, word="grey"):
    if not word:
        raise ValueError("no word at all")
    drawn.append(level)
    pixel = level if kind == "dark" else 1 - level
    return strip([torch.full((3, 96, 96), pixel)], [f"{word} {level:g}"], zoom=3)

board = controlled(draw, frames="level", kind=["dark", "light"], level=[k / 10 for k in range(11)], word="grey")
board
""",
    """
def pair(left="one", right="two"):
    return [torch.full((3, 64, 64), {"one": 0.1, "two": 0.5, "three": 0.9}[name]) for name in (left, right)]

names = ["one", "two", "three"]
two = compared(pair, labels=lambda left, right: (left, right), left=names, right=names,
               describe=lambda left, right: f"{left} beside {right}")
two
""",
    """
before, until = len(drawn), time.monotonic() + 60
print("waiting", flush=True)
while len(drawn) == before and time.monotonic() < until:
    time.sleep(0.05)
print("answered" if len(drawn) > before else "in vain")
""",
]
LIGHT = """([image, value]) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.drawImage(image, image.naturalWidth / 2, image.naturalHeight / 2, 1, 1, 0, 0, 1, 1);
    return Math.abs(canvas.getImageData(0, 0, 1, 1).data[0] / 255 - value) < 0.02;
}"""


def wait_for_light(picture, value):
    """Wait until the middle of a picture is as light as that, 0..1."""
    picture.page.wait_for_function(LIGHT, arg=[picture.element_handle(), value])


def page_of(*counts):
    """A page with a slider over so many frames each, from dark to light."""
    return "<hr>".join(
        scrubber(
            [torch.full((3, 200, 400), k / (count - 1)) for k in range(count)],
            [f"level {k}" for k in range(count)],
            label=f"light of {count}",
        )
        for count in counts
    )


def test_the_slider_chooses_the_frame_and_leaves_others_alone(page):
    page.set_content(page_of(11, 3))
    roots = page.locator(".daclip-frames")
    slider = page.get_by_role("slider", name="light of 11")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")
    expect(roots.first.locator(".caption")).to_have_text("level 3")
    expect(slider).to_have_attribute("aria-valuetext", "level 3")
    picture = page.get_by_role("img", name="level 3")
    expect(picture).to_be_visible()
    wait_for_light(picture, 0.3)
    slider.press("End")
    picture = page.get_by_role("img", name="level 10")
    expect(picture).to_be_visible()
    wait_for_light(picture, 1)
    expect(roots.first.locator("img")).to_have_count(1)
    expect(roots.last.locator(".caption")).to_have_text("level 0")


def test_a_drag_passes_over_frames_without_a_gap(page):
    page.set_content(page_of(31))
    slider = page.get_by_role("slider")
    box = slider.bounding_box()
    page.evaluate(
        """() => {
            const stage = document.querySelector(".stage");
            window.counts = new Set();
            new MutationObserver(() => window.counts.add(stage.childElementCount)).observe(stage, { childList: true });
        }"""
    )
    page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2, steps=40)
    page.mouse.up()
    expect(page.get_by_role("img", name="level 30")).to_be_visible()
    assert page.evaluate("[...window.counts]") == [1]


def test_without_scripts_five_frames_wrap_with_their_captions(browser):
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 1000, "height": 700}
    )
    with context:
        page = context.new_page()
        page.set_content(page_of(21))
        pictures = page.locator("img").all()
        places = [picture.bounding_box() for picture in pictures]
        captions = [
            page.get_by_text(f"level {k}", exact=True).bounding_box() for k in range(0, 21, 5)
        ]
    assert len(places) == 5
    assert places[0]["y"] == places[1]["y"] == places[2]["y"] < places[3]["y"] == places[4]["y"]
    for picture, caption in zip(places, captions, strict=True):
        assert picture["x"] <= caption["x"] < picture["x"] + picture["width"]
        assert 0 <= caption["y"] - picture["y"] - picture["height"] < 30


@pytest.mark.notebook
def test_controls_change_the_picture_in_place_while_a_cell_runs_and_leave_a_copy(notebook):
    book = notebook(CELLS)
    book.run(0)
    board = book.output(0)
    picture = board.locator("img.widget-image")
    wait_for_light(picture, 0.5)
    same = picture.element_handle()
    expect(board.locator(".daclip-static")).to_be_hidden()

    book.start(2)
    expect(book.output(2)).to_contain_text("waiting")
    board.locator("select").select_option("light")  # answered although the cell runs
    board.locator(".noUi-handle").focus()
    board.locator(".noUi-handle").press("End")
    expect(book.output(2)).to_contain_text("answered")
    expect(book.cell(2).locator(".jp-InputPrompt")).to_have_text("[2]:")
    wait_for_light(picture, 0)
    assert book.value("board.values()") == "{'kind': 'light', 'level': 1.0, 'word': 'grey'}"
    board.locator("input[type=text]").fill("")
    board.locator("input[type=text]").press("Enter")
    expect(board.get_by_text("ValueError: no word at all")).to_be_visible()
    assert picture.element_handle().evaluate("(image, same) => image === same", same)

    book.run(1)
    sentence = book.output(1).locator(".widget-html-content")
    expect(sentence).to_have_text("one beside two")
    book.output(1).locator("select").last.select_option("three")
    expect(sentence).to_have_text("one beside three")
    for theme in ("light", "dark"):
        book.theme(theme)
        for width in (1000, 1600):
            book.shot(f"controls_{theme}_{width}", width, 1100)
    book.theme("light")

    book.save()
    book.reopen()
    copy = book.output(0).get_by_role("slider", name="level")
    copy.focus()
    copy.press("ArrowUp")
    expect(book.output(0).get_by_role("img", name="level 0.6")).to_be_visible()
    expect(book.output(1).get_by_text("one beside three")).to_be_visible()
    book.shot("controls_reopened", 1000, 1100)

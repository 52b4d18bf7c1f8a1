"""What a person sees and moves, in a real browser: the slider on a page and in JupyterLab."""

import io
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from daclip_lab.widgets.compare import compare

pytestmark = pytest.mark.browser

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 180_000  # milliseconds; a busy machine is slow, not wrong
expect.set_options(timeout=PATIENCE)
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome")
        found = next(filter(None, map(shutil.which, names)), playwright.chromium.executable_path)
        if not os.path.exists(found):
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        with playwright.chromium.launch(executable_path=found, args=QUIET) as chromium:
            yield chromium


@pytest.fixture
def page(browser):
    """A page on which any script error or request to elsewhere fails the test."""
    trouble = []
    with browser.new_page(viewport={"width": 1000, "height": 900}) as page:
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: trouble.append(request.url) if remote(request) else None)
        yield page
    assert not trouble


def remote(request):
    return not re.match(r"data:|blob:|file:|about:|(http|ws)://127\.0\.0\.1:", request.url)


def flat(colour):
    return Image.new("RGB", (16, 12), colour)


def drag(slider, start, end):
    """Press on a slider at a fraction of its width, move, and let go at another."""
    box = slider.bounding_box()
    mouse = slider.page.mouse
    mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 3)
    mouse.down()
    mouse.move(box["x"] + end * box["width"], box["y"] + box["height"] / 3, steps=5)
    mouse.up()


def divider(slider):
    """Where red ends and blue begins, as a fraction of the width; fails if the two are not whole and in order."""
    pixels = np.asarray(Image.open(io.BytesIO(slider.screenshot())).convert("RGB")).astype(int)
    row = pixels[len(pixels) // 5]  # above the handle and the captions
    red = np.abs(row - RED).sum(axis=1) < 30
    blue = np.abs(row - BLUE).sum(axis=1) < 30
    last_red, first_blue = np.flatnonzero(red).max(), np.flatnonzero(blue).min()
    assert red[2:last_red].all() and blue[first_blue:-2].all()
    assert first_blue - last_red < 12  # the white line and its shadow
    return (last_red + first_blue) / 2 / len(row)


def test_dragging_shows_before_on_the_left_and_after_on_the_right(page):
    page.set_content(compare(flat(RED), flat(BLUE), labels=("rainy", "restored")).html())
    slider = page.locator(".daclip-compare")
    assert divider(slider) == pytest.approx(0.5, abs=0.01)
    for start, end in [(0.5, 0.25), (0.25, 0.8), (0.1, 0.1)]:
        drag(slider, start, end)
        assert divider(slider) == pytest.approx(end, abs=0.01)
    expect(slider.locator(".before figcaption")).to_have_text("rainy")
    expect(slider.locator(".after figcaption")).to_have_text("restored")


def test_the_keyboard_moves_it_and_its_name_is_spoken(page):
    page.set_content(compare(flat(RED), flat(BLUE), labels=("rainy", "restored")).html())
    slider = page.get_by_role("slider", name="rainy on its left, restored on its right")
    page.keyboard.press("Tab")
    expect(slider).to_be_focused()
    for key in ("Home", "PageUp", "PageUp", "ArrowRight"):
        page.keyboard.press(key)
    expect(slider).to_have_attribute("aria-valuetext", "21% rainy")
    assert divider(page.locator(".daclip-compare")) == pytest.approx(0.21, abs=0.01)


def test_sliders_on_one_page_are_independent_even_when_equal(page):
    one = compare(flat(RED), flat(BLUE)).html()
    page.set_content(one + one)
    first, second = page.locator(".daclip-compare").all()
    drag(second, 0.5, 0.9)
    assert divider(first) == pytest.approx(0.5, abs=0.01)
    assert divider(second) == pytest.approx(0.9, abs=0.01)


def test_whole_number_zoom_keeps_pixels_sharp_and_other_zoom_is_smooth(page):
    checks = Image.fromarray(np.indices((8, 8)).sum(0).astype(np.uint8) % 2 * 255)
    for width, sharp in [(320, True), (310, False)]:
        page.set_content(compare(checks, checks, width=width).html())
        shot = page.locator(".daclip-compare").screenshot()
        top = np.asarray(Image.open(io.BytesIO(shot)).convert("L"))[8, 6 : width // 2 - 10]
        assert set(top.tolist()).issubset({0, 255}) == sharp


def test_without_scripts_both_images_are_there(browser):
    with browser.new_page(java_script_enabled=False) as page:
        page.set_content(compare(flat(RED), flat(BLUE), labels=("rainy", "restored")).html())
        for name in ("rainy", "restored"):
            assert page.get_by_role("img", name=name).bounding_box()["height"] > 100


def answers(address, seconds=60):
    """Wait until somebody listens there: the address is printed a moment earlier."""
    until = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(address).close()
        except urllib.error.URLError:
            assert time.monotonic() < until, f"nobody answers at {address}"
            time.sleep(0.1)


@pytest.fixture
def jupyter(tmp_path):
    """A JupyterLab of its own on a free port; yields its folder and the address of its start page."""
    homes = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR")
    options = {
        "ServerApp.root_dir": tmp_path,
        "ServerApp.port": 0,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
    }
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            *(f"--{name}={option}" for name, option in options.items()),
        ],
        env={**os.environ, **{name: str(tmp_path / ".jupyter" / name) for name in homes}},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        addresses = (re.search(r"http://127\.0\.0\.1:\S+token=\S+", line) for line in server.stderr)
        address = next(filter(None, addresses), None)
        assert address, "JupyterLab did not start"
        answers(address[0])
        yield tmp_path, address[0]
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.notebook
def test_the_widget_in_jupyterlab_tells_python_where_the_divider_is(page, jupyter):
    folder, address = jupyter
    make = """from PIL import Image
from daclip_lab.widgets.compare import compare
slider = compare(Image.new("RGB", (16, 12), "red"), Image.new("RGB", (16, 12), "blue"))
slider"""
    cells = [
        nbformat.v4.new_code_cell(make),
        nbformat.v4.new_code_cell("f'at {slider.position:.2f}'"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "slider.ipynb")

    page.goto(address.replace("/lab?", "/doc/tree/slider.ipynb?"))
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.locator(".jp-CodeCell .cm-content").first.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output").first
    output.wait_for()
    assert "Error" not in output.inner_text()
    slider = output.locator(".daclip-compare")
    slider.wait_for()
    drag(slider, 0.5, 0.25)
    assert divider(slider) == pytest.approx(0.25, abs=0.01)
    page.locator(".jp-CodeCell .cm-content").last.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output pre").last).to_have_text("'at 0.25'")

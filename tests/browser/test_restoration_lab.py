"""The restoration lab in JupyterLab: sliders and bars, restore and cancel, the steps, uploads, the copied code."""

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.notebook]

MAKE = """from daclip_lab.widgets import RestorationLab
lab = RestorationLab(degradations={"rainy": 0.6, "noisy": 0.2})
lab"""
BUSY = """import time
while lab.settings.seed != 7:
    time.sleep(0.05)"""


def picture():
    """A PNG file, 60 wide and 40 high."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((60, 40)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def test_a_person_degrades_restores_cancels_walks_uploads_and_copies(notebook):
    book = notebook([MAKE, BUSY])
    book.run(0)
    shown, page = book.output(0), book.page
    measures, status = shown.locator(".measures"), shown.locator(".inputs .status")
    rainy = shown.get_by_role("meter", name="probability of rainy")
    severity = shown.get_by_role("slider", name="severity of rainy")
    expect(measures).to_contain_text("dB")
    expect(status).to_have_text("Restored.")

    # While a cell runs, the slider of rain moves by the keyboard, and bars and measures follow.
    first, before = rainy.get_attribute("aria-valuenow"), measures.inner_text()
    book.start(1)
    severity.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expect(shown.locator(".row.given", has_text="rainy").locator("output")).to_have_text("0.10")
    expect(rainy).not_to_have_attribute("aria-valuenow", first)
    expect(measures).to_have_text(re.compile("dB"))
    expect(measures).not_to_have_text(before)
    expect(book.cell(1).locator(".jp-InputPrompt")).to_have_text("[*]:")
    shown.get_by_label("Seed", exact=True).fill("7")
    shown.get_by_label("Seed", exact=True).press("Enter")
    expect(book.cell(1).locator(".jp-InputPrompt")).to_have_text("[2]:")
    assert book.value("lab.settings.degradations") == "(('rainy', 0.1), ('noisy', 0.2))"

    # Many steps, cancelled; then few, walked through.
    steps = shown.get_by_label("Steps", exact=True)
    steps.fill("100")
    steps.press("Enter")
    expect(status).to_have_text(re.compile("Restoring: step [1-9]"))
    shown.get_by_role("button", name="Cancel").click()
    expect(status).to_have_text("Cancelled.")
    assert book.value("(lab.worker.busy, lab.session.result())") == "(False, None)"
    steps.fill("4")
    steps.press("Enter")
    expect(measures).to_contain_text("for 4 steps")
    walk = shown.get_by_role("slider", name="step of the restoration")
    walk.press("ArrowLeft")
    expect(shown.locator(".walk output")).to_have_text("3 of 4 done, t = 25")
    expect(shown.get_by_text("state at t = 25")).to_be_visible()
    walk.press("End")
    expect(shown.get_by_role("figure", name="restored")).to_be_visible()

    # Python moves the controls.
    book.value("lab.change(degradations={'hazy': 0.42}, conditioning='wrong word')")
    expect(shown.locator(".row.given output")).to_have_text("0.42")
    expect(shown.get_by_label("Wrong word", exact=True)).to_be_visible()
    shown.get_by_role("slider", name="severity of noisy").press("ArrowRight")
    expect(shown.locator(".row.given")).to_have_count(2)  # what was between two stops stays
    assert book.value("lab.settings.degradations") == "(('hazy', 0.42), ('noisy', 0.05))"

    # The lines of what is shown.
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(status).to_have_text("Restored.")
    shown.get_by_role("button", name="Copy as code").click()
    expect(shown.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert book.value("lab.session.code()") == repr(copied)

    # Without "restore after each change" nothing but the input follows; with it again all does.
    live = shown.get_by_label("restore after each change")
    live.uncheck()
    shown.get_by_role("slider", name="severity of noisy").press("ArrowRight")
    expect(status).to_have_text("Not restored with these settings yet.")
    expect(shown.get_by_role("figure", name="restored before the change")).to_be_visible()
    live.check()
    expect(status).to_have_text("Restored.")

    # A file that is no picture is answered by a sentence, a picture is shown.
    upload = shown.get_by_label("Upload a photo")
    upload.set_input_files({"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(shown.get_by_role("alert")).to_contain_text("broken.png: not an image")
    book.shot("restoration_lab_sentence")
    upload.set_input_files({"name": "mine.png", "mimeType": "image/png", "buffer": picture()})
    expect(measures).to_contain_text("no clean image known")
    expect(shown.get_by_label("Photo", exact=True)).to_have_value("mine.png")
    expect(shown.get_by_role("alert")).to_be_hidden()
    assert book.value("tuple(lab.result.image.shape)") == "(3, 40, 60)"


def test_in_both_themes_and_reopened(notebook):
    book = notebook([MAKE])
    book.run(0)
    expect(book.output(0).locator(".inputs .status")).to_have_text("Restored.")
    for theme in ("light", "dark"):
        book.theme(theme)
        for width in (1000, 1600):
            book.shot(f"restoration_lab_{theme}_{width}", width)
            inputs = book.output(0).locator(".inputs").bounding_box()
            outcome = book.output(0).locator(".outcome").bounding_box()
            assert outcome["x"] > inputs["x"] + inputs["width"]  # beside each other
    book.save()
    book.reopen()
    shown = book.output(0)
    expect(shown.get_by_text("dB")).to_be_visible()
    expect(shown.get_by_text("rainy ●")).to_be_visible()
    book.shot("restoration_lab_reopened")

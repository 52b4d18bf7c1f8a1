"""A widget leaves its static copy: hidden while the widget lives, in its place when the notebook is opened again."""

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.notebook]

WIDGET = """
import ipywidgets
from daclip_lab.widgets.static import StaticCopy

class Box(StaticCopy, ipywidgets.VBox):
    def static_html(self):
        return f"<p>a still of {self.children[0].value}</p>"

box = Box([ipywidgets.IntSlider(3, description="alive")])
box
"""


def test_the_copy_is_hidden_while_the_widget_lives_and_seen_when_it_does_not(notebook, browser):
    book = notebook([WIDGET, "box.children[0].value = 8\nbox.refresh_static()"])
    book.run(0)
    shown = book.output(0)
    expect(shown.get_by_text("alive")).to_be_visible()
    expect(shown.get_by_text("a still of 3")).to_be_hidden()
    book.run(1)
    assert book.value("box.children[0].value") == "8"
    expect(shown.get_by_text("a still of 8")).to_be_hidden()
    saved = book.save()
    assert "widgets" not in saved.metadata
    exported, _ = HTMLExporter().from_notebook_node(saved)
    with browser.new_page(java_script_enabled=False) as page:
        page.set_content(exported)
        expect(page.get_by_text("a still of 8")).to_be_visible()
    book.reopen()
    expect(book.output(0).get_by_text("a still of 8")).to_be_visible()
    expect(book.output(0).get_by_text("model not found")).to_be_hidden()
    book.shot("static_copy")

"""The before/after slider carries both pictures without loss, and its page needs nothing else."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from daclip_lab.errors import InputError
from daclip_lab.widgets.compare import compare


def picture(width=40, height=30, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_pictures_travel_without_loss():
    before, after = picture(seed=1), picture(seed=2)
    widget = compare(before, after)
    assert np.array_equal(decoded(widget.before), before)
    assert np.array_equal(decoded(widget.after), after)
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', compare(before, after).html())
    pages = [decoded(base64.b64decode(source)) for source in sources]
    assert np.array_equal(pages[0], before) and np.array_equal(pages[1], after)


@pytest.mark.parametrize(
    ("own", "asked", "width", "height", "pixelated"),
    [
        ((64, 32), None, 384, 192, True),  # small: enlarged by a whole number
        ((100, 50), None, 300, 150, True),
        ((481, 321), None, 481, 321, False),
        ((64, 32), 128, 128, 64, True),
        ((64, 32), 100, 100, 50, False),
        ((64, 32), 32, 32, 16, False),
    ],
)
def test_width_and_zoom(own, asked, width, height, pixelated):
    widget = compare(picture(*own), picture(*own), width=asked)
    assert (widget.width, widget.height, widget.pixelated) == (width, height, pixelated)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="40x30 and 30x40"):
        compare(picture(40, 30), picture(30, 40))
    with pytest.raises(InputError, match="width=0"):
        compare(picture(), picture(), width=0)


def test_the_page_is_escaped_repeatable_and_self_contained():
    labels = ('<b>"rain"</b>', "a & b")
    page = compare(picture(), picture(), labels=labels).html()
    assert page == compare(picture(), picture(), labels=labels).html()
    assert "<b>" not in page and "&lt;b&gt;&quot;rain&quot;" in page
    assert "http" not in page


def test_the_widget_shows_the_page_where_no_kernel_lives():
    widget = compare(picture(), picture(), labels=("hazy", "restored"))
    data, _ = widget._repr_mimebundle_()
    assert data["text/html"] == compare(picture(), picture(), labels=("hazy", "restored")).html()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == "<slider hazy | restored, 360x270>"

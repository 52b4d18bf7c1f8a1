"""The slider over frames is one small piece of HTML, which shows some of them without scripts."""

import base64
import io
import itertools
import json
import re

import pytest
import torch
from PIL import Image

from daclip_lab.data.image_io import read_image
from daclip_lab.data.seeding import seeded
from daclip_lab.errors import InputError
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.widgets.frames import STRIP, scrubber


def greys(count, side=24):
    """Frames that get lighter."""
    return [torch.full((3, side, side), (k + 0.5) / count) for k in range(count)]


def noise(count, height, width):
    """Frames that no format can make small."""
    return [torch.rand(3, height, width, generator=seeded(k)) for k in range(count)]


def named(count):
    return [f"step {k}" for k in range(count)]


def without_scripts(page):
    """What GitHub leaves of it."""
    return re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)


def strip_of(page):
    """The captions and pictures that are seen without scripts."""
    return re.findall(r'src="(.+?)" alt="(.*?)">', without_scripts(page))


def settings(page):
    found = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def decoded(url):
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


def test_all_frames_are_there_in_order_and_each_once():
    page = scrubber(greys(12), named(12), label="time", start=7)
    data = settings(page)
    assert data["captions"] == named(12) and data["start"] == 7 and data["label"] == "time"
    seen = dict(
        zip((name for _, name in strip_of(page)), (url for url, _ in strip_of(page)), strict=True)
    )
    urls = [url or seen[f"step {k}"] for k, url in enumerate(data["others"])]
    assert sum(url is None for url in data["others"]) == len(seen)
    levels = [decoded(url).convert("L").resize((1, 1)).getpixel((0, 0)) for url in urls]
    assert levels == pytest.approx([255 * (k + 0.5) / 12 for k in range(12)], abs=3)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 21, 60])
def test_without_scripts_a_few_frames_are_seen_from_the_first_to_the_last(count):
    page = scrubber(greys(count), named(count), label="time")
    seen = [int(name.removeprefix("step ")) for _, name in strip_of(page)]
    assert len(seen) == min(count, STRIP) and seen[0] == 0 and seen[-1] == count - 1
    gaps = [b - a for a, b in itertools.pairwise(seen)]
    assert max(gaps) - min(gaps) <= 1
    captions = re.findall(r"<td>(step \d+)</td>", without_scripts(page))
    assert captions == [f"step {k}" for k in seen]
    assert not re.search(r"\b(style|class=.(?!daclip)|on\w+)=", without_scripts(page))


@pytest.mark.parametrize(
    ("frames", "most"), [(noise(60, 90, 120), 280_000), (noise(3, 700, 900), 60_000)]
)
def test_frames_are_made_small_until_the_page_is(frames, most):
    page = scrubber(frames, named(len(frames)), label="noise", max_bytes=most)
    assert len(page.encode()) <= most


def test_frames_that_fit_keep_their_pixels():
    frames = [torch.linspace(0, level, 300).expand(3, 200, 300) for level in (0.5, 1.0)]
    (first, _), (second, _) = strip_of(scrubber(frames, named(2), label="light"))
    for url, frame in ((first, frames[0]), (second, frames[1])):
        copy = read_image(decoded(url))
        assert copy.shape == frame.shape and psnr(copy[None], frame[None]).item() > 35


def test_any_caption_stays_a_caption():
    captions = ["</script><b>\"1 < 2\" & '3'", "<!-- <script> é 雨"]
    page = scrubber(greys(2), captions, label='a "label"')
    assert settings(page)["captions"] == captions
    assert page.count("<b>") == 0 and page.count("</script>") == 2 and "<!--" not in page


def test_the_same_frames_give_the_same_page_without_an_id_in_it():
    pages = {scrubber(greys(3), named(3), label="time") for _ in range(2)}
    assert len(pages) == 1 and not re.search(r"\bid=", pages.pop())


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": greys(1), "captions": named(1)},
        {"frames": greys(61), "captions": named(61)},
        {"captions": named(2)},
        {"frames": [*greys(2), *greys(1, side=8)]},
        {"start": 3},
        {"start": -1},
        {"captions": ["long" * 60_000, "", ""]},
        {"max_bytes": 1000},
    ],
)
def test_what_makes_no_slider_is_refused(wrong):
    with pytest.raises(InputError):
        scrubber(**{"frames": greys(3), "captions": named(3), "label": "time"} | wrong)

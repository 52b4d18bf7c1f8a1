"""What the script of a training board draws, and the static copy: a picture of the curves, data, and sample images."""

import html
import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.errors import InputError
from daclip_lab.figures.learning_curves import Panel
from daclip_lab.figures.primitives import figure_png
from daclip_lab.training.checkpoints import saved_step
from daclip_lab.widgets.static import data_url, encode
from daclip_lab.widgets.training_log import TrainingLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCRIPT = Path(__file__).with_name("training_board.js")
STYLE = SCRIPT.with_suffix(".css")
SIDE = 256
"""Sample images have so many pixels at most in each direction; larger ones are made smaller."""
STATIC_POINTS, FIGURE_BYTES, SAMPLE_BYTES = 3_000, 120_000, 75_000
"""So many points of all curves together, and about so many bytes of the picture and of the samples."""


def view(log: TrainingLog, panels: Sequence[Panel], pack: Callable[[np.ndarray], Any]) -> dict:
    """Panels, with their points packed by `pack`, and how far the trainings are."""
    return {
        "panels": [
            {
                "title": panel.title,
                "levels": panel.levels,
                "curves": [[name, *map(pack, points)] for name, *points in panel.curves],
            }
            for panel in panels
        ],
        "stages": log.stages,
        "way": log.way,
        "step": log.current.last,
        "done": sum(way.last for way in list(log.ways.values())),
        "recorded": log.recorded,
        "rate": log.latest("learning_rate"),
    }


def as_bytes(points: np.ndarray) -> bytes:
    """Points (n, 2) as float32, row by row."""
    return points.astype("<f4").tobytes()


def as_numbers(points: np.ndarray) -> list[float]:
    """Points (n, 2) as a flat list of numbers that take few characters."""
    return [float(f"{number:.5g}") for number in points.ravel()]


def page(
    title: str,
    sentence: str,
    draw: Callable[[int, Callable], dict],
    figure: "Figure",
    samples: Sequence[Image.Image],
    captions: Sequence[str],
) -> str:
    """The board as HTML that needs nothing else; `draw` makes a `view` of so many points a curve and so packed."""
    count = sum(len(panel["curves"]) for panel in draw(1, as_numbers)["panels"])
    data = draw(STATIC_POINTS // max(1, count), as_numbers)
    text = json.dumps(data).replace("<", "\\u003c")
    curves = Image.open(io.BytesIO(figure_png(figure))).convert("RGB")
    texts = [html.escape(caption) for caption in [*captions, *[""] * len(samples)]]
    # Tables beside each other by an attribute: a page may drop every style, as GitHub does.
    cells = [
        f'<td><img src="{data_url(file)}" alt="{text or "sample"}" width="{width_of(image)}"></td></tr>'
        f"<tr><td>{text}</td>"
        for file, image, text in zip(_fitted(samples, SAMPLE_BYTES), samples, texts, strict=False)
    ]
    table = '<table class="sample" align="left" role="presentation">'
    pictures = "\n".join(f"{table}<tr>{cell}</tr></table>" for cell in cells)
    return f"""<div class="daclip-board">
<p><strong>{html.escape(title)}</strong> {html.escape(sentence)}</p>
<img class="curves" src="{data_url(_fitted([curves], FIGURE_BYTES)[0])}" alt="the curves of the training">
<script type="application/json">{text}</script>
{pictures}
<br clear="all">
</div>
<style>{STYLE.read_text("utf-8")}</style>
<script type="module">
{SCRIPT.read_text("utf-8")}
enliven();
</script>"""


def small(image: ImageLike) -> Image.Image:
    """An image of at most `SIDE` pixels in each direction."""
    picture = to_pil(read_image(image))
    picture.thumbnail((SIDE, SIDE))
    return picture


def width_of(image: Image.Image) -> int:
    """How wide a sample image is shown, in CSS pixels."""
    return image.width * (2 if image.width <= SIDE // 2 else 1)


def kept(folder: Path | None) -> str:
    """Where a checkpoint lies, as a sentence; "" if there is none."""
    with suppress(InputError):
        if folder and (step := saved_step(folder)):
            return f" The checkpoint of step {step} lies in {folder}: resume=True goes on from it."
    return ""


def duration(seconds: float) -> str:
    """Seconds in words, such as "2 min 5 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _fitted(pictures: Sequence[Image.Image], most: int) -> list[bytes]:
    """The pictures as files of at most so many bytes together: without loss where that is enough, else ever coarser."""
    files, quality = [encode(picture) for picture in pictures], 90
    while sum(map(len, files)) > most:
        files = [encode(picture, "WEBP", quality=quality) for picture in pictures]
        quality = max(30, quality - 20)
        if quality == 30:
            pictures = [picture.reduce(2) for picture in pictures]
    return files

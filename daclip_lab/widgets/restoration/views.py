"""The two halves of the restoration lab in the notebook's page; they show traits, and say what a person chose."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from daclip_lab.diffusion.samplers import SAMPLERS
from daclip_lab.errors import InputError, extra
from daclip_lab.widgets.restoration.session import UPLOAD_BYTES
from daclip_lab.widgets.restoration.settings import CONDITIONINGS, LabSettings

with extra("notebooks"):
    import anywidget
    import traitlets

SCRIPT = Path(__file__).with_suffix(".js")
STYLE = Path(__file__).with_suffix(".css")
SIZES = (256, 384, 512)
"""Longest sides that are offered, besides that given and the photo's own."""


class Inputs(anywidget.AnyWidget):
    """What to choose, the bars of the predicted degradations, and how the work goes on.

    Messages that it sends: {"set": changes of settings, "view", "serial"}; {"do": "restore" or "cancel"}; {"upload":
    name, "part", "parts"} with a part of a file as buffer.
    """

    _esm, _css = SCRIPT, STYLE
    part = traitlets.Unicode("inputs").tag(sync=True)
    rows = traitlets.List(traitlets.List(), help="[label, has a severity, has a probability]").tag(
        sync=True
    )
    choices = traitlets.Dict(help="[text, value] of each list").tag(sync=True)
    values = traitlets.Dict(help="the settings, and which message they answer").tag(sync=True)
    predicted = traitlets.Dict(help="the probability of each label").tag(sync=True)
    live = traitlets.Bool(True, help="restore after each change").tag(sync=True)
    busy = traitlets.Bool(help="a restoration runs").tag(sync=True)
    progress = traitlets.Float(help="0..1").tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)

    def __init__(self, **traits):
        super().__init__(**traits)
        self._file: list[bytes] = []

    def follow(
        self,
        settings: LabSettings,
        photos: Sequence[str],
        weights: Sequence[str],
        wrong: Sequence[str],
        origin: dict,
    ) -> None:
        """Show settings and what could be chosen instead; `origin` says which message they answer."""
        lists = {
            "photo": photos,
            "weights": weights,
            "sampler": SAMPLERS,
            "conditioning": CONDITIONINGS,
            "wrong": wrong,
        }
        sides = sorted({*SIZES, settings.size or SIZES[0]})
        sizes = [*([str(side), side] for side in sides), ["native", None]]
        values = asdict(settings) | {
            "degradations": dict(settings.degradations),
            "wrong": settings.words if settings.words in wrong else next(iter(wrong), ""),
        }
        with self.hold_sync():
            named = {name: [[text, text] for text in texts] for name, texts in lists.items()}
            self.choices = named | {"size": sizes}
            self.values = values | origin

    def assembled(self, part: int, parts: int, content: bytes | memoryview) -> bytes | None:
        """The file that comes in parts, once the last one is there. Raises InputError where it is too large."""
        if part == 0:
            self._file = []
        self._file.append(bytes(content))
        if sum(map(len, self._file)) > UPLOAD_BYTES:
            self._file = []
            raise InputError("the file is too large: wanted at most 20 MB")
        if len(self._file) < parts:
            return None
        file, self._file = b"".join(self._file), []
        return file


class Outcome(anywidget.AnyWidget):
    """The steps of the restoration, its measures, and the lines of code that reproduce it."""

    _esm, _css = SCRIPT, STYLE
    part = traitlets.Unicode("outcome").tag(sync=True)
    steps = traitlets.Int(help="the last step; 0 where there is no restoration").tag(sync=True)
    step = traitlets.Int(help="the step that is shown").tag(sync=True)
    moment = traitlets.Unicode(help="that step in words").tag(sync=True)
    measures = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)

"""The restoration lab: a photo is degraded, classified and restored under the hand, and each step can be looked at."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from daclip_lab.degradations.registry import degradation_names
from daclip_lab.errors import InputError, extra
from daclip_lab.widgets.compare import CompareSlider
from daclip_lab.widgets.restoration.session import RestorationSession, Weights
from daclip_lab.widgets.restoration.settings import LabResult, LabSettings, Moment
from daclip_lab.widgets.restoration.summary import bars_html, figure_of, severity_scrubber
from daclip_lab.widgets.restoration.views import Inputs, Outcome
from daclip_lab.widgets.static import StaticCopy, encode
from daclip_lab.widgets.worker import Worker

with extra("notebooks"):
    import ipywidgets
    import traitlets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REST = 0.15
"""Seconds after a change before a restoration begins by itself: a hand that still moves starts none."""
PREVIEW = 0.1
"""Seconds between two pictures of a restoration that runs."""


class RestorationLab(StaticCopy, ipywidgets.VBox):
    """Degrade a photo with sliders, see what DA-CLIP predicts, restore it, and walk through the steps.

    `settings` can be set at any time, from any thread, and the controls follow; `change` sets some of them. The present
    restoration is `result`.

    Args:
        weights: a pipeline, its folder or name, or several of them by name.
        live: restore after each change; else only when asked to.
        frames: the static copy is a slider over so many severities of the first degradation, 2 to 60, all restored
            when the lab is made; 0 for a copy of the present state.
        settings: first values of `LabSettings`, such as photo="lake" and degradations={"rainy": 0.5, "noisy": 0.2}.

    Raises InputError for settings that cannot be used.
    """

    settings = traitlets.Instance(LabSettings)

    def __init__(
        self,
        weights: Weights | Mapping[str, Weights] = "lab",
        *,
        live: bool = True,
        frames: int = 0,
        **settings: Any,
    ):
        self.session = RestorationSession(weights, **settings)
        self.worker = Worker()
        self.result: LabResult | None = None
        self._lock = threading.RLock()
        self._wrong: list[str] = []
        self._origin: dict = {}
        self._shown_at = 0.0
        self._last: tuple | None = None
        degraded = self.session.degraded()
        self._size = degraded.shape
        self._frames = severity_scrubber(self.session, frames) if frames else ""
        self.compare = CompareSlider(degraded, degraded, self.session.clean())
        self._inputs, self._outcome = Inputs(live=live), Outcome()
        right = ipywidgets.VBox([self.compare, self._outcome])
        self._inputs.layout.flex, right.layout.flex = "1 1 340px", "1 1 430px"
        self._inputs.layout.min_width = right.layout.min_width = "0"
        row = ipywidgets.Layout(flex_flow="row wrap", grid_gap="8px 24px")
        super().__init__([self._inputs, right], settings=self.session.settings, layout=row)
        self._inputs.on_msg(self._receive)
        self._outcome.observe(self._walk, "step")
        self.observe(self._follow, "settings")
        self._show_values()
        self._start(restore=live)
        self.worker.wait(5)  # what is displayed and saved is complete

    def change(self, **settings: Any) -> None:
        """Set some of the settings; errors are those of `LabSettings`."""
        with self._lock:
            self.settings = replace(self.settings, **settings)

    def restore(self) -> None:
        """Restore with the present settings in the widget's own thread; `worker.wait()` waits for it."""
        self._start(restore=True)

    def static_html(self) -> str:
        """The slider of the present state and what was predicted, or the severities that were restored in advance."""
        if self._frames:
            return self._frames
        given = {} if self.settings.already_degraded else dict(self.settings.degradations)
        bars = bars_html(self._inputs.predicted, given, self._outcome.measures)
        return self.compare.static_html() + bars

    def figure(self) -> "Figure":
        """The degraded, the restored and the clean image, above what was predicted for the degraded one."""
        return figure_of(self.session, self.settings, self.result)

    # ---- what a person or a program chooses ----

    def _receive(self, _widget: Any, message: dict, buffers: list) -> None:
        """A message of the page; it comes in another thread than that of the cells."""
        with self._failing(), self._lock:
            self._inputs.error = ""
            if "set" in message:
                self._origin = {"view": message["view"], "serial": message["serial"]}
                try:
                    self.change(**message["set"])
                finally:
                    self._show_values()
            elif "upload" in message:
                file = self._inputs.assembled(message["part"], message["parts"], buffers[0])
                if file is not None:
                    self._run(self._upload(message["upload"], file))
            elif message["do"] == "restore":
                self.restore()
            else:
                self.worker.stop()

    def _upload(self, name: str, file: bytes) -> Iterator:
        try:
            self.session.add_photo(name, file)
        except InputError as error:
            yield from self._job(self.settings, self._inputs.live, 0, str(error))  # was stopped
        else:
            yield partial(self.change, photo=name, already_degraded=True)

    def _follow(self, change: Any) -> None:
        """The settings were set: what is shown follows."""
        with self._lock:
            old, new = change["old"], change["new"]
            self.session.settings = new
            self._inputs.status = "Not restored with these settings yet."
            self._show_values()
            if self._inputs.live or (new.input, new.weights) != (old.input, old.weights):
                self._start(restore=self._inputs.live, rest=REST)
            elif (kept := self.session.result(new)) is not None:
                self._show_result(kept)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What fails inside is shown as a sentence."""
        try:
            yield
        except Exception as error:
            self._inputs.error = _sentence(error)

    # ---- the work ----

    def _start(self, *, restore: bool, rest: float = 0) -> None:
        self._run(self._job(self.settings, restore, rest))

    def _run(self, job: Iterator) -> None:
        self.worker.start(job, on_item=self._show, on_end=self._end, replace=True)

    def _job(self, settings: LabSettings, restore: bool, rest: float, error: str = "") -> Iterator:
        """Yields functions that show what was made, and `error`."""
        session, set_trait = self.session, self._inputs.set_trait
        yield partial(set_trait, "error", error)
        labels = session.pipe(settings.weights).settings.labels
        yield partial(self._show_rows, labels, session.wrong_words(settings))
        yield partial(self._show_degraded, settings, session.degraded(settings))
        try:
            yield partial(set_trait, "predicted", session.probabilities(settings).to_dict())
        except InputError as wordless:  # such weights can restore
            yield partial(set_trait, "predicted", {})
            yield partial(self._say, wordless)
        if restore and session.result(settings) is None:
            start = time.monotonic()
            while time.monotonic() < start + rest:
                time.sleep(0.02)
                yield lambda: None
            yield partial(self._show_progress, 0, settings.steps)
            for moment in session.restore_steps(settings):
                yield partial(self._preview, settings, moment)
        if (result := session.result(settings)) is not None:
            yield partial(self._show_result, result)
            self.refresh_static()  # not while the lock is held: it takes long

    def _show(self, item: Callable[[], None]) -> None:
        with self._lock:
            item()

    def _end(self, stopped: bool, error: Exception | None) -> None:
        with self._lock, self._inputs.hold_sync():
            if self._inputs.busy and (stopped or error):
                self._inputs.status = "Cancelled."
                self._show_step(self._outcome.step)  # instead of the last preview
            if error is not None:
                self._say(error)
                self._inputs.status = "Not restored with these settings."
            self._inputs.busy = False

    # ---- what is seen ----

    def _show_values(self) -> None:
        photos, weights = self.session.photos, list(self.session.sources)
        self._inputs.follow(self.settings, photos, weights, self._wrong, self._origin)

    def _show_rows(self, labels: tuple[str, ...], wrong: list[str]) -> None:
        names = dict.fromkeys([*degradation_names(), *labels])
        self._inputs.rows = [[x, x in degradation_names(), x in labels] for x in names]
        if wrong != self._wrong:
            self._wrong = wrong
            self._show_values()

    def _show_degraded(self, settings: LabSettings, degraded: Tensor) -> None:
        """Until this input is restored, the last restoration of the photo stays, and its label says so."""
        if self.result is not None and self.result.settings.input == settings.input:
            return
        self.result = None
        after, label = degraded, "not restored yet"
        if self._last is not None and self._last[:2] == (settings.photo, settings.size):
            after, label = self._last[2], "restored before the change"
        self._pictures(degraded, after, self.session.clean(settings), ("degraded", label, "clean"))
        with self._outcome.hold_sync():
            self._outcome.steps = self._outcome.step = 0
            self._outcome.moment = self._outcome.measures = ""
        self._show_code(settings)

    def _say(self, error: Exception) -> None:
        """Show an error, after others that are shown."""
        self._inputs.error = " · ".join(filter(None, [self._inputs.error, _sentence(error)]))

    def _show_progress(self, done: int, steps: int) -> None:
        with self._inputs.hold_sync():
            self._inputs.busy, self._inputs.progress = True, done / steps
            self._inputs.status = f"Restoring: step {done} of {steps}"

    def _preview(self, settings: LabSettings, moment: Moment) -> None:
        """What the network predicts at a step, not more often than the eye follows."""
        done = moment.done + 1
        if time.monotonic() > self._shown_at + PREVIEW and done < settings.steps:
            self._shown_at = time.monotonic()
            self._show_progress(done, settings.steps)
            labels = ("degraded", f"clean, predicted at step {done}", "clean")
            clean = self.session.clean(settings)
            self._pictures(self.session.degraded(settings), moment.clean, clean, labels)

    def _show_result(self, result: LabResult) -> None:
        last = len(result.moments)
        self._last = (result.settings.photo, result.settings.size, result.image)
        with self._inputs.hold_sync():
            self._inputs.busy, self._inputs.progress = False, 1
            same = result.settings == self.settings
            self._inputs.status = "Restored." if same else "Restored with the settings before."
        self.result = None  # moving the step shows nothing yet
        with self._outcome.hold_sync():
            self._outcome.steps = self._outcome.step = last
            self._outcome.measures = result.measures
        self.result = result
        self._show_step(last)
        self._show_code(result.settings)

    def _walk(self, change: Any) -> None:
        """The step was moved."""
        with self._failing(), self._lock:
            self._show_step(change["new"])

    def _show_step(self, step: int) -> None:
        """The state after so many steps and what is predicted from it; after the last one degraded and restored."""
        if (result := self.result) is None:
            return
        before, after, labels, self._outcome.moment = result.at(step)
        self._pictures(before, after, result.clean, labels)

    def _pictures(
        self, before: Tensor, after: Tensor, clean: Tensor | None, labels: tuple[str, str, str]
    ) -> None:
        if self._size != before.shape:
            self._size = before.shape
            self.compare.show(before, after, clean, labels)
            return
        files = {"before": before, "after": after, "clean": clean}
        with self.compare.hold_sync():
            self.compare.labels = list(labels)
            for name, image in files.items():
                # Hardly compressed: quick to make, and it travels within one machine.
                file = b"" if image is None else encode(image, compress_level=1)
                setattr(self.compare, name, file)

    def _show_code(self, settings: LabSettings) -> None:
        try:
            self._outcome.code = self.session.code(settings)
        except InputError:  # settings that cannot be restored with: the restoration says why
            self._outcome.code = ""


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"

"""A board that shows a training while it runs: curves, sample images, and buttons to pause, stop and slow it down."""

import asyncio
import html
import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from PIL import Image

from daclip_lab.data.image_io import ImageLike
from daclip_lab.errors import InputError, extra
from daclip_lab.figures.learning_curves import POINTS, learning_curves
from daclip_lab.training.loop import Step
from daclip_lab.widgets.static import StaticCopy, encode
from daclip_lab.widgets.training_log import Recorder, TrainingLog
from daclip_lab.widgets.training_view import (
    SCRIPT,
    STYLE,
    as_bytes,
    duration,
    kept,
    page,
    small,
    view,
)
from daclip_lab.widgets.worker import Worker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

with extra("notebooks"):
    import anywidget
    import traitlets

SAMPLES = 12
"""So many sample images at most."""


class TrainingBoard(StaticCopy, anywidget.AnyWidget):
    """Shows a training that runs in a thread of its own: the kernel stays free for other cells.

    `run` returns at once. Pause and Stop act between two steps; a training that is stopped is closed, and leaves a
    checkpoint where it has a folder for it (`run=` of the trainings).

    Args:
        total: steps of each way in all, for the axes and the time left; None leaves both open.
        levels: horizontal lines by the name of the curve, such as
            `{"degradation_loss": {"chance": 4.8, "floor": 2.5}}`.
        curves: names of the curves, or titles by name: `loss`, metrics, names that are measured, `learning_rate`;
            by default the loss, all metrics and all that is measured.
        measure: makes numbers by name, such as an exam on other photos, drawn as dots: before the first step, after
            some steps, and after each training, which then holds the average of its weights. It runs between two steps
            in the thread of the training, which waits for it; its time is counted apart.
        measure_every: a number of steps, or the steps after which to measure; by default every tenth of `total`.
        samples: makes up to `SAMPLES` images to look at, at the same moments; in between only as `budget` allows.
        sample_captions: a text for each of them.
        budget: share of the training's time that the board may take for drawing and for `samples`.
        title: a line above the curves.

    Raises InputError for values out of range.
    """

    current: ClassVar["TrainingBoard | None"] = None
    """The board of the training that was begun last."""
    _esm = SCRIPT
    _css = STYLE
    title = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode("idle").tag(sync=True)
    """One of "idle", "running", "paused", "stopping", "done", "stopped", "failed"."""
    sentence = traitlets.Unicode().tag(sync=True)
    """How the training ended."""
    shown = traitlets.Dict().tag(sync=True)
    pictures = traitlets.Dict().tag(sync=True)
    learning_rate_factor = traitlets.Float(1.0).tag(sync=True)
    """Multiplies the recipe's learning rate from the next step on; above 0."""

    def __init__(
        self,
        total: int | None = None,
        *,
        levels: Mapping[str, Mapping[str, float]] | None = None,
        curves: Sequence[str] | Mapping[str, str] | None = None,
        measure: Callable[[], Mapping[str, float]] | None = None,
        measure_every: int | Collection[int] | None = None,
        samples: Callable[[], Sequence[ImageLike]] | None = None,
        sample_captions: Sequence[str] = (),
        budget: float = 0.02,
        title: str = "Training",
    ):
        if measure_every is None:
            measure_every = max(1, (total or 1000) // 10)
        for name, count in {"total": total, "measure_every": measure_every}.items():
            if isinstance(count, int) and count < 1:
                raise InputError(f"{name}={count}: wanted 1 or more steps")
        if not 0 < budget <= 1:
            raise InputError(f"budget={budget}: wanted a share above 0, and 1 at most")
        self.total, self._curves, self._levels = total, curves, levels or {}
        self._captions = tuple(sample_captions)
        self._log, self._worker, self._lock = TrainingLog(), Worker(), threading.RLock()
        self._recorder = Recorder(
            self._log,
            show=self._show, measure=measure, samples=samples, moments=measure_every,
            share=budget, factor=lambda: self.learning_rate_factor,
        )  # fmt: skip
        self._images: list[Image.Image] = []
        self._ways: set[str] = set()
        self._checkpoint: Path | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._saved = True
        super().__init__(title=title, shown=self._view())
        self.on_msg(self._obey)

    def __repr__(self):
        return f"<TrainingBoard, {self.state}, {self.shown['done']} steps>"

    # ---- what the training does ----

    def run(
        self,
        training: Iterable[Step] | Sequence[Iterable[Step]] | Mapping[str, Any],
        *,
        checkpoint: str | Path | None = None,
    ) -> None:
        """Begin a training and return at once.

        Steps are counted on where the board has some: a training that is resumed, or another stage.

        Args:
            training: an iterator of steps, such as `train_daclip(...)`; a list of several, which run one after another
                as stages; or a dict of either by a name, ways that are compared: each is counted from its first step.
            checkpoint: the folder of the training (its `run`), for the board to say where its checkpoint lies.

        Raises InputError when a training runs, here or on another board: both would slow each other down, or even
        train the same weights, as when a cell is run twice.
        """
        ways: Mapping[str, Any] = training if isinstance(training, Mapping) else {"": training}
        stages = {
            name: each if isinstance(each, list | tuple) else [each] for name, each in ways.items()
        }
        with self._lock:
            if (other := TrainingBoard.current) and other._worker.busy:
                where = "here" if other is self else f"on the board {other.title!r}"
                stop = "wait for its end, or stop it by TrainingBoard.current.stop()"
                raise InputError(f"a training is running {where}: {stop}")
            TrainingBoard.current = self
            self._ways |= set(stages)
            self._checkpoint = Path(checkpoint) if checkpoint is not None else None
            self._loop, self._saved = _own_loop(), False
            self.state, self.sentence = "running", ""
            job = self._recorder.run(stages)
            self._worker.start(job, on_item=self._on_step, on_end=self._on_end)

    def wait(self, timeout: float | None = None) -> None:
        """Block until the training has ended, at most `timeout` seconds; `state` says whether it has.

        The buttons work meanwhile. An interrupt (the kernel's stop button) stops the training cleanly and is raised
        again.

        Raises what the training raised.
        """
        try:
            self._worker.wait(timeout)
        finally:
            self._save()

    def pause(self) -> None:
        """Wait before the next step."""
        with self._lock:
            if self.state == "running":
                self._worker.pause()
                self.state = "paused"
                self._show()
                self._save_soon()

    def resume(self) -> None:
        """Go on."""
        with self._lock:
            if self.state == "paused":
                self.state = "running"
                self._worker.resume()

    def stop(self) -> None:
        """End the training before its next step, paused or not, and return at once; see `wait`."""
        with self._lock:
            if self.state in ("running", "paused"):
                self.state = "stopping"
                self._worker.stop()

    @traitlets.validate("learning_rate_factor")
    def _above_zero(self, proposal) -> float:
        if not 0 < proposal.value < math.inf:
            raise InputError(f"learning_rate_factor={proposal.value}: wanted a number above 0")
        return proposal.value

    def _obey(self, _widget, message: Any, _buffers) -> None:
        """What a button asks for."""
        if message in ("pause", "resume", "stop"):
            getattr(self, message)()

    def _on_step(self, _step: Step) -> None:
        if self._worker.paused:  # the step that was under way
            self._show()

    def _on_end(self, stopped: bool, error: Exception | None) -> None:
        with self._lock:
            if error is not None:
                kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                state, text = "failed", f"Failed: {kind}{error}.{kept(self._checkpoint)}"
            elif stopped:
                last = self._log.current.last
                state, text = "stopped", f"Stopped after step {last}.{kept(self._checkpoint)}"
            else:
                spent = duration(sum(self._recorder.seconds.values()))
                state, text = "done", f"Done in {spent}."
            self._show()
            self.sentence, self.state = text, state
        self._save_soon()

    def _save_soon(self) -> None:
        """`_save` in the kernel's main thread, as matplotlib's style belongs to all threads together."""
        if self._loop is not None:
            with suppress(RuntimeError):  # a kernel that is shutting down
                self._loop.call_soon_threadsafe(self._save)

    def _save(self) -> None:
        """Bring the static copy up to date."""
        if not self._saved:
            self._saved = self.state in ("done", "stopped", "failed")
            self.refresh_static()

    # ---- what is known about it ----

    @property
    def log(self) -> pd.DataFrame:
        """All steps so far, see `TrainingLog.frame`."""
        return self._log.frame

    @property
    def measurements(self) -> pd.DataFrame:
        """What was measured so far, see `TrainingLog.measurements`."""
        return self._log.measurements

    @property
    def way(self) -> str:
        """The name of the way that runs, for `measure` and `samples` to know."""
        return self._log.way

    @property
    def overhead(self) -> float:
        """What drawing, and `samples` between two steps, took as a share of the training's time."""
        return self._recorder.overhead

    def figure(self, *, samples: bool = True) -> "Figure":
        """The curves and the sample images so far."""
        texts = [*self._captions, *[""] * len(self._images)]
        pairs = list(zip(self._images, texts, strict=False)) if samples else []
        panels, stages = self._log.panels(self._curves, self._levels), self._log.stages
        title = self.title if samples else ""
        look: dict[str, Any] = {"total": self.total, "stages": stages, "caption": title}
        return learning_curves(panels, samples=pairs, **look)

    # ---- what is shown ----

    def _show(self, samples: Sequence[ImageLike] | None = None) -> None:
        with self._lock:
            if samples is not None:
                self._images = [small(image) for image in samples[:SAMPLES]]
                files = [encode(image, "WEBP", quality=90) for image in self._images]
                self.pictures = {"files": files, "captions": list(self._captions)}
            self.shown = self._view()

    def _view(self, most: int = POINTS, pack: Callable[[np.ndarray], Any] = as_bytes) -> dict:
        panels = self._log.panels(self._curves, self._levels, most)
        total = self.total and self.total * max(1, len(self._ways))
        times = {"end": self.total, "total": total, "overhead": self.overhead}
        return view(self._log, panels, pack) | times | self._recorder.seconds

    def static_html(self) -> str:
        """The curves as a picture, which a script replaces by ones that show their values, and the sample images."""
        if not self.shown["done"]:
            begun = "its curves are kept here when the training pauses or ends."
            text = "the training has not begun." if self.state == "idle" else self.sentence or begun
            return f"<p>{html.escape(self.title)}: {html.escape(text)}</p>"
        figure, text = self.figure(samples=False), self.sentence or f"Step {self.shown['step']}."
        return page(self.title, text, self._view, figure, self._images, self._captions)


def _own_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of the main thread, where a kernel runs the cells."""
    with suppress(RuntimeError):
        if threading.current_thread() is threading.main_thread():
            return asyncio.get_running_loop()
    return None

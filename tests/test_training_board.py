"""The board of a training: nothing is lost, little is sent, the training is not slowed down, and its end is clean."""

import asyncio
import base64
import html
import io
import json
import math
import re
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_training import Line, Toy, equal, line_loss, recipe, run_line

from daclip_lab.errors import InputError
from daclip_lab.figures.learning_curves import POINTS, SPAN, Curve
from daclip_lab.training.checkpoints import saved_step
from daclip_lab.training.loop import Step, fit
from daclip_lab.training.recipes import learning_rate
from daclip_lab.widgets import TrainingBoard
from daclip_lab.widgets.static import MAX_BYTES
from daclip_lab.widgets.training_log import INTERVAL, Recorder, TrainingLog
from daclip_lab.widgets.training_view import duration


def step(index, **values):
    return Step(index, {"loss": 1.0 / index, **values}, 0.1, 0.01)


def steps(count, first=1, **values):
    return (step(index, **values) for index in range(first, first + count))


def training(model=None, **options):
    model = model or Line()
    return fit(model, line_loss(model), Toy(), recipe(), **options)


def flat(packed):
    return np.frombuffer(packed, "<f4").reshape(-1, 2)


# ---- curves ----


@pytest.mark.parametrize("count", [1, POINTS, POINTS + 1, 3217, 20_000])
def test_thinned_curves_are_short_and_keep_every_peak(count):
    values = np.random.default_rng(0).normal(size=count)
    curve = Curve()
    for index, value in enumerate(values, start=1):
        curve.add(index, value)
    for points, all_values in zip(curve.thinned(), (values, curve.means), strict=True):
        places = points[:, 0].astype(int) - 1
        assert len(points) <= POINTS and (np.diff(places) > 0).all()
        assert np.array_equal(points[:, 1], np.asarray(all_values)[places])
        if count <= POINTS:
            assert len(points) == count
    kept = curve.thinned()[0][:, 1]
    assert kept.max() == values.max() and kept.min() == values.min()
    assert curve.thinned()[1][[0, -1], 0].tolist() == [1, count]


def test_the_running_mean_is_that_of_pandas():
    values = np.random.default_rng(1).normal(size=200)
    curve = Curve()
    for index, value in enumerate(values, start=1):
        curve.add(index, value)
    expected = pd.Series(values).ewm(span=SPAN).mean()
    assert np.allclose(curve.means, expected, rtol=1e-12)


def test_values_that_are_not_finite_are_kept_but_not_drawn():
    curve = Curve()
    for index, value in enumerate([1.0, math.nan, math.inf, 3.0], start=1):
        curve.add(index, value)
    assert curve.thinned()[0].tolist() == [[1, 1], [4, 3]]
    assert len(curve.values) == 4 and np.isfinite(curve.means).all()


# ---- the log ----


def test_the_log_holds_every_value_as_it_was():
    log = TrainingLog()
    log.begin()
    for each in training():
        log.add(each)
    again = list(training())
    frame = log.frame
    assert frame.index.tolist() == list(range(1, 9)) and frame.index.name == "step"
    assert frame.loss.tolist() == [each.loss for each in again]
    assert frame.learning_rate.tolist() == [each.learning_rate for each in again]
    assert (frame.seconds > 0).all()


def test_numbers_stay_on_the_device_until_they_are_asked_for():
    class Untouched(torch.Tensor):
        def tolist(self):
            pytest.fail("read")

        def __float__(self):
            pytest.fail("read")

    log = TrainingLog()
    log.begin()
    for index in range(1, 4):
        log.add(Step(index, {"loss": torch.tensor(1.0).as_subclass(Untouched)}, 0.1, 0.1))
    assert log.current.last == 3 and not log.current.curves


def test_a_metric_that_some_steps_lack_is_missing_there():
    log = TrainingLog()
    log.begin()
    log.add(step(1))
    log.add(step(2, rare=5.0))
    assert log.frame.rare.isna().tolist() == [True, False]
    assert [len(points) for points in log.panels()[1].curves[0][1:]] == [1, 1, 0]


def test_stages_are_counted_on_and_resumed_trainings_go_on():
    log = TrainingLog()
    for first in (1, 4, 1):  # three steps, resumed, and another stage
        log.begin()
        for each in steps(3, first):
            log.add(each)
    assert log.frame.index.tolist() == list(range(1, 10))
    assert log.stages == [6]
    resumed = TrainingLog()  # in a new kernel
    resumed.begin()
    resumed.add(step(7))
    assert resumed.frame.index.tolist() == [7] and not resumed.stages


def test_ways_lie_in_the_same_panels_and_each_is_counted_from_one():
    log = TrainingLog()
    for way, count in {"without": 3, "conditioned": 2}.items():
        log.begin(way)
        log.measure({"gain": 0.0})
        for each in steps(count):
            log.add(each)
    assert log.frame.index.tolist() == [
        *(("without", k) for k in (1, 2, 3)),
        *(("conditioned", k) for k in (1, 2)),
    ]
    loss, gain = log.panels()
    assert [(name, len(values)) for name, values, *_ in loss.curves] == [
        ("without", 3),
        ("conditioned", 2),
    ]
    assert [curve[3].tolist() for curve in gain.curves] == [[[0, 0]], [[0, 0]]]
    assert log.measurements.gain.tolist() == [0, 0]


def test_panels_are_those_asked_for_in_that_order():
    log = TrainingLog()
    log.begin()
    log.add(step(1, accuracy=0.5, cosine=0.9))
    assert [panel.title for panel in log.panels()] == ["loss", "accuracy", "cosine"]
    asked = {"learning_rate": "learning rate", "accuracy": "named right"}
    panels = log.panels(asked, {"accuracy": {"chance": 0.1}})
    assert [panel.title for panel in panels] == ["learning rate", "named right"]
    assert [panel.levels for panel in panels] == [{}, {"chance": 0.1}]
    assert len(log.panels(["degradation_loss"])[0].curves[0][1]) == 0


def test_what_is_measured_must_have_names():
    log = TrainingLog()
    with pytest.raises(InputError, match=r"0\.5"):
        log.measure(0.5)


# ---- the share of the time ----


class Clock:
    """A clock that only work moves."""

    now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds, result=None):
        self.now += seconds
        return result


def recorded(count, *, step_seconds=0.1, draw=0.001, sample=0.0, measure=0.0, **options):
    """Record `count` steps of so many seconds on a clock; the recorder, and the times of drawings and of samples."""
    clock, drawn = Clock(), []
    recorder = Recorder(
        TrainingLog(),
        show=lambda pictures: drawn.append((clock.work(draw, clock.now), pictures is not None)),
        samples=(lambda: clock.work(sample, [])) if sample else None,
        measure=lambda: clock.work(measure, {"exam": 1.0}),
        clock=clock,
        **options,
    )
    source = (clock.work(step_seconds, each) for each in steps(count))
    for _ in recorder.run({"": [source]}):
        pass
    return recorder, drawn


def test_drawings_are_at_least_a_quarter_of_a_second_apart():
    _, drawn = recorded(400, step_seconds=0.01)
    times = [time for time, _ in drawn]
    assert np.diff(times[:-1]).min() >= INTERVAL  # the last one shows the end
    assert len(drawn) > 0.8 * 4 / INTERVAL


@pytest.mark.parametrize("draw", [0.001, 0.02, 0.3])
@pytest.mark.parametrize("sample", [0.0, 0.05, 2.0])
def test_what_is_shown_costs_at_most_the_share(draw, sample):
    recorder, drawn = recorded(3000, draw=draw, sample=sample, moments=10, share=0.02)
    between = len(drawn) - 2
    assert between > 0 and recorder.overhead <= 0.02 + max(draw, sample + draw) / 300
    assert recorder.seconds["training"] == pytest.approx(300)
    assert recorder.seconds["own"] >= between * draw - 1e-6
    if sample == 0.05:  # they are not starved by the drawings
        assert sum(pictures for _, pictures in drawn) >= 10


def test_measurements_are_made_whatever_they_cost_and_counted_apart():
    recorder, _ = recorded(40, measure=5.0, moments=10)
    assert list(recorder.log.current.measured) == [0, 10, 20, 30, 40]
    assert recorder.seconds["measuring"] == pytest.approx(5.0 * 6, rel=0.01)
    assert recorder.overhead < 0.02
    recorder, _ = recorded(40, moments=[3, 17])
    assert list(recorder.log.current.measured) == [0, 3, 17, 40]


def test_the_last_measurement_sees_the_average_of_the_weights():
    model, seen = Line(), []
    recorder = Recorder(
        TrainingLog(),
        show=lambda pictures: None,
        measure=lambda: seen.append(model.weight.detach().clone()) or {},
        moments=8,
    )
    for _ in recorder.run({"": [training(model)]}):
        pass
    assert len(seen) == 3 and not seen[0].any()
    assert not torch.equal(seen[1], seen[2]) and torch.equal(seen[2], model.weight)
    assert torch.equal(model.weight, run_line()["weight"])


# ---- the board ----


def test_run_returns_at_once_and_trains_to_the_same_bytes():
    go, model = threading.Event(), Line()
    plain = line_loss(model)

    def loss(*given):
        assert go.wait(30)
        return plain(*given)

    board = TrainingBoard(8, measure=lambda: {"bias": model.bias.item()}, measure_every=4)
    board.run(fit(model, loss, Toy(), recipe()))
    assert board.state == "running" and len(board.log) == 0
    with pytest.raises(InputError):
        board.run(training())
    go.set()
    board.wait(30)
    assert board.state == "done"
    assert equal(model.state_dict(), run_line())
    assert board.log.loss.tolist() == [each.loss for each in training()]
    assert board.measurements.index.tolist() == [0, 4, 8]
    assert board.measurements.bias.iloc[-1] == model.bias.item()


def test_what_is_sent_is_what_was_recorded():
    board = TrainingBoard(levels={"loss": {"chance": 1.0}}, title="A title")
    board.run(training())
    board.wait(30)
    [panel] = board.shown["panels"]
    assert panel["title"] == "loss" and panel["levels"] == {"chance": 1.0}
    [[_, values, means, dots]] = panel["curves"]
    assert np.allclose(flat(values), board.log.loss.reset_index(), rtol=1e-6)
    assert flat(means)[-1, 0] == 8 and not dots
    assert board.shown["recorded"] == board.shown["done"] == board.shown["step"] == 8


class Held:
    """A training each of whose steps waits until the test allows it."""

    def __init__(self, **options):
        self.model, self.allowed, self.begun = (
            Line(),
            threading.Semaphore(0),
            threading.Semaphore(0),
        )
        self.plain = line_loss(self.model)
        self.steps = fit(self.model, self.loss, Toy(), recipe(), **options)

    def loss(self, *given):
        self.begun.release()
        assert self.allowed.acquire(timeout=30)
        return self.plain(*given)

    def let(self, count):
        """Let so many steps end; the next one has begun when this returns."""
        for _ in range(count):
            assert self.begun.acquire(timeout=30)
            self.allowed.release()
        assert self.begun.acquire(timeout=30)
        self.begun.release()


def test_paused_no_step_begins_and_all_that_was_done_is_shown():
    held, board = Held(), TrainingBoard(8)
    board.run(held.steps)
    held.let(3)
    board.pause()
    assert board.state == "paused" and board.shown["step"] == 3
    for _ in range(4):
        held.allowed.release()
    board.wait(0.5)
    assert board.shown["step"] == len(board.log) == 4  # the step that was under way ended
    board.resume()
    held.allowed.release()
    board.wait(30)
    assert len(board.log) == 8 and board.state == "done"


@pytest.mark.parametrize("pause", [False, True])
def test_stop_leaves_the_checkpoint_of_the_last_step_and_the_training_goes_on_from_it(
    tmp_path, pause
):
    held, board = Held(run=tmp_path), TrainingBoard(8)
    board.run(held.steps, checkpoint=tmp_path)
    held.let(3)
    if pause:
        board.pause()
    board.stop()
    held.allowed.release()
    board.wait(30)
    assert board.state == "stopped"
    done = len(board.log)
    assert done in (3, 4) and saved_step(tmp_path) == done
    assert str(tmp_path) in board.sentence and str(done) in board.sentence
    model = Line()
    board.run(training(model, run=tmp_path, resume=True), checkpoint=tmp_path)
    board.wait(30)
    assert board.state == "done" and not board.shown["stages"]
    assert board.log.loss.tolist() == [each.loss for each in training()]
    assert equal(model.state_dict(), run_line())


def test_the_learning_rate_follows_the_slider():
    held, board = Held(), TrainingBoard(8)
    board.run(held.steps)
    held.let(3)
    board.learning_rate_factor = 0.25
    held.let(2)
    board.learning_rate_factor = 1.0
    for _ in range(4):
        held.allowed.release()
    board.wait(30)
    # Step 4 had begun when the factor changed, and step 6 when it changed back.
    factors = [1, 1, 1, 1, 0.25, 0.25, 1, 1]
    rates = [learning_rate(recipe(), k) * factor for k, factor in enumerate(factors)]
    assert board.log.learning_rate.tolist() == rates
    for factor in (0, -1, math.inf):
        with pytest.raises(InputError, match=str(factor)):
            board.learning_rate_factor = factor
    assert board.learning_rate_factor == 1.0


def test_buttons_do_what_the_methods_do():
    held, board = Held(), TrainingBoard(8)
    board.run(held.steps)
    held.let(1)
    for message, state in (("pause", "paused"), ("resume", "running"), ("wait", "running")):
        board._handle_custom_msg(message, [])
        assert board.state == state
    board._handle_custom_msg("stop", [])
    assert board.state == "stopping"
    held.allowed.release()
    board.wait(30)
    assert board.state == "stopped"


@pytest.mark.parametrize(
    ("error", "words"),
    [(InputError("a.png is broken"), "a.png is broken"), (KeyError("loss"), "KeyError: 'loss'")],
)
def test_a_failure_is_a_sentence_and_raised_by_wait(tmp_path, error, words):
    model = Line()
    plain = line_loss(model)
    calls = []

    def loss(*given):
        calls.append(given)
        if len(calls) == 4:
            raise error
        return plain(*given)

    board = TrainingBoard(8)
    board.run(fit(model, loss, Toy(), recipe(), run=tmp_path), checkpoint=tmp_path)
    with pytest.raises(type(error)):
        board.wait(30)
    assert board.state == "failed" and words in board.sentence and str(tmp_path) in board.sentence
    assert len(board.log) == saved_step(tmp_path) == 3
    assert html.escape(words) in board.static_html()


def test_a_failing_measurement_ends_the_training_cleanly(tmp_path):
    board = TrainingBoard(8, measure=lambda: 1 / (4 - len(board.log)) and {}, measure_every=1)
    board.run(training(run=tmp_path), checkpoint=tmp_path)
    with pytest.raises(ZeroDivisionError):
        board.wait(30)
    assert board.state == "failed" and saved_step(tmp_path) == 4
    board = TrainingBoard(8, measure=lambda: 1 / 0)
    board.run(training())
    with pytest.raises(ZeroDivisionError):
        board.wait(30)
    assert "ZeroDivisionError" in board.static_html()  # no step was taken


def test_stages_and_ways_run_one_after_another():
    seen = []
    board = TrainingBoard(16, measure=lambda: seen.append(board.way) or {}, measure_every=8)
    board.run({"one": [training(), training()], "two": (training() for _ in [0])})
    with pytest.raises(AttributeError):  # an iterator of trainings is not one of steps
        board.wait(30)
    board = TrainingBoard(16, measure=lambda: seen.append(board.way) or {}, measure_every=8)
    seen.clear()
    board.run({"one": [training(), training()], "two": training()})
    board.wait(30)
    assert board.shown["total"] == 32 and board.shown["stages"] == [8]
    assert board.log.loc["one"].index.tolist() == list(range(1, 17))
    assert board.log.loc["one"].loss.iloc[:8].tolist() == board.log.loc["two"].loss.tolist()
    assert seen == ["one"] * 5 + ["two"] * 3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"total": 0}, "total=0"),
        ({"measure_every": 0}, "measure_every=0"),
        ({"budget": 0}, "budget=0"),
        ({"budget": 1.5}, r"budget=1\.5"),
    ],
)
def test_values_out_of_range_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        TrainingBoard(**options)


# ---- pictures ----


def pictures_of(page):
    files = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(file))) for file in files]


def test_the_static_copy_shows_curves_and_samples_without_scripts_and_the_same_numbers_with():
    noise = torch.rand(3, 300, 400)
    board = TrainingBoard(
        8,
        samples=lambda: [noise, noise[:, :40, :60]],
        sample_captions=["<one>", "two"],
        title="A & B",
    )
    assert not pictures_of(board.static_html())
    board.run(training())
    board.wait(30)
    page = board.static_html()
    assert (
        len(page) < MAX_BYTES
        and "A &amp; B" in page
        and "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    )
    curves, *samples = pictures_of(page)
    assert curves.size == tuple(board.figure(samples=False).canvas.get_width_height())
    assert [picture.size for picture in samples] == [(256, 192), (60, 40)]
    assert "&lt;one&gt;" in page and "<one>" not in page
    data = json.loads(re.search(r'application/json">(.*?)</script>', page, re.S)[1])
    [[_, values, _, _]] = data["panels"][0]["curves"]
    assert np.allclose(np.reshape(values, (-1, 2)), board.log.loss.reset_index(), rtol=1e-4)


def test_only_one_board_trains_at_a_time_and_the_last_one_is_found(tmp_path):
    held = Held()
    first, second = TrainingBoard(8, title="The first"), TrainingBoard(8)
    first.run(held.steps)
    with pytest.raises(InputError, match="'The first'"):
        second.run(training())
    assert TrainingBoard.current is first and second.state == "idle" and second.log.empty
    TrainingBoard.current.stop()
    held.allowed.release()
    first.wait(30)
    second.run(training())
    second.wait(30)
    assert TrainingBoard.current is second and second.state == "done"


class Display:
    """Stands for the output of a cell: notes what is written into it, and in which thread."""

    def __init__(self):
        self.pages, self.threads = [], set()

    def update(self, page):
        self.pages.append(page.data)
        self.threads.add(threading.current_thread())


def test_the_static_copy_shows_the_end_after_wait():
    board = TrainingBoard(8, title="A title")
    board._display = Display()
    board.run(training())
    board.wait(30)
    board.wait(30)
    [page] = board._display.pages
    assert "Done in" in page and pictures_of(page)


def test_the_static_copy_shows_the_end_without_wait_and_is_drawn_in_the_main_thread():
    board = TrainingBoard(8, title="A title")
    board._display = Display()

    async def kernel():
        board.run(training())
        for _ in range(3000):
            await asyncio.sleep(0.01)
            if board._display.pages:
                return

    asyncio.run(kernel())
    assert "Done in" in board._display.pages[-1]
    assert board._display.threads == {threading.main_thread()}


def test_a_pause_brings_the_static_copy_up_to_date():
    held, board = Held(), TrainingBoard(8)
    board._display = Display()
    assert "not begun" in board.static_html()

    async def kernel():
        board.run(held.steps)
        assert "not begun" not in board.static_html()
        held.let(2)
        board.pause()
        for _ in range(3000):
            await asyncio.sleep(0.01)
            if board._display.pages:
                return

    asyncio.run(kernel())
    assert "Step 2." in board._display.pages[-1] and pictures_of(board._display.pages[-1])
    board.stop()
    held.allowed.release()
    board.wait(30)


def test_the_largest_static_copy_is_small_enough():
    noise = torch.rand(3, 300, 300)
    board = TrainingBoard(3000, samples=lambda: [noise] * 20)
    numbers = np.random.default_rng(0).normal(size=(3000, 8))
    board.run(
        {
            way: (
                step(k + 1, **{f"m{i}": v for i, v in enumerate(row)})
                for k, row in enumerate(numbers)
            )
            for way in "abc"
        }
    )
    board.wait(60)
    assert len(board.pictures["files"]) == 12
    assert len(board.static_html()) < MAX_BYTES


def test_the_figure_has_a_panel_for_each_curve_and_its_samples():
    board = TrainingBoard(
        8,
        curves=["loss", "learning_rate", "exam", "other"],
        levels={"loss": {"chance": 2.0}},
        measure=lambda: {"exam": 0.5},
        samples=lambda: [torch.zeros(3, 20, 30)],
    )
    board.run({"without": training(), "conditioned": training()})
    board.wait(30)
    loss, rate, exam, other, sample = board.figure().axes
    assert [len(axes.lines) - 4 for axes in (loss, rate, exam, other)] == [1, 0, 0, 0]
    drawn = rate.lines[0].get_xydata()
    assert drawn[:, 0].tolist() == list(range(1, 9))
    assert exam.lines[1].get_ydata().tolist() == [0.5] * 9
    assert loss.get_xlim() == rate.get_xlim() and sample.images[0].get_array().shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.4, "4 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3660, "1 h 1 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words

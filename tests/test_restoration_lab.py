"""The restoration lab: what it computes, what it keeps, the code that makes the same, and the widget around it."""

import io
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from daclip_lab.data.image_io import to_pil
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.apply import mix
from daclip_lab.errors import InputError
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.widgets import RestorationLab
from daclip_lab.widgets.restoration.recent import Recent
from daclip_lab.widgets.restoration.session import RestorationSession
from daclip_lab.widgets.restoration.settings import CONDITIONINGS, LabSettings
from daclip_lab.widgets.restoration.summary import bars_html
from daclip_lab.widgets.static import MAX_BYTES

SIZE = 48
WAIT = 60


@pytest.fixture
def session(weights):
    return RestorationSession(str(weights), size=SIZE, steps=2, degradations={"rainy": 0.5})


@pytest.fixture
def lab(weights):
    """A lab that restores only when it is asked to."""
    return RestorationLab(str(weights), live=False, size=SIZE, steps=2, degradations={"rainy": 0.5})


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def noise(width=40, height=30, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def decoded(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def levels(image):
    return np.asarray(to_pil(image))


# ---- settings ----


def test_equal_settings_are_one_key_however_degradations_are_given():
    one = LabSettings(degradations={"noisy": 0.2, "rainy": 1})
    other = LabSettings(degradations=(("rainy", 1.0), ("noisy", 0.2), ("hazy", 0)))
    assert one == other and hash(one) == hash(other)
    assert one.degradations == (("rainy", 1.0), ("noisy", 0.2))  # as they are applied


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"degradations": {"rainy": 1.5}}, "1.5"),
        ({"degradations": {"sunny": 0.5}}, "sunny"),
        ({"degradations": [("rainy", 0.5), ("rainy", 0.6)]}, "twice"),
        ({"sampler": "euler"}, "euler"),
        ({"conditioning": "all"}, "all"),
        ({"steps": 0}, "steps=0"),
        ({"seed": -1}, "seed=-1"),
        ({"size": 4}, "size=4"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, named):
    with pytest.raises(InputError, match=named):
        LabSettings(**wrong)


def test_the_input_depends_on_what_makes_the_degraded_image_alone():
    one = LabSettings()
    assert one.input == LabSettings(seed=3, steps=9, sampler="ddim", conditioning="none").input
    for other in ({"photo": "lake"}, {"size": 64}, {"degradation_seed": 1}, {"degradations": {}}):
        assert one.input != LabSettings(**other).input


# ---- what is kept ----


def test_of_what_is_kept_the_longest_unused_goes_first_and_the_newest_never():
    kept = Recent(10)
    for name in "abc":
        kept.keep((name,), name, 4)
    assert kept.find(("a",)) is None and kept.find(("b",)) == "b"
    kept.keep(("d",), "d", 4)  # c is now the one that was used longest ago
    assert kept.find(("c",)) is None and kept.find(("b",)) == "b"
    kept.keep(("e",), "e", 99)
    assert kept.find(("e",)) == "e" and kept.find(("b",)) is None


def test_a_restoration_is_made_once(session):
    first = session.restore()
    assert list(session.restore_steps()) == []
    assert session.restore() is first
    other = replace(session.settings, seed=1)
    assert not torch.equal(session.restore(other).image, first.image)
    assert session.restore() is first


# ---- images and predictions ----


def test_the_degraded_image_is_the_mix_of_the_shrunk_photo(session):
    clean = session.clean()
    assert clean.shape == (3, 32, SIZE)  # 3:2
    assert torch.equal(session.degraded(), mix(clean, [("rainy", 0.5)], seeded(0)))
    assert session.photo(LabSettings(size=None)).shape == (3, 448, 672)


def test_the_probabilities_are_those_of_the_pipeline(session):
    found = session.probabilities()
    assert found.equals(session.pipe().classify(session.degraded()))


def test_a_degraded_photo_has_no_clean_image_and_no_measures(session):
    settings = replace(session.settings, already_degraded=True)
    assert session.clean(settings) is None
    assert torch.equal(session.degraded(settings), session.photo(settings))
    result = session.restore(settings)
    assert result.clean is None and result.psnr is None and result.ssim is None


def test_measures_compare_with_the_clean_image(session):
    result = session.restore()
    assert result.psnr == pytest.approx(psnr(result.image[None], result.clean[None]).item())
    assert result.psnr_input == pytest.approx(
        psnr(result.degraded[None], result.clean[None]).item(), abs=1e-4
    )


def test_a_loss_that_rounds_to_nothing_has_no_minus(session):
    result = replace(session.restore(), psnr_input=20.0, psnr=19.98)
    assert "(+0.0)" in result.measures


# ---- the trajectory ----


def test_the_steps_go_from_the_noisy_input_to_the_restored_image(session):
    steps = list(session.restore_steps())
    result = session.result()
    assert [moment.done for moment in steps] == [0, 1]
    assert steps[0].t == session.pipe().sde.steps
    sde = session.pipe().sde
    drawn = torch.randn(1, *result.degraded.shape, generator=seeded(0))
    start = sde.prior(result.degraded, drawn)[0]
    assert np.array_equal(steps[0].state.permute(1, 2, 0), levels(start))
    assert np.array_equal(steps[-1].clean.permute(1, 2, 0), levels(result.image))
    following = next(iter(session.pipe().trajectory(result.degraded[None], steps=2)))
    assert np.array_equal(steps[1].state.permute(1, 2, 0), levels(following.state[0]))
    assert np.array_equal(steps[0].clean.permute(1, 2, 0), levels(following.clean[0]))


def test_of_a_large_trajectory_evenly_chosen_steps_are_kept(session, monkeypatch):
    image = 3 * 32 * SIZE
    monkeypatch.setattr("daclip_lab.widgets.restoration.session.PATH_BYTES", 2 * 4 * image)
    settings = replace(session.settings, steps=8)
    assert len(list(session.restore_steps(settings))) == 8
    kept = [moment.done for moment in session.result(settings).moments]
    assert kept == [0, 2, 4, 6, 7]


def test_a_photo_that_is_too_small_is_classified_and_not_restored(session):
    session.add_photo("thin.png", png(noise(40, 12)))
    settings = replace(session.settings, photo="thin.png")
    assert session.probabilities(settings).sum() == pytest.approx(1)
    with pytest.raises(InputError, match="40x12"):
        session.restore(settings)


# ---- conditioning ----


def test_each_conditioning_restores_differently(session):
    made = {}
    for name in CONDITIONINGS:
        words = "snowy" if name == "words" else ""
        settings = replace(session.settings, conditioning=name, words=words)
        made[name] = session.restore(settings).image
    names = list(made)
    for k, one in enumerate(names):
        assert not any(torch.equal(made[one], made[other]) for other in names[:k])


def test_a_wrong_word_is_never_one_of_the_photo(session):
    labels = [label for label in session.pipe().settings.labels if label != "clean"]
    for degradations in ({"rainy": 0.5}, {"rainy": 0.5, "noisy": 0.3}, {labels[-1]: 1}, {}):
        for words in ("", "rainy", "hazy"):
            settings = replace(
                session.settings, degradations=degradations, conditioning="wrong word", words=words
            )
            word = session.word(settings)
            assert word in labels and word not in degradations
            if words and words not in degradations:
                assert word == words


def test_words_are_needed_where_words_condition(session):
    settings = replace(session.settings, conditioning="words", words=" ")
    with pytest.raises(InputError, match="words"):
        session.restore(settings)


# ---- the code ----


def ran(code, **names):
    exec(code, names)
    return names["degraded"], names["restored"]


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_the_lines_make_the_same_bytes(session, conditioning):
    settings = replace(
        session.settings,
        conditioning=conditioning,
        words="hazy",
        degradations={"low-light": 0.4, "rainy": 0.25},
        degradation_seed=3,
        sampler="dpmpp-2m-sde",
        steps=3,
        seed=5,
    )
    degraded, restored = ran(session.code(settings))
    assert torch.equal(degraded, session.degraded(settings))
    assert torch.equal(restored, session.restore(settings).image)


@pytest.mark.parametrize("already_degraded", [False, True])
@pytest.mark.parametrize("size", [None, SIZE])
def test_the_lines_read_files(session, photo_folder, already_degraded, size):
    settings = replace(
        session.settings,
        photo=str(photo_folder / "face.png"),
        already_degraded=already_degraded,
        size=size,
    )
    degraded, restored = ran(session.code(settings))
    assert torch.equal(degraded, session.degraded(settings))
    assert torch.equal(restored, session.restore(settings).image)


def test_of_a_pipeline_that_was_given_the_lines_expect_its_name(weights):
    pipe = load(weights)
    session = RestorationSession(pipe, size=SIZE)
    code = session.code()
    assert "load(" not in code
    assert torch.equal(ran(code, pipe=pipe)[1], session.restore().image)


# ---- weights ----


def test_weights_are_chosen_by_name_and_bring_their_steps(weights):
    pipe = load(weights)
    other = Pipeline(pipe.settings, daclip=pipe.daclip, restorer=pipe.restorer)
    session = RestorationSession({"one": pipe, "two": other}, size=SIZE)
    assert session.settings.weights == "one" and session.settings.steps == pipe.settings.steps
    assert session.pipe("two") is other
    with pytest.raises(InputError, match="three"):
        session.pipe("three")


# ---- added photos ----


def test_an_added_photo_is_used_by_its_name(session):
    session.add_photo("mine.png", png(noise()))
    assert "mine.png" in session.photos
    settings = replace(session.settings, photo="mine.png")
    assert np.array_equal(levels(session.photo(settings)), noise())
    session.add_photo("mine.png", png(noise(seed=1)))
    assert np.array_equal(levels(session.photo(settings)), noise(seed=1))


def test_photos_that_are_broken_or_too_large_are_refused(session, monkeypatch):
    whole = png(noise())
    for file in (b"", b"hello", whole[:100]):
        with pytest.raises(InputError, match=r"mine\.png"):
            session.add_photo("mine.png", file)
    monkeypatch.setattr("daclip_lab.widgets.restoration.session.UPLOAD_PIXELS", 1199)
    with pytest.raises(InputError, match="40x30"):
        session.add_photo("mine.png", whole)
    monkeypatch.setattr("daclip_lab.widgets.restoration.session.UPLOAD_BYTES", len(whole) - 1)
    with pytest.raises(InputError, match="MB"):
        session.add_photo("mine.png", whole)
    assert "mine.png" not in session.photos


# ---- the widget ----


def sent(lab, **message):
    """What the page sends."""
    buffers = message.pop("buffers", [])
    lab._inputs._handle_custom_msg(message, buffers)


def chosen(lab, serial=1, **changes):
    sent(lab, set=changes, view="page", serial=serial)


def test_a_new_lab_is_complete(weights):
    lab = RestorationLab(str(weights), size=SIZE, degradations={"rainy": 0.5})
    assert lab.result is not None and lab._inputs.error == ""
    assert np.array_equal(decoded(lab.compare.before), levels(lab.session.degraded()))
    assert np.array_equal(decoded(lab.compare.after), levels(lab.result.image))
    assert np.array_equal(decoded(lab.compare.clean), levels(lab.session.clean()))
    assert lab._inputs.predicted == lab.session.probabilities().to_dict()
    rows = {label: (severity, bar) for label, severity, bar in lab._inputs.rows}
    assert rows["rainy"] == (True, True) and rows["clean"] == (False, True)


def test_a_slider_changes_picture_and_bars_in_place(lab):
    compare, before, bars = lab.compare, lab.compare.before, lab._inputs.predicted
    chosen(lab, serial=7, degradations={"noisy": 0.9})
    assert lab.worker.wait(WAIT)
    assert lab.settings.degradations == (("noisy", 0.9),)
    assert lab.compare is compare and lab.children[1].children[0] is compare
    assert compare.before != before and lab._inputs.predicted != bars
    assert np.array_equal(decoded(compare.before), levels(lab.session.degraded()))
    assert lab._inputs.values["serial"] == 7 and lab.result is None


def test_settings_of_python_move_the_controls(lab):
    lab.change(seed=4, photo="lake", degradations={"hazy": 0.3})
    assert lab.worker.wait(WAIT)
    values = lab._inputs.values
    assert (values["seed"], values["photo"]) == (4, "lake")
    assert values["degradations"] == {"hazy": 0.3}
    assert lab.settings == lab.session.settings


def test_restoring_shows_the_result_and_its_steps(lab):
    assert lab.result is None and lab._outcome.steps == 0
    sent(lab, do="restore")
    assert lab.worker.wait(WAIT)
    result = lab.result
    assert lab._outcome.steps == lab._outcome.step == 2
    assert str(round(result.psnr, 1)) in lab._outcome.measures
    lab._outcome.step = 1
    moment = result.moments[1]
    assert np.array_equal(decoded(lab.compare.before), moment.state.permute(1, 2, 0))
    assert np.array_equal(decoded(lab.compare.after), moment.clean.permute(1, 2, 0))
    lab._outcome.step = 2
    assert np.array_equal(decoded(lab.compare.before), levels(result.degraded))
    assert np.array_equal(decoded(lab.compare.after), levels(result.image))
    assert torch.equal(ran(lab._outcome.code)[1], result.image)


def test_going_back_needs_no_restoration(lab, monkeypatch):
    for seed in (0, 1):
        chosen(lab, seed=seed)
        sent(lab, do="restore")
        assert lab.worker.wait(WAIT)
    second = lab.result
    monkeypatch.setattr(Pipeline, "trajectory", None)
    chosen(lab, seed=0)
    assert lab.worker.wait(WAIT)
    assert lab.result.settings.seed == 0 and not torch.equal(lab.result.image, second.image)


class Slow:
    """Takes the place of `trajectory`; each step waits until the test allows it."""

    def __init__(self, monkeypatch):
        self.go = threading.Semaphore(0)
        self.done = 0
        original = Pipeline.trajectory
        slow = self

        def trajectory(pipe, *args, **options):
            for step in original(pipe, *args, **options):
                assert slow.go.acquire(timeout=WAIT)
                slow.done += 1
                yield step

        monkeypatch.setattr(Pipeline, "trajectory", trajectory)


@pytest.fixture
def slow(monkeypatch):
    return Slow(monkeypatch)


def until(true):
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_cancel_acts_before_the_next_step_and_nothing_is_kept(lab, slow):
    lab.change(steps=10)
    lab.restore()
    until(lambda: lab._inputs.busy)
    slow.go.release()
    until(lambda: slow.done == 1)
    sent(lab, do="cancel")
    slow.go.release()
    assert lab.worker.wait(WAIT)
    assert slow.done <= 2 and lab.result is None and not lab._inputs.busy
    assert lab._inputs.status == "Cancelled."
    assert lab.session.result() is None


def test_another_input_ends_a_restoration_and_other_options_do_not(lab, slow):
    lab.change(steps=3)
    running = lab.settings
    lab.restore()
    until(lambda: lab._inputs.busy)
    chosen(lab, seed=9)
    for _ in range(3):
        slow.go.release()
    assert lab.worker.wait(WAIT)
    assert lab.result.settings == running and lab.settings.seed == 9
    assert "seed=0" in lab._outcome.code  # the lines of what is shown
    lab.restore()
    until(lambda: lab._inputs.busy)
    chosen(lab, degradations={"hazy": 0.5})
    slow.go.release()
    assert lab.worker.wait(WAIT)
    assert slow.done == 4 and lab.result is None


def test_a_lab_that_is_live_restores_the_newest_settings(weights):
    lab = RestorationLab(str(weights), size=SIZE, steps=1)
    for severity in (0.1, 0.2, 0.3):
        chosen(lab, degradations={"snowy": severity})
    assert lab.worker.wait(WAIT)
    assert lab.result.settings == lab.settings
    assert lab.settings.degradations == (("snowy", 0.3),)


@pytest.mark.parametrize(
    "message",
    [
        {"set": {"sampler": "euler"}, "view": "page", "serial": 1},
        {"set": {"photo": "no such file.png"}, "view": "page", "serial": 1},
        {"set": {"colour": 3}, "view": "page", "serial": 1},
        {"upload": "broken.png", "part": 0, "parts": 1, "buffers": [b"hello"]},
    ],
)
def test_failures_are_sentences_and_the_next_change_takes_them_away(lab, message):
    before = lab.compare.before
    sent(lab, **message)
    until(lambda: not lab.worker.busy)
    assert re.search(r"euler|no such file|colour|broken\.png", lab._inputs.error)
    assert lab.compare.before == before
    chosen(lab, photo="lake", sampler="ddim")
    assert lab.worker.wait(WAIT)
    assert lab._inputs.error == "" and lab.compare.before != before


def test_of_two_failures_none_is_lost_and_python_takes_them_away(lab):
    lab.change(steps=1000)
    lab.restore()
    until(lambda: not lab.worker.busy)
    assert "1000" in lab._inputs.error and "Not restored" in lab._inputs.status
    lab._inputs.live = True
    sent(lab, upload="broken.png", part=0, parts=1, buffers=[b"hello"])
    until(lambda: not lab.worker.busy)
    assert "broken.png" in lab._inputs.error and "1000" in lab._inputs.error
    lab.change(steps=1)
    assert lab.worker.wait(WAIT)
    assert lab._inputs.error == "" and lab.result.settings == lab.settings


def test_an_upload_comes_in_parts_and_counts_as_degraded(lab):
    file = png(noise())
    half = len(file) // 2
    for part, content in enumerate((file[:half], file[half:])):
        sent(lab, upload="mine.png", part=part, parts=2, buffers=[memoryview(content)])
    assert lab.worker.wait(WAIT)
    assert lab.settings.photo == "mine.png" and lab.settings.already_degraded
    assert np.array_equal(decoded(lab.compare.before), noise()) and lab.compare.clean == b""
    assert ["mine.png", "mine.png"] in lab._inputs.choices["photo"]
    lab.session.add_photo("osprey", file)
    assert lab.session.photos.count("osprey") == 1
    chosen(lab, already_degraded=False)
    assert lab.worker.wait(WAIT)
    assert np.array_equal(decoded(lab.compare.clean), noise())


def test_a_broken_upload_ends_no_restoration_for_good(weights, slow):
    slow.go.release()
    lab = RestorationLab(str(weights), size=SIZE, steps=1)
    chosen(lab, seed=3)
    until(lambda: lab._inputs.busy)
    sent(lab, upload="broken.png", part=0, parts=1, buffers=[b"hello"])
    for _ in range(2):
        slow.go.release()
    until(lambda: lab.result.settings.seed == 3)
    assert "broken.png" in lab._inputs.error


def test_weights_without_a_controller_restore_without_bars(weights):
    pipe = load(weights)
    lab = RestorationLab(
        {"plain": Pipeline(pipe.settings, restorer=pipe.restorer)}, size=SIZE, live=False
    )
    assert lab._inputs.predicted == {} and "controller" in lab._inputs.error
    lab.restore()
    assert lab.worker.wait(WAIT)
    assert lab.result is not None and len(lab.figure().axes) == 3  # pictures alone


# ---- without a kernel ----


def test_the_static_copy_explains_the_mark_where_it_stands():
    predicted = {"rainy": 0.7, "hazy": 0.2, "noisy": 0.1, "snowy": 0.0}
    assert bars_html(predicted, {"snowy"}, "").count("●") == 2  # at its row, and what it means
    assert "●" not in bars_html(predicted, {"striped"}, "")  # a label that the weights lack


def test_the_static_copy_holds_pictures_bars_and_measures_and_is_small(weights):
    lab = RestorationLab(str(weights), size=256, degradations={"noisy": 1.0})
    page = lab.static_html()
    assert len(page.encode()) < MAX_BYTES
    assert page.count("<img") == 3 and lab._outcome.measures.split(" ·")[0] in page
    assert "noisy ●" in page and "http" not in page.replace("http://www.w3.org", "")


def test_frames_show_severities_from_none_to_all(weights):
    lab = RestorationLab(str(weights), size=SIZE, frames=3, degradations={"hazy": 0.9})
    page = lab.static_html()
    assert all(f"hazy {severity:.2f}" in page for severity in (0, 0.5, 1))
    assert len(page.encode()) < MAX_BYTES
    for wrong in ({"frames": 1}, {"frames": 3, "already_degraded": True}):
        with pytest.raises(InputError, match="frames"):
            RestorationLab(str(weights), size=SIZE, **wrong)


def test_the_figure_shows_what_there_is(lab):
    def pictures():
        return sum(len(axes.images) for axes in lab.figure().axes)

    assert pictures() == 2
    lab.restore()
    assert lab.worker.wait(WAIT)
    assert pictures() == 3
    lab.change(already_degraded=True)
    assert lab.worker.wait(WAIT)
    assert pictures() == 1

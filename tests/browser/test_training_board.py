"""The board of a training in JupyterLab: curves that move, buttons that act, and a kernel that answers meanwhile."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.notebook]

TRAINING = """
import threading
import torch
from torch import nn
from daclip_lab.data.training_pairs import Example
from daclip_lab.training.checkpoints import saved_step
from daclip_lab.training.loop import fit
from daclip_lab.training.recipes import Recipe
from daclip_lab.widgets import TrainingBoard

class Source:
    def draw(self, generator, size, *, captions=True):
        image = torch.rand(3, size, size, generator=generator)
        return Example(clean=image, degraded=image / 2, label="hazy", severity=1.0, caption="")

allowed = threading.Semaphore(0)  # each step waits until the test allows it
model = nn.Linear(3, 1)

def loss(batch, generator):
    assert allowed.acquire(timeout=300)
    error = model(batch.degraded.mean((2, 3))) - batch.clean.mean((1, 2, 3))[:, None]
    return error.square().mean(), {"accuracy": torch.rand((), generator=generator)}

recipe = Recipe(steps=200, batch_size=2, image_size=8, learning_rate=0.1)

def training(**options):
    return fit(model, loss, Source(), recipe, save_every=1000, **options)

def let(steps, last):
    for _ in range(steps):
        allowed.release()
        threading.Event().wait(0.02)
    while board.log.shape[0] < last:
        threading.Event().wait(0.05)
"""
BOARD = """
board = TrainingBoard(
    200,
    levels={"loss": {"chance": 0.3, "floor": 0.0}},
    measure=lambda: {"accuracy": 0.5},
    measure_every=20,
    samples=lambda: [torch.full((3, 48, 48), 0.5), torch.rand(3, 48, 48)],
    sample_captions=["degraded", "restored"],
    budget=0.5,  # the steps take next to no time, and drawing some on a busy machine
    title="A small training",
)
board.run(training(run="run"), checkpoint="run")
board
"""
AGAIN = """
def feed():
    while board.state != "stopped":
        allowed.release()
        threading.Event().wait(0.2)

board.run(training(run="again"), checkpoint="again")
threading.Thread(target=feed, daemon=True).start()
board.wait()
"""


def test_a_training_is_watched_paused_slowed_down_and_stopped(notebook):
    book = notebook([TRAINING, BOARD, "let(60, 60)", "board.wait()\nboard.state", AGAIN])
    for k in range(3):
        book.run(k)
    shown = book.output(1).locator(".daclip-board").last
    panels, words = shown.locator(".panel"), shown.get_by_role("status")
    expect(panels).to_have_count(2)
    expect(panels.first.locator("path.mean")).to_have_attribute("d", re.compile("L"))
    expect(panels.first.get_by_text("chance 0.3")).to_be_visible()
    expect(panels.nth(1).locator("circle").first).to_be_visible()
    expect(shown.get_by_alt_text("restored")).to_have_js_property("naturalWidth", 48)
    assert book.value("board.state") == "'running'"
    book.shot("training_board_running")

    panels.first.focus()
    book.page.keyboard.press("ArrowLeft")
    expect(panels.first.locator(".value")).to_contain_text("step")
    panels.first.locator("svg").hover(position={"x": 150, "y": 60})
    expect(panels.first.locator("line.cursor")).to_have_count(1)

    # The step that is under way ends, and no other begins.
    shown.get_by_role("button", name="Pause").click()
    expect(words).to_have_text("Paused after step 60 of 200.")
    assert book.value("[allowed.release() for _ in range(9)] and board.state") == "'paused'"
    expect(words).to_have_text("Paused after step 61 of 200.")
    expect(panels.nth(1).locator("circle")).to_have_count(4)  # measured at 0, 20, 40 and 60
    slider = shown.get_by_role("slider", name="learning rate")
    slider.focus()
    slider.press("ArrowLeft")
    expect(shown.locator(".rate")).to_contain_text("× 0.5")
    assert book.value("(board.learning_rate_factor, len(board.log))") == "(0.5, 61)"
    for theme in ("dark", "light"):
        book.theme(theme)
        shown.get_by_text("A small training").scroll_into_view_if_needed()
        book.shot(f"training_board_{theme}", width=1600 if theme == "dark" else 1000)
    shown.get_by_role("button", name="Resume").click()
    assert book.value("let(0, 69) or let(1, 70)") == "None"
    expect(words).to_have_text(re.compile(r"Step \d+ of 200, .*"))
    rates = "board.log.learning_rate"
    assert book.value(f"[bool({rates}[k + 1] > 0.9 * {rates}[k]) for k in (60, 61, 62)]") == (
        "[True, False, True]"
    )

    shown.get_by_role("button", name="Stop").click()
    book.value("allowed.release()")
    expect(words).to_have_text(
        re.compile(r"Stopped after step 71\. The checkpoint of step 71 lies in run: .*")
    )
    expect(shown.get_by_role("button", name="Stop")).to_be_disabled()
    book.run(3)
    assert (
        book.value("(board.state, saved_step('run'), board.overhead < 1)")
        == "('stopped', 71, True)"
    )
    shown.get_by_text("A small training").scroll_into_view_if_needed()
    book.shot("training_board_stopped")

    # While a cell waits for the training, buttons still act; an interrupt of that cell stops the training.
    book.start(4)
    shown.get_by_role("button", name="Pause").click()
    expect(words).to_have_text(re.compile(r"Paused after step \d+ of 200\."))
    shown.get_by_role("button", name="Resume").click()
    book.command("notebook:interrupt-kernel")
    expect(book.output(4).get_by_text("KeyboardInterrupt").first).to_be_visible()
    ended = "(board.state, saved_step('again') + 71 == len(board.log))"
    assert book.value(ended) == "('stopped', True)"

    book.save()
    book.reopen()
    expect(book.output(1).get_by_text(re.compile(r"Stopped after step \d+\."))).to_be_visible()
    expect(book.output(1).get_by_alt_text("restored")).to_be_visible()
    book.output(1).get_by_alt_text("restored").scroll_into_view_if_needed()
    book.shot("training_board_reopened")

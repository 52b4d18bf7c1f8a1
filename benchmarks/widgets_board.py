"""What a training board costs the training that it shows: the same training with and without it, in turn.

python -m benchmarks.widgets_board
"""

import time

import pandas as pd

from daclip_lab.commands.init_weights import starting_weights
from daclip_lab.commands.training_data import source_of
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.training import presets
from daclip_lab.training.objectives import train_daclip
from daclip_lab.training.recipes import DaclipRecipe
from daclip_lab.widgets import TrainingBoard


def board_overhead(steps: int = 60, repeats: int = 5) -> pd.DataFrame:
    """Seconds of a controller's training in a plain loop and under a board, and how much longer the board makes it.

    A row for each repetition; the two take turns, and the order changes. "more (%)" is the difference as a share of the
    plain loop, "the board says (%)" is `TrainingBoard.overhead`. No page is open, so nothing is drawn in a browser.
    """
    scale = presets.lab()
    clip = starting_weights("lab", scale).require_daclip().clip
    source = source_of(["bundled"], scale).crops
    recipe = DaclipRecipe(steps=steps, batch_size=16, image_size=clip.config.image_size,
                          learning_rate=1e-4, train_content=False)  # fmt: skip

    def plain() -> tuple[float, float]:
        training = train_daclip(DaCLIP(clip), source, recipe)
        next(training)  # the first step is slower
        start = time.perf_counter()
        for step in training:
            _ = step.loss, step.metrics
        return time.perf_counter() - start, 0.0

    def shown() -> tuple[float, float]:
        board = TrainingBoard(steps)
        training = train_daclip(DaCLIP(clip), source, recipe)
        next(training)
        start = time.perf_counter()
        board.run(training)
        board.wait()
        return time.perf_counter() - start, board.overhead

    plain()
    rows = []
    for turn in range(repeats):
        kinds = [("plain (s)", plain), ("board (s)", shown)]
        found = {name: run() for name, run in (kinds if turn % 2 else kinds[::-1])}
        row = {name: found[name][0] for name, _ in kinds}
        row["more (%)"] = 100 * (row["board (s)"] / row["plain (s)"] - 1)
        row["the board says (%)"] = 100 * found["board (s)"][1]
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    table = board_overhead()
    print(table.round(2).to_string())
    print(f"median: {table['more (%)'].median():.2f} % more")

"""What a step is worth: quality against the number of steps. Takes a table, computes nothing."""

from typing import TYPE_CHECKING

from daclip_lab.figures.style import INK, MUTED, area, canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LOOKS = {
    "posterior": ("#1f4e8c", "o"),
    "dpmpp-2m-sde": ("#4e9dff", "D"),
    "ddim": ("#761400", "s"),
    "dpmpp-2m": ("#eb8976", "^"),
    "euler-maruyama": (MUTED, "X"),
}
LINES = {"linspace": "-", "logsnr": (0, (1.5, 1.5))}
SPACED = {"linspace": "steps even in time", "logsnr": "steps even in log-SNR"}


def tradeoff(table: "pd.DataFrame") -> "Figure":
    """Every measure against the number of steps, a line for each sampler and spacing.

    `table` has columns sampler, spacing, steps, and one for each measure; a row whose sampler is "input" holds the
    images before restoration. Higher is better, except for LPIPS.
    """
    measures = [
        name for name in table.columns if name not in ("sampler", "timestep_spacing", "steps")
    ]
    caption = (
        "Each line is a sampler. Dotted grey: the images before restoration. Below 100 steps, Euler-Maruyama as the "
        "authors wrote it takes steps too small for the times it skips and leaves the noise in: it may lie outside "
        "of the frame."
    )
    rows = -(-len(measures) // 2)
    with canvas(880, rows * 300 + 120, caption) as figure:
        for index, measure in enumerate(measures):
            row, column = divmod(index, 2)
            axes = area(figure, 78 + column * 440, 34 + row * 300, 345, 220)
            before = table.loc[table.sampler == "input", measure]
            axes.axhline(before.iloc[0], color=MUTED, linestyle=":", linewidth=1.3)
            restored = table[table.sampler != "input"]
            for (sampler, timestep_spacing), line in restored.groupby(
                ["sampler", "timestep_spacing"], sort=False
            ):
                color, mark = LOOKS[sampler]
                axes.plot(line.steps, line[measure], color=color, marker=mark, markersize=5,
                          linestyle=LINES[timestep_spacing], linewidth=1.5, alpha=0.9)  # fmt: skip
            # The frame fits the samplers that work: the baseline may leave it.
            framed = table.loc[table.sampler != "euler-maruyama", measure]
            margin = 0.15 * max(framed.max() - framed.min(), 1e-3)
            axes.set_ylim(framed.min() - margin, framed.max() + margin)
            steps = sorted(restored.steps.unique())
            axes.set_xscale("log")
            axes.set_xticks(steps, [str(count) for count in steps])
            axes.minorticks_off()
            axes.set(ylabel=measure, xlabel="steps (calls of the network)")
            better = "lower is better" if measure == "LPIPS" else "higher is better"
            axes.set_title(f"{measure}: {better}")
            axes.grid(axis="y")
        handles = [
            axes.plot([], [], color=color, marker=mark, label=sampler)[0]
            for sampler, (color, mark) in LOOKS.items()
            if sampler in set(table.sampler)
        ]
        handles += [
            axes.plot([], [], color=INK, linestyle=line, label=SPACED[timestep_spacing])[0]
            for timestep_spacing, line in LINES.items()
        ]
        _, height = figure.get_size_inches() * 100
        figure.legend(handles=handles, ncols=4, loc="upper center",
                      bbox_to_anchor=(0.5, 1 - (rows * 300 + 8) / height))  # fmt: skip
    return figure

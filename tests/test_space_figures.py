"""The figures of a space show what they are given, and nothing of it falls outside."""

import numpy as np
import pandas as pd
import pytest

from daclip_lab.embeddings.projection import EmbeddingMap
from daclip_lab.figures.embedding_space import linked_maps, measures_by_space, severity_read


def made(seed):
    rng = np.random.default_rng(seed)
    return EmbeddingMap(
        coordinates=rng.standard_normal((12, 2)),
        vectors=rng.standard_normal((12, 4)),
        images=tuple(map(str, range(12))),
        parameters={},
        trustworthiness=0.5,
        preservation=0.25,
    )


@pytest.mark.parametrize("shown", [["hazy", "noisy"] * 6, np.linspace(0, 1, 12)])
def test_a_picked_image_is_joined_to_its_neighbours_on_both_maps(shown):
    maps = {"left": made(0), "right": made(1)}
    near = {"left": [1, 2, 3], "right": [4, 5]}
    figure = linked_maps(maps, shown, picked=7, near=near, name="what")
    for axes, (title, one) in zip(figure.axes, maps.items(), strict=False):
        ends = [line.get_xydata() for line in axes.get_lines()]
        assert np.allclose([end[0] for end in ends], one.coordinates[7])
        assert np.allclose([end[1] for end in ends], one.coordinates[near[title]])
        assert axes.get_title(loc="left") == title


def test_numbers_get_a_scale_and_labels_a_legend():
    maps, options = (
        {"left": made(0), "right": made(1)},
        {"picked": 0, "near": {"left": [1], "right": [2]}},
    )
    numbers = linked_maps(maps, np.linspace(0, 1, 12), name="severity", **options)
    assert numbers.axes[2].get_xlabel() == "severity" and not numbers.legends
    labels = linked_maps(maps, ["hazy", "snowy"] * 6, name="degradation", **options)
    assert [text.get_text() for text in labels.legends[0].get_texts()] == ["hazy", "snowy"]


def test_measures_stand_where_their_values_are_below_zero_too():
    rows = [
        {"measure": measure, "space": space, "value": value, "low": value - 0.1, "high": value + 0.1,
         "chance": chance}
        for measure, chance in (("one", 0.1), ("two", np.nan))
        for space, value in (("plain", -0.3), ("content", 0.4), ("degradation", 0.9))
    ]  # fmt: skip
    (axes,) = measures_by_space(pd.DataFrame(rows)).axes
    marks = [
        marks.get_offsets().data for marks in axes.collections if len(marks.get_offsets()) == 2
    ]
    assert [set(points[:, 0]) for points in marks] == [{-0.3}, {0.4}, {0.9}]
    low, high = axes.get_xlim()
    assert low < -0.4 and high > 1
    assert [text.get_text() for text in axes.get_yticklabels()] == ["one", "two"]


def test_severities_read_far_off_stay_inside_the_panels():
    table = pd.DataFrame(
        {
            "degradation": ["hazy", "hazy", "noisy", "noisy"],
            "severity": [0.1, 0.9, 0.1, 0.9],
            "mean": [0.2, 0.8, -0.4, 1.4],
            "low": [0.1, 0.7, -0.6, 1.2],
            "high": [0.3, 0.9, -0.2, 1.7],
        }
    )
    figure = severity_read(table, (0.4, 0.8))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["hazy", "noisy"]
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low < -0.6 and high > 1.7
        right = axes.get_lines()[0].get_xydata()
        assert np.allclose(right[:, 0], right[:, 1])

"""Intervals count photos, not crops, and cover the truth as often as they say."""

import numpy as np
import pytest

from daclip_lab.metrics.bootstrap import bootstrap_interval


def test_intervals_rest_on_photos():
    """Ten equal crops per photo tell no more than one."""
    values = np.random.default_rng(0).normal(size=12)
    names = np.array([f"photo {i}" for i in range(12)])
    once = bootstrap_interval(values, names)
    often = bootstrap_interval(np.repeat(values, 10), np.repeat(names, 10))
    assert often == pytest.approx(once)
    pretended = bootstrap_interval(np.repeat(values, 10), np.arange(120))
    assert pretended[2] - pretended[1] < 0.5 * (once[2] - once[1])


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        level = rng.normal(size=25)  # of each photo
        values = np.repeat(level, 3) + 0.2 * rng.normal(size=75)
        _, low, high = bootstrap_interval(values, np.repeat(np.arange(25), 3), resamples=300)
        hits += low <= 0 <= high
    # A percentile bootstrap of 25 photos covers a little less than 95 %; three deviations of 200 trials are 5 %.
    assert 0.87 < hits / 200 <= 0.99


def test_intervals_weigh_photos_by_their_crops():
    mean, low, high = bootstrap_interval(np.array([0.0, 0.0, 0.0, 1.0]), np.array(list("aaab")))
    assert mean == 0.25
    assert (low, high) == (0, 1)


def test_missing_values_do_not_count():
    values, names = np.array([1.0, np.nan, 3.0]), np.array(list("abb"))
    assert bootstrap_interval(values, names)[0] == 2
    assert all(np.isnan(bootstrap_interval(values[1:2], names[1:2])))
    assert bootstrap_interval(np.array([2.0, 2.0]), np.array(["a", "b"])) == (2, 2, 2)


def test_a_ratio_is_that_of_the_means_and_its_parts_are_drawn_together():
    rng = np.random.default_rng(2)
    below = rng.uniform(1, 5, size=40)
    photos = np.arange(40)
    assert bootstrap_interval(0.8 * below, photos, denominators=below) == pytest.approx(
        (0.8, 0.8, 0.8)
    )
    value, low, high = bootstrap_interval(below + rng.normal(size=40), photos, denominators=below)
    assert low < value < high
    assert all(np.isnan(bootstrap_interval(below, photos, denominators=0 * below)))

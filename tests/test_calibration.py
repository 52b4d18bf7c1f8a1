"""Calibration finds the temperature that was hidden, and measures how far confidence is from truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from daclip_lab.data.photos import image_folder
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.evaluation.calibrate import calibrate, largest_bias
from daclip_lab.metrics.calibration import (
    calibration_bins,
    expected_calibration_error,
    fit_temperature,
)


def test_a_hidden_temperature_is_found():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 5, generator=generator)
    labels = torch.multinomial((logits / 2.5).softmax(1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.1)


def test_calibration_brings_the_error_down():
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(4000, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    overconfident = 4 * logits

    def error(scores):
        probability, answer = scores.softmax(1).max(1)
        return expected_calibration_error(probability.numpy(), (answer == labels).numpy())

    assert error(logits) < 0.03
    assert error(overconfident) > 0.2
    assert error(overconfident / fit_temperature(overconfident, labels)) < 0.03


def test_the_error_of_known_cases():
    right = np.array([True, True, False, False])
    assert expected_calibration_error(np.full(4, 0.5), right) == 0
    assert expected_calibration_error(np.ones(4), right) == pytest.approx(0.5)
    two = np.array([0.9, 0.9, 0.1, 0.1])
    assert expected_calibration_error(two, right) == pytest.approx(0.1)


@pytest.mark.parametrize("bins", [None, 5, 10])
def test_the_error_is_the_mean_gap_of_the_diagram(bins):
    """By default, too: both have the same bins."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.1, 1, 500)
    correct = rng.random(500) < confidence**2
    options = {} if bins is None else {"bins": bins}
    table = calibration_bins(confidence, correct, **options)
    gap = (table.accuracy - table.confidence).abs()
    error = expected_calibration_error(confidence, correct, **options)
    assert error == pytest.approx(np.average(gap, weights=table.n)) and error > 0.1
    assert table.n.sum() == 500 and table.confidence.is_monotonic_increasing
    if bins:
        inside = (confidence >= 1 - 1 / bins).sum()
        assert table.n.iloc[-1] == inside
        assert table.accuracy.iloc[-1] == correct[confidence >= 1 - 1 / bins].mean()


def test_a_pipeline_is_calibrated_the_same_at_every_run(pipe, photo_folder):
    photos = image_folder(photo_folder)
    first = calibrate(pipe, photos, crops=1)
    assert first.temperature > 0 and first.clean_bias != 0
    pipe.settings = replace(pipe.settings, **first._asdict())
    again = calibrate(pipe, photos, crops=1)
    assert again == pytest.approx(first, abs=1e-4)


@pytest.mark.parametrize("clean", [0, 2, 4])
@pytest.mark.parametrize("misses", [0.0, 0.03, 0.5])
def test_the_bias_is_the_largest_that_keeps_the_misses_rare(clean, misses):
    logits = 5 * torch.randn(200, 5, generator=torch.Generator().manual_seed(2))

    def missed(bias):
        biased = logits.clone()
        biased[:, clean] += bias
        return (biased.argmax(1) == clean).float().mean().item()

    bias = largest_bias(logits, clean, misses)
    assert missed(bias - 1e-4) <= misses < missed(bias + 1e-4)


def test_weights_without_a_clean_label_have_no_bias(pipe, photo_folder):
    labels = tuple(label for label in pipe.settings.labels if label != CLEAN)
    pipe.settings = replace(pipe.settings, labels=labels)
    assert calibrate(pipe, image_folder(photo_folder), crops=1).clean_bias == 0

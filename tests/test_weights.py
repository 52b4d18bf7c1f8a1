"""The shipped weights are small, load, know more than chance, and repair more than they harm."""

import pytest

from daclip_lab.data.photos import sample_photos
from daclip_lab.evaluation.evaluation import evaluate
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.pipeline.loading import SHIPPED, load


@pytest.fixture(scope="module")
def table():
    return evaluate(load("lab"), sample_photos("test"), Protocol(crops=4)).table()


def test_all_shipped_weights_take_less_than_25_mb():
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) < 25e6


def test_degradations_are_named_far_better_than_by_chance(table):
    assert table.accuracy["overall"] > 0.5
    assert table.accuracy["overall"] > table.clip_accuracy["overall"]


def test_restoring_brings_photos_nearer_to_the_clean_ones(table):
    assert table.psnr_gain["overall"] > 2
    assert table.ssim["overall"] > table.ssim_input["overall"]


def test_the_card_names_the_commands():
    card = (SHIPPED / "lab" / "README.md").read_text()
    for command in ("daclip-lab train all", "daclip-lab evaluate", "python -m benchmarks real"):
        assert command in card

"""Ablations: variants differ in their conditioning only, and an interrupted study resumes with the same numbers."""

import numpy as np
import pandas as pd
import pytest
import torch

from daclip_lab.ablation.conditioning import (
    build_eval_set,
    conditioning_gains,
    mask_embeddings,
    paired_differences,
)
from daclip_lab.data.photos import image_folder
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.models.daclip import Embeddings


@pytest.fixture(scope="module")
def eval_set(photo_folder):
    return build_eval_set(image_folder(photo_folder), Protocol(crop=32))


@pytest.fixture
def embeddings():
    generator = torch.Generator().manual_seed(0)
    return Embeddings(*(torch.randn(3, 4, generator=generator) for _ in range(2)))


# ---- conditioning at inference ----


def test_an_evaluation_set_has_every_photo_in_all_ten_degradations(eval_set):
    assert len(eval_set.clean) == len(eval_set.degraded) == len(eval_set.metadata) == 20
    assert eval_set.metadata.groupby("photo").degradation.nunique().tolist() == [10, 10]
    assert (eval_set.gain(eval_set.degraded) == 0).all()
    assert (eval_set.gain(eval_set.clean) > 0).all()


def test_embeddings_that_are_not_kept_are_zero(embeddings):
    assert mask_embeddings(embeddings, ("content",)).content is embeddings.content
    assert not mask_embeddings(embeddings, ("content",)).degradation.any()
    assert not any(e.any() for e in mask_embeddings(embeddings, ()))


def test_gains_are_those_of_the_restorations(pipe, eval_set):
    own = pipe.encode(list(eval_set.degraded))
    two = {"none": mask_embeddings(own, ()), "both": own}
    gains, restored = conditioning_gains(pipe, eval_set, two, steps=1)
    assert np.array_equal(gains["both"], eval_set.gain(restored["both"]))
    assert not torch.equal(restored["both"], restored["none"])


def test_paired_differences_cancel_what_photos_share():
    metadata = pd.DataFrame({"photo": ["a", "a", "b", "b"], "degradation": ["hazy", "noisy"] * 2})
    values = pd.DataFrame({"none": [1.0, 9.0, 3.0, 5.0]}).assign(both=lambda t: t.none + 0.5)
    table = paired_differences(values, "none", metadata)
    assert table.degradation.tolist() == ["overall", "hazy", "noisy"]
    assert set(table.conditioning) == {"both"}
    assert np.allclose(table[["difference", "low", "high"]], 0.5)
    assert table.n.tolist() == [4, 2, 2] and set(table.photos) == {2}

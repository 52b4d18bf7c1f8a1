"""Studies without training: what a run measures, the laws of guidance and samplers, and the figures that show it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from PIL import Image
from simulated_study import METRIC, simulated, study_table

from daclip_lab.ablation.conditioners import KINDS
from daclip_lab.ablation.results import StudyResults
from daclip_lab.ablation.statistics import compare, means
from daclip_lab.ablation.studies import study
from daclip_lab.ablation.study import Context
from daclip_lab.ablation.tasks.inference import InferenceTrial
from daclip_lab.data.photos import Photos, sample_photos
from daclip_lab.diffusion.samplers import SAMPLERS
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.figures.ablation.headline import (
    GUIDANCE,
    SOURCES,
    WAYS,
    conditioning_bars,
    perception_distortion,
    restored_each_way,
    source_of,
)
from daclip_lab.figures.primitives import figure_png
from daclip_lab.figures.style import WIDTH, size_of
from daclip_lab.pipeline.loading import load

CASES = [
    (name, variant.name)
    for name in ("headline", "sampler")
    for variant in study(name).variants
    if study(name).trial_of(variant.name).steps <= 2  # more take long and show nothing new
]
SMALL = InferenceTrial(exam=2, large_exam=0)


@pytest.fixture(scope="module")
def context(weights, tmp_path_factory):
    pipe = load(weights)
    pipe.sde = MeanRevertingSDE(steps=20)  # enough for every number of steps of the study
    photos = sample_photos("test")
    return Context(
        pipe=pipe,
        train=sample_photos("train"),
        test=Photos(photos.paths[:2]),
        device=torch.device("cpu"),
        cache=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture
def measured(context):
    """What a trial measures under a seed."""

    def measure(trial, seed=0, shares=None):
        running = trial.run(seed, context)
        while True:
            try:
                share = next(running)
            except StopIteration as end:
                return end.value
            if shares is not None:
                shares.append(share)

    return measure


# ---- runs ----


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_every_variant_runs_and_measures_what_decides(measured, name, variant):
    chosen, shares = study(name).smoke(), []
    trial = chosen.trial_of(variant)
    assert chosen.metric == f"gain at {trial.large_side} px"
    # The largest batches: those of 64 px, or of 128 px beside them.
    side = 128 if trial.exam else 64
    table, crops = measured(replace(trial, large_side=side), shares=shares)
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1
    assert list(table.columns) == ["image", "photo", "degradation", "metric", "value"]
    wanted = {"headline": {"gain at 64 px", "gain at 128 px"},
              "sampler": {"gain at 64 px", "distance at 64 px"}}  # fmt: skip
    assert set(table.metric) == wanted[name]
    assert np.isfinite(table.value).all() and not table.duplicated(["image", "metric"]).any()
    assert table.groupby("metric").photo.nunique().eq(2).all()
    assert len(crops) == 8
    for crop in crops.values():
        assert crop.shape == (3, 128, 128) and crop.min() >= 0 and crop.max() <= 1


def test_the_headline_study_has_every_conditioning_and_shows_what_its_figures_need():
    chosen = study("headline")
    assert [chosen.trial_of(v.name).conditioning for v in chosen.variants] == list(KINDS)
    assert set(WAYS) <= set(KINDS)


def test_the_seed_decides_the_noise(measured):
    first, again, other = (measured(SMALL, seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)
    for name, crop in first.crops.items():
        assert torch.equal(crop, again.crops[name]) and not torch.equal(crop, other.crops[name])


def test_variants_restore_from_the_same_noise(context, measured, monkeypatch):
    """A network that gives back the noisy state gives the same under every conditioning, and not under another seed."""
    network = context.pipe.require_restorer()
    monkeypatch.setattr(network, "forward", lambda state, *_: state)
    one, other = (measured(replace(SMALL, conditioning=kind)) for kind in ("nothing", "wrong word"))
    assert np.array_equal(one.table.value, other.table.value)
    assert not np.array_equal(one.table.value, measured(SMALL, seed=1).table.value)


# ---- samplers and guidance ----


def test_with_one_step_all_samplers_agree(measured):
    tables = [measured(replace(SMALL, sampler=sampler)).table for sampler in SAMPLERS]
    for table in tables[1:]:
        assert np.allclose(table.value, tables[0].value, atol=1e-4)


def test_with_more_steps_they_do_not(measured):
    values = [measured(replace(SMALL, sampler=name, steps=3)).table.value for name in SAMPLERS]
    for k, one in enumerate(values):
        assert not any(np.allclose(one, other, atol=1e-4) for other in values[:k])


def test_guidance_runs_from_no_condition_past_the_conditioned_prediction(measured):
    nothing = measured(replace(SMALL, conditioning="nothing"))
    plain, zero, half = (measured(replace(SMALL, guidance=w)) for w in (1.0, 0.0, 0.5))
    assert np.allclose(zero.table.value, nothing.table.value, atol=1e-4)
    assert not np.allclose(zero.table.value, plain.table.value, atol=1e-4)
    for name, crop in half.crops.items():
        ends = torch.stack([zero.crops[name], plain.crops[name]])
        inside = ((ends > 0) & (ends < 1)).all(0)
        torch.testing.assert_close(crop[inside], ends.mean(0)[inside], atol=1e-5, rtol=0)


# ---- the distance ----


def smoothed(images):
    return torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


def test_the_distance_asks_for_textures_and_not_for_pixels(measured, monkeypatch):
    """A photo that is moved loses more decibels than a soft one, and is nearer to photos."""
    trial = InferenceTrial(exam=0, large_exam=1, large_side=96, distance=True)
    found = {}
    for name, change in {
        "moved": lambda images: images.roll(2, -1),
        "soft": smoothed,
        "softer": lambda images: smoothed(smoothed(images)),
        "same": lambda images: images,
    }.items():
        monkeypatch.setattr(
            "daclip_lab.ablation.tasks.inference.restore", lambda *a, f=change, **_: f(a[2].clean)
        )
        found[name] = measured(trial).table.groupby("metric").value.mean()
    distances = {name: means["distance at 96 px"] for name, means in found.items()}
    assert distances["same"] == 0
    assert distances["moved"] < distances["soft"] < distances["softer"]
    assert found["moved"]["gain at 96 px"] < found["soft"]["gain at 96 px"]


# ---- the bars ----

TRUTH = {"nothing": 2.6, "CLIP's word": 2.6, "DA-CLIP's word": 4.8, "wrong word": 1.0}


def spans(axes):
    """The intervals drawn, from the top; without those of their white edges, and of bars that have none."""
    lines = [line for line in axes.collections if isinstance(line, LineCollection)]
    return np.array([segment[:, 0] for segment in lines[-1].get_segments() if segment.size])


def test_every_conditioning_has_a_source():
    assert {kind: source_of(kind) for kind in KINDS} == {
        "nothing": "nothing",
        "CLIP's embedding": "plain CLIP",
        "CLIP's word": "plain CLIP",
        "DA-CLIP's word": "DA-CLIP",
        "DA-CLIP's degradation": "DA-CLIP",
        "DA-CLIP's content": "DA-CLIP",
        "DA-CLIP's embeddings": "DA-CLIP",
        "true word": "the truth",
        "true word and clean content": "the truth",
        "wrong word": "something false",
        "another photo's content": "something false",
    }
    assert source_of("DA-CLIP's embeddings, dropout 0.1") == "DA-CLIP"


def test_bars_are_means_and_whiskers_are_differences_to_the_baseline():
    results = simulated(TRUTH, comparisons=[("DA-CLIP's word", "CLIP's word")], seeds=1)
    (axes,) = conditioning_bars(results).axes
    mean = means(results.table, METRIC).set_index("variant")["mean"]
    compared = compare(results.table, results.info, METRIC).iloc[:3]
    bars = [bar.get_width() for bar in axes.patches[: len(TRUTH)]]
    assert bars == pytest.approx(mean[list(TRUTH)].tolist())
    ends = mean["nothing"] + compared[["low_all", "high_all"]].to_numpy()
    assert spans(axes) == pytest.approx(ends)
    bold = [text.get_weight() == "bold" for text in axes.texts if text.get_text()]
    assert bold == [False, *(compared.decided != "not decided")]
    assert [text.get_text() for text in axes.texts if text.get_text()] == [
        f"{value:.2f}" for value in mean[list(TRUTH)]
    ]


def test_bars_take_the_colour_of_their_source_and_a_panel_for_each_size():
    table = pd.concat([study_table(TRUTH, seeds=1, photos=4),
                       study_table(TRUTH, seeds=1, photos=3, metric="gain at 256 px")])  # fmt: skip
    figure = conditioning_bars(simulated(TRUTH, table=table))
    assert len(figure.axes) == 2 and size_of(figure)[0] == WIDTH
    for axes in figure.axes:
        colors = [bar.get_facecolor() for bar in axes.patches[: len(TRUTH)]]
        assert colors == [to_rgba(SOURCES[source_of(name)]) for name in TRUTH]
    assert figure_png(figure)[:4] == b"\x89PNG"


def test_an_unfinished_study_has_bars_as_far_as_it_goes():
    results = simulated(TRUTH, seeds=1, photos=4)
    results.table = results.table[results.table.variant.isin(["CLIP's word", "wrong word"])]
    (axes,) = conditioning_bars(results).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["CLIP's word", "wrong word"]


def test_a_study_without_a_gain_has_no_bars():
    with pytest.raises(InputError, match="accuracy"):
        conditioning_bars(simulated(TRUTH, metric="accuracy", photos=3))


# ---- one photo restored each way ----


@pytest.fixture
def results(tmp_path):
    """A folder with the crops of one photo, each of one brightness."""
    names = [
        "degraded",
        "clean",
        *(f"{w.lower().replace(chr(39), '-').replace(' ', '-')}/0" for w in WAYS),
    ]
    for k, name in enumerate(names):
        (tmp_path / "crops" / name).mkdir(parents=True)
        picture = Image.new("RGB", (128, 128), (40 * k,) * 3)
        picture.save(tmp_path / "crops" / name / "lake-low-light.webp", lossless=True)
    return StudyResults(tmp_path)


def test_the_strip_shows_the_photo_as_given_the_truth_and_each_way(results):
    figure = restored_each_way(results)
    assert [a.get_title(loc="left").replace("\n", " ") for a in figure.axes] == [
        "degraded",
        "clean",
        *WAYS,
    ]
    shown = [axes.images[0].get_array().mean() for axes in figure.axes]
    assert shown == pytest.approx([40 * k / 255 for k in range(6)], abs=1e-3)
    assert size_of(figure)[0] <= WIDTH
    assert len({axes.get_position().y0 for axes in figure.axes}) == 1


def test_a_crop_that_no_run_restored_is_named(results):
    with pytest.raises(InputError, match="'otter'"):
        restored_each_way(results, "otter")


# ---- the plane ----


@pytest.fixture(scope="module")
def plane():
    """Results with a gain and a distance for one step, a sampler and guidance."""
    levels = {"one step": (5, 0.2), "ddim, 2 steps": (4, 0.1), "ddim, 9 steps": (3, 0.05),
              "guidance 0.5": (4.5, 0.3), "guidance 2": (4.2, 0.25)}  # fmt: skip
    tables = [
        study_table({name: at[k] for name, at in levels.items()}, seeds=1, metric=metric, rng=k)
        for k, metric in enumerate((METRIC, "distance at 64 px"))
    ]
    found = simulated(levels, table=pd.concat(tables))
    for variant in found.info["variants"]:
        kind, _, number = variant["name"].partition(" ")
        if kind == "ddim,":
            variant["change"] = {"sampler": "ddim", "steps": int(number.split()[0])}
        elif kind == "guidance":
            variant["change"] = {"guidance": float(number)}
    return found


def test_lines_of_the_plane_pass_the_baseline_in_the_order_of_steps_and_of_w(plane):
    (axes,) = perception_distortion(plane).axes
    places = pd.DataFrame({metric: means(plane.table, metric).set_index("variant")["mean"]
                           for metric in (METRIC, "distance at 64 px")})  # fmt: skip
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    orders = {"ddim": ["one step", "ddim, 2 steps", "ddim, 9 steps"],
              GUIDANCE: ["guidance 0.5", "one step", "guidance 2"]}  # fmt: skip
    assert set(lines) == set(orders)
    for name, order in orders.items():
        assert lines[name] == pytest.approx(places.loc[order].to_numpy())
    assert sorted(text.get_text() for text in axes.texts) == ["0.5", "2", "2", "9"]


def test_the_frame_of_the_plane_holds_every_mark(plane):
    (axes,) = perception_distortion(plane).axes
    for line in axes.lines:
        inside = [axes.viewLim.contains(*place) for place in line.get_xydata()]
        assert all(inside)


def test_a_plane_needs_a_distance():
    with pytest.raises(InputError, match="distance"):
        perception_distortion(simulated(TRUTH, photos=3))


@pytest.mark.parametrize(
    "wrong",
    [{"sampler": "euler"}, {"conditioning": "a poem"}, {"exam": 0, "large_exam": 0}],
    ids=str,
)
def test_a_trial_that_cannot_be_run_is_refused_before_any_work(wrong):
    with pytest.raises(InputError, match="|".join(map(str, wrong.values()))):
        replace(SMALL, **wrong)

"""Intervals of a study cover the truth as often as they say, alone and together; its power is what it promises."""

import numpy as np
import pandas as pd
import pytest
from simulated_study import DEGRADATIONS, METRIC, study_table

from daclip_lab.ablation.power import (
    detectable,
    power_sentence,
    seeds_needed,
    spread_of,
)
from daclip_lab.ablation.statistics import (
    compare,
    compare_by_degradation,
    means,
    paired,
    pairs_of,
    seed_means,
    simultaneous_level,
)
from daclip_lab.ablation.study import Spread, Study, Variant
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.metrics.crossed import LEVEL, components, reaches

FLAT = dict.fromkeys(("a", "b", "c", "d", "e"), 0.0)
PAIRS = [("b", "a"), ("c", "a"), ("d", "a"), ("e", "a")]


# ---- coverage ----


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"seeds": 5}, id="five seeds"),
        pytest.param({"seeds": 3, "of_seeds": 0.5}, id="three seeds that decide"),
        pytest.param({"seeds": 5, "photos": 8}, id="eight photos"),
        pytest.param({"seeds": 1, "of_seeds": 0.0, "photos": 40}, id="one seed"),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(options):
    """200 studies without any difference: single intervals one by one, simultaneous ones all at once."""
    rng = np.random.default_rng(3)
    single, together = [], []
    for _ in range(200):
        found = compare(study_table(FLAT, rng=rng, **options), PAIRS, METRIC, resamples=600)
        single.append(((found.low <= 0) & (found.high >= 0)).mean())
        together.append(((found.low_all <= 0) & (found.high_all >= 0)).all())
    assert 0.92 <= np.mean(single) <= 0.98
    assert 0.92 <= np.mean(together) <= 0.98


def test_the_plain_bootstrap_of_seeds_would_be_too_narrow():
    """Why t: quantiles of five redrawn seeds miss the truth three times as often as they say."""
    rng, hits = np.random.default_rng(0), 0
    draws = rng.integers(5, size=(400, 5))
    for _ in range(400):
        seeds = rng.normal(size=5)
        low, high = np.quantile(seeds[draws].mean(1), [0.025, 0.975])
        hits += low <= 0 <= high
    assert hits / 400 < 0.88


# ---- laws ----


def test_variance_components_are_those_of_the_textbook():
    """Two seeds and three photos by hand: means 1 and 2 of seeds, 0, 1.5 and 3 of photos, nothing left."""
    found = components([[-0.5, 0.5], [1.0, 2.0], [2.5, 3.5]])
    assert found.mean == 1.5
    assert found.of_seeds == pytest.approx(0.5 / 2)
    assert found.of_photos == pytest.approx(2.25 / 3)
    assert found.of_rest == pytest.approx(0)
    # 12.706 and 4.303 are the 97.5 % quantiles of Student's t with 1 and 2 degrees of freedom.
    assert found.reach() == pytest.approx((12.706**2 * 0.25 + 4.303**2 * 0.75) ** 0.5, rel=1e-3)
    assert found.interval() == pytest.approx((1.5 - found.reach(), 1.5 + found.reach()))


def test_many_reaches_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    shapes = [(9, 5), (1, 5), (9, 1), (1, 1)]
    found = [components(rng.normal(size=shape)) for shape in shapes]
    levels = np.array([0.05, 0.01, 0.02, 0.05])
    parts = [np.array(part) for part in zip(*(one[1:] for one in found), strict=True)]
    alone = [one.reach(level) for one, level in zip(found, levels, strict=True)]
    assert reaches(*parts, levels) == pytest.approx(alone, nan_ok=True)
    assert np.isnan(alone).tolist() == [False, False, False, True]


def test_the_variance_of_the_mean_is_estimated_without_bias():
    rng = np.random.default_rng(0)
    estimates, level = [], []
    for _ in range(600):
        values = 0.3 * rng.normal(size=(20, 1)) + 0.2 * rng.normal(size=(1, 5))
        found = components(values + 0.5 * rng.normal(size=(20, 5)))
        estimates.append(found.of_seeds + found.of_photos - found.of_rest)
        level.append(found.mean)
    truth = 0.3**2 / 20 + 0.2**2 / 5 + 0.5**2 / 100
    assert np.mean(estimates) == pytest.approx(truth, rel=0.1)
    assert np.var(level) == pytest.approx(truth, rel=0.15)


def test_what_images_share_cancels_in_a_difference():
    truth = {"a": 0.0, "b": 0.5}
    table = study_table(truth, of_photos=0.0, of_rest=0.0, of_images=0.0, of_seeds=0.0)
    row = compare(table, [("b", "a")], METRIC).iloc[0]
    assert (row.difference, row.low, row.high_all) == pytest.approx((0.5, 0.5, 0.5))
    alone = means(table, METRIC).set_index("variant").loc["b"]
    assert alone.high - alone.low > 1


def test_images_of_one_photo_count_once():
    """Ten copies of every image tell no more than one."""
    table = study_table({"a": 0.0, "b": 0.2})
    copies = pd.concat([table.assign(image=table.image + f" {k}") for k in range(10)])
    once, often = (compare(t, [("b", "a")], METRIC).iloc[0] for t in (table, copies))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_a_photo_with_more_images_weighs_more():
    table = study_table({"a": 0.0, "b": 0.0}, photos=4, of_images=0.0, of_rest=0.0, of_seeds=0.0)
    part = table[(table.photo != "photo 0") | (table.degradation == "rainy")]
    difference = paired(part, ("b", "a"), METRIC)
    images = part[part.variant == "b"].value.to_numpy() - part[part.variant == "a"].value.to_numpy()
    assert difference.to_numpy().mean() == pytest.approx(images.mean())


def test_simultaneous_intervals_lie_between_single_ones_and_bonferroni():
    table = study_table(FLAT)
    parts = {(*pair, None): paired(table, pair, METRIC) for pair in PAIRS}
    first = parts["b", "a", None]
    assert LEVEL / 4 <= simultaneous_level(parts) < LEVEL
    assert simultaneous_level({("b", "a", None): first}) == pytest.approx(LEVEL, rel=0.1)
    found = compare(table, PAIRS, METRIC)
    assert (found.low_all <= found.low).all()
    assert (found.high_all >= found.high).all()


def test_the_other_way_round_gives_the_negative():
    table = study_table({"a": 0.0, "b": 0.4})
    one, other = (compare(table, [pair], METRIC).iloc[0] for pair in (("a", "b"), ("b", "a")))
    ends = (one.difference, one.low, one.high_all)
    assert ends == pytest.approx((-other.difference, -other.high, -other.low_all))
    assert {one.decided, other.decided} == {"better", "worse"}


def test_lower_is_better_for_distances():
    table = study_table({"a": 0.0, "b": 1.0, "c": 0.0}, metric="distance at 256 px")
    found = compare(table, [("b", "a"), ("c", "a")], "distance at 256 px")
    assert found.decided.tolist() == ["worse", "not decided"]


def test_the_same_seed_gives_the_same_numbers():
    table = study_table(FLAT)
    pd.testing.assert_frame_equal(compare(table, PAIRS, METRIC), compare(table, PAIRS, METRIC))
    shuffled = table.sample(frac=1, random_state=0)
    one, other = compare(table, PAIRS, METRIC), compare(shuffled, PAIRS, METRIC)
    pd.testing.assert_frame_equal(one, other)


def test_a_golden_comparison():
    row = compare(study_table({"a": 0.0, "b": 0.3}), [("b", "a")], METRIC).iloc[0]
    assert (row.seeds, row.photos, row.decided) == (5, 30, "better")
    ends = (row.difference, row.low, row.high)
    assert ends == pytest.approx((0.28318, 0.10002, 0.46634), abs=1e-4)


# ---- partial and small results ----


def test_unfinished_runs_are_left_out():
    table = study_table({"a": 0.0, "b": 0.2, "c": 0.1})
    partial = table[~((table.variant == "b") & (table.seed > 2)) & (table.variant != "c")]
    found = compare(partial, [("b", "a"), ("c", "a")], METRIC)
    assert found.variant.tolist() == ["b"]
    assert found.seeds.tolist() == [3]
    whole = table[table.seed <= 2]
    assert found.difference[0] == pytest.approx(compare(whole, [("b", "a")], METRIC).difference[0])
    assert compare(partial, [("c", "a")], METRIC).empty


def test_an_image_without_a_value_is_left_out_of_all_seeds():
    table = study_table({"a": 0.0, "b": 0.2}, photos=6)
    holes = table.copy()
    holes.loc[(holes.photo == "photo 3") & (holes.seed == 1), "value"] = np.nan
    found, kept = (
        compare(t, [("b", "a")], METRIC) for t in (holes, table[table.photo != "photo 3"])
    )
    pd.testing.assert_frame_equal(found, kept)


def test_a_single_photo_and_seed_decide_nothing():
    row = compare(study_table({"a": 0, "b": 9}, photos=1, seeds=1), [("b", "a")], METRIC).iloc[0]
    assert np.isnan(row.low)
    assert row.decided == "not decided"


def test_categories_and_small_floats_give_the_same():
    """The engine stores text as categories and values in single precision."""
    table = study_table(FLAT)
    small = table.astype({"value": "float32", "variant": "category", "photo": "category",
                          "image": "category", "degradation": "category"})  # fmt: skip
    one, other = compare(table, PAIRS, METRIC), compare(small, PAIRS, METRIC)
    assert other.low_all.to_numpy() == pytest.approx(one.low_all.to_numpy(), abs=1e-5)


def test_wrong_input_is_named():
    table = study_table({"a": 0.0, "b": 0.2})
    with pytest.raises(InputError, match=METRIC):
        compare(table, [("b", "a")], "gane")
    with pytest.raises(InputError, match="two values"):
        compare(pd.concat([table, table]), [("b", "a")], METRIC)


# ---- tables ----


def test_degradations_are_compared_one_by_one():
    table = study_table({"a": 0.0, "b": 0.2})
    table.loc[(table.variant == "b") & (table.degradation == "hazy"), "value"] += 2
    found = compare_by_degradation(table, [("b", "a")], METRIC).set_index("degradation")
    assert set(found.index) == set(DEGRADATIONS)
    assert found.difference.idxmax() == "hazy"
    overall = compare(table, [("b", "a")], METRIC).difference[0]
    assert found.difference.mean() == pytest.approx(overall)
    alone = compare(table[table.degradation == "hazy"], [("b", "a")], METRIC).iloc[0]
    assert found.low["hazy"] == pytest.approx(alone.low)
    assert found.low_all["hazy"] < alone.low_all


def test_means_and_those_of_seeds_agree():
    table = study_table({"a": 0.0, "b": 0.2})
    mean = means(table, METRIC).set_index("variant")["mean"]
    assert seed_means(table, METRIC).mean(axis=1).to_dict() == pytest.approx(mean.to_dict())
    by = means(table, METRIC, by="degradation")
    assert by.groupby("variant")["mean"].mean().to_dict() == pytest.approx(mean.to_dict())


class NoTrial:
    def smoke(self):
        return self

    def run(self, seed, context):
        yield 1.0


def a_study(**more):
    variants = tuple(Variant(name=name) for name in ("a", "b", "c"))
    return Study(name="s", question="?", trial=NoTrial(), variants=variants, baseline="b",
                 metric=METRIC, **more)  # fmt: skip


def test_the_comparisons_of_a_study_are_those_with_the_baseline_and_its_own():
    expected = [("a", "b"), ("c", "b"), ("c", "a")]
    assert pairs_of(a_study(comparisons=(("c", "a"), ("a", "b")))) == expected
    info = {"variants": [{"name": n} for n in "abc"], "baseline": "b", "comparisons": [["c", "a"]]}
    assert pairs_of(info) == expected
    assert pairs_of(expected) == expected


# ---- power ----


def test_the_promised_power_is_reached():
    """Of studies with the smallest difference that is promised, about 80 % decide it."""
    parts = {"of_seeds": 0.1, "of_photos": 0.4, "of_rest": 0.3, "of_images": 0.0}
    spread = Spread(seeds=0.1 * 2**0.5, photos=0.4 * 2**0.5, rest=0.3 * 2**0.5)
    smallest = detectable(spread, 5, 60, 3)
    truth = dict.fromkeys("abcd", smallest) | {"a": 0.0}
    rng = np.random.default_rng(0)
    decided = [
        (compare(study_table(truth, photos=60, rng=rng, **parts), PAIRS[:3], METRIC,
                 resamples=500).decided == "better").mean()
        for _ in range(150)
    ]  # fmt: skip
    assert 0.75 < np.mean(decided) < 0.9


def test_the_spread_is_found_again():
    parts = {"of_seeds": 0.3, "of_photos": 0.5, "of_rest": 0.4, "of_images": 0.0}
    tables = [study_table({"a": 0, "b": 0}, photos=60, rng=r, **parts) for r in range(40)]
    found = [spread_of(table, METRIC, ("b", "a")) for table in tables]
    for part, truth in (("seeds", 0.3), ("photos", 0.5), ("rest", 0.4)):
        squares = [getattr(spread, part) ** 2 for spread in found]
        assert np.mean(squares) == pytest.approx(2 * truth**2, rel=0.2)


def test_more_of_anything_shows_smaller_differences():
    spread = Spread(seeds=0.2, photos=0.5, rest=0.3)
    sizes = [
        detectable(spread, *size) for size in ((3, 50, 4), (6, 50, 4), (12, 50, 4), (12, 99, 4))
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert detectable(spread, 5, 50, 8) > detectable(spread, 5, 50, 4)
    assert detectable(spread, 5, 50, 4, power=0.9) > detectable(spread, 5, 50, 4)
    assert detectable(Spread(seeds=0, photos=0), 5, 50, 4) == 0


def test_the_seeds_needed_are_the_fewest():
    spread = Spread(seeds=0.2, photos=0.5, rest=0.3)
    seeds = seeds_needed(spread, 0.3, 100, 4)
    assert detectable(spread, seeds, 100, 4) <= 0.3 < detectable(spread, seeds - 1, 100, 4)
    with pytest.raises(InsufficientDataError, match="photos"):
        seeds_needed(spread, 0.01, 100, 4)


def test_the_power_sentence_holds_the_numbers():
    spread = Spread(seeds=0.1, photos=0.4, rest=0.2)
    sentence = power_sentence(a_study(spread=spread), 5, 100)
    for part in (
        "5 seeds",
        "100 photos",
        f"{detectable(spread, 5, 100, 2):.2g} dB",
        "2 comparisons",
    ):
        assert part in sentence
    assert "one seed" in power_sentence(a_study(spread=spread), 1, 100)
    assert "not known" in power_sentence(a_study(), 5, 100, results=[])


@pytest.mark.parametrize("size", [(0, 50, 1), (5, 1, 1), (5, 50, 0)])
def test_an_impossible_study_is_refused(size):
    with pytest.raises(InputError, match="wanted"):
        detectable(Spread(seeds=0.1, photos=0.1), *size)

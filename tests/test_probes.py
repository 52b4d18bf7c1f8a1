"""Measures of embedding spaces: known values on planted embeddings, errors where the data do not support them."""

from dataclasses import replace

import numpy as np
import pytest
from planted import LABELS, PHOTOS, changed, ideal_table, noise_like

from daclip_lab.course.analysis import disentanglement
from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.embeddings import alignment, class_separation, probes
from daclip_lab.errors import InputError, InsufficientDataError
from daclip_lab.metrics.bootstrap import bootstrap_statistic, estimate_mean, estimate_statistic


@pytest.fixture(scope="module")
def ideal():
    return ideal_table()


# ---- intervals ----


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for seed in range(60):
        offsets = rng.normal(size=30).repeat(5)  # rows of one photo agree
        photos = np.arange(30).repeat(5).astype(str).astype(object)
        found = estimate_statistic(
            lambda rows, x=offsets: x[rows].mean(), photos, resamples=200, seed=seed
        )
        hits += found.low <= 0 <= found.high
        assert found.n == 150 and found.photos == 30
    assert 50 <= hits <= 60
    # Had rows been drawn instead, the interval would be less than half as wide.
    assert found.high - found.low > 4 * 1.96 / np.sqrt(150) * 0.8


def test_an_interval_lies_about_its_estimate_even_where_resamples_are_biased():
    photos = np.arange(12).astype(str)
    distinct = lambda rows: len(set(rows)) / 12  # noqa: E731 - every resample repeats some
    value, low, high = bootstrap_statistic(distinct, photos, recentre=True)
    assert value == 1 and low < 1 < high
    assert bootstrap_statistic(distinct, photos)[2] < 1


def test_rows_that_say_nothing_are_left_out_of_a_mean():
    values = np.array([1.0, np.nan] * 10)
    found = estimate_mean(values, np.arange(20).astype(str), chance=0.5)
    assert found[:4] == (1, 1, 1, 0.5) and found.n == 10
    assert str(found) == "1.000 [1.000, 1.000]"
    with pytest.raises(InputError, match="9 rows are too few"):
        estimate_mean(values[:18], np.arange(18).astype(str))
    with pytest.raises(InputError, match="come from the photo 'p'"):
        estimate_mean(np.ones(20), ["p"] * 20)


# ---- probes ----


@pytest.mark.parametrize("probe", probes.PROBES)
def test_a_probe_reads_what_is_there_and_guesses_elsewhere(ideal, probe):
    found = probes.probe_accuracy(ideal, "degradation", probe=probe)
    assert found.value == 1 and found.chance == pytest.approx(1 / 3)
    assert found.n == len(ideal) and found.photos == PHOTOS
    assert probes.probe_accuracy(ideal, "content", probe=probe).value < 0.5


@pytest.mark.parametrize("probe", probes.PROBES)
def test_a_probe_cannot_cheat_by_knowing_the_photo(ideal, probe):
    # Each photo has one label and is one point: neighbours of the same photo would give it away.
    own = [LABELS[int(photo[1:]) % 3] for photo in ideal.rows.photo]
    found = probes.probe_accuracy(changed(ideal, degradation=own), "clean", probe=probe)
    assert found.value < 0.7


def test_rows_without_a_label_do_not_count(ideal):
    some = [label if k % 2 else None for k, label in enumerate(ideal.rows.degradation)]
    right = probes.probe_correct(changed(ideal, degradation=some), "degradation")
    assert np.isnan(right[::2]).all() and (right[1::2] == 1).all()


def test_severity_is_read_where_it_is_written(ideal):
    table = probes.severity_regression(ideal)
    assert list(table.index) == [*LABELS, "overall"] and (table.value > 0.9).all()
    assert (table.rmse < 0.1).all() and table.n.overall == len(ideal)
    assert (table.low <= table.value).all() and (table.value <= table.high).all()
    blind = probes.severity_regression(ideal, "clean")
    assert blind.value.overall < 0.1


def test_disentanglement_of_a_perfect_split(ideal):
    table = disentanglement(ideal).set_index(["target", "space"]).value
    assert table["degradation", "degradation"] == 1 and table["degradation", "content"] < 0.5
    assert table["content", "content"] > 0.9 and table["content", "degradation"] < 0.1
    # CLIP alone mixes both.
    assert table["degradation", "clip"] > 0.6 and 0.1 < table["content", "clip"] < 0.9


# ---- geometry ----


def test_silhouette_is_high_for_islands_and_near_zero_without(ideal):
    islands = changed(ideal, degradation=np.repeat(LABELS, 40))
    islands = replace(islands, clip=np.eye(3, 8).repeat(40, 0))
    assert class_separation.silhouette(islands, "clip").value == pytest.approx(1)
    assert abs(class_separation.silhouette(ideal, "content").value) < 0.1


def test_centres_lie_where_they_were_put(ideal):
    planted = np.eye(3, 8)[[LABELS.index(name) for name in ideal.rows.degradation]]
    planted[:, 1] += 0.5 * planted[:, 0]  # "hazy" leans towards "noisy"
    table = class_separation.centroid_distances(replace(ideal, clip=planted), "clip")
    assert list(table["first"] + table["second"]) == ["hazynoisy", "hazyrainy", "noisyrainy"]
    assert table.value.to_numpy() == pytest.approx([1 - 0.5 / np.hypot(1, 0.5), 1, 1], abs=1e-6)


def test_cka_is_one_for_a_turned_space_and_low_for_a_strange_one(ideal):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    turned = alignment.clean_cka(replace(ideal, content=ideal.clean @ turn), "content")
    assert turned.value == pytest.approx(1, abs=1e-5) and turned.high - turned.low < 1e-4
    strange = alignment.clean_cka(replace(ideal, content=noise_like(ideal.clean)), "content")
    assert strange.value < 0.2 and strange.chance < 0.6
    assert alignment.clean_cka(ideal, "clip").value < turned.value


def test_the_strength_of_a_regression_is_not_judged_by_rows_of_the_photos_it_learned_from():
    """Each photo has a place and a severity of its own: among its rows one tells the other, among photos none does."""
    draw = np.random.default_rng(0)
    photos = np.repeat([f"p{k}" for k in range(20)], 6)
    vectors = draw.normal(size=(20, 30)).repeat(6, 0) + 0.1 * draw.normal(size=(120, 30))
    severity = draw.uniform(size=20).repeat(6)
    errors = probes.ridge_errors(vectors, severity[:, None], photos)
    assert errors.r2(np.arange(120)) > -0.3


# ---- drift ----


def test_clip_drifts_with_severity_and_a_perfect_controller_does_not(ideal):
    table = alignment.content_drift(ideal)
    overall = table[table.degradation == "overall"].pivot(
        index="severity", columns="space", values="mean"
    )
    assert len(overall) == 5 and overall["CLIP alone"].is_monotonic_decreasing
    assert overall["DA-CLIP"].min() > 0.99 > 0.5 > overall["CLIP alone"].iloc[-1]
    assert set(table.degradation) == {*LABELS, "overall"}
    assert alignment.clean_cosine(ideal, "content").value > 0.99
    assert alignment.clean_cosine(ideal, "clean").value == pytest.approx(1)


def test_unrelated_cosine_is_the_mean_over_pairs_of_other_photos(ideal):
    cosines = ideal.clip @ ideal.clean.T
    other = ideal.rows.photo.to_numpy()[:, None] != ideal.rows.photo.to_numpy()
    assert alignment.unrelated_cosine(ideal, "clip") == pytest.approx(
        cosines[other].mean(), abs=1e-5
    )


def test_partners_are_found_by_the_content_and_not_by_chance(ideal):
    table = alignment.retrieval(ideal, "content")
    assert list(table.value) == [1, 1, 1]
    assert list(table.chance) == pytest.approx([1 / 20, 5 / 20, 10.5])
    blind = alignment.retrieval(replace(ideal, content=noise_like(ideal.content)), "content")
    assert blind.value["R@1"] < 0.2 and 5 < blind.value["median rank"] < 16
    one_place = replace(ideal, content=ideal.content[:1].repeat(len(ideal), 0),
                        clean=ideal.clean[:1].repeat(len(ideal), 0))  # fmt: skip
    assert alignment.retrieval(one_place, "content").value["R@1"] == 0


def test_clean_rows_have_nothing_to_drift_from(ideal):
    names = ["clean" if name == "hazy" else name for name in ideal.rows.degradation]
    table = changed(ideal, degradation=names)
    assert np.isnan(alignment.partner_ranks(table, "clip")).sum() == 40
    assert alignment.clean_cosine(table, "clip").n == 80


# ---- refusals ----

EVERY = {
    "linear": lambda t: probes.probe_accuracy(t, "content"),
    "knn": lambda t: probes.probe_accuracy(t, "content", probe="knn"),
    "severity": probes.severity_regression,
    "content": lambda t: probes.content_r2(t, "clip"),
    "silhouette": lambda t: class_separation.silhouette(t, "content"),
    "centres": lambda t: class_separation.centroid_distances(t, "content"),
    "cka": lambda t: alignment.clean_cka(t, "content"),
    "cosine": lambda t: alignment.clean_cosine(t, "content"),
    "drift": alignment.content_drift,
    "retrieval": lambda t: alignment.retrieval(t, "content"),
}
OF_CLASSES = ("linear", "knn", "silhouette", "centres")
OF_PARTNERS = ("content", "cka", "cosine", "drift", "retrieval")


@pytest.mark.parametrize("name", EVERY)
def test_every_measure_refuses_few_rows_and_one_photo(ideal, name):
    measure = EVERY[name]
    with pytest.raises(InsufficientDataError):
        measure(ideal.select([0, 2, 4]))
    with pytest.raises(InsufficientDataError, match=r"photo|partner"):
        measure(changed(ideal, photo="p", partner="p"))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_one_class_only_is_refused(ideal, name):
    with pytest.raises(InsufficientDataError, match="'hazy'"):
        EVERY[name](changed(ideal, degradation="hazy"))
    with pytest.raises(InsufficientDataError, match="no row has a label"):
        EVERY[name](changed(ideal, degradation=None))


@pytest.mark.parametrize("name", OF_PARTNERS)
def test_a_table_without_partners_is_refused(ideal, name):
    bare = EmbeddingTable(
        rows=ideal.rows, content=ideal.content, degradation=ideal.degradation, clip=ideal.clip
    )
    with pytest.raises(InsufficientDataError, match="clean partners"):
        EVERY[name](bare)


def test_other_mistakes_get_a_clear_line(ideal):
    with pytest.raises(InputError, match=r"'forest'.*linear, knn"):
        probes.probe_accuracy(ideal, "content", probe="forest")
    with pytest.raises(InputError, match="'colour'"):
        probes.probe_accuracy(ideal, "content", "colour")
    with pytest.raises(InsufficientDataError, match="several severities"):
        probes.severity_regression(changed(ideal, severity=0.5))
    with pytest.raises(InsufficientDataError, match="severity"):
        alignment.content_drift(changed(ideal, severity=np.nan))
    rare = ["foggy" if photo == "p3" else "hazy" for photo in ideal.rows.photo]
    for measure in (probes.probe_accuracy, class_separation.centroid_distances):
        with pytest.raises(InputError, match="'foggy'"):
            measure(changed(ideal, degradation=rare), "content")
    with pytest.raises(InputError, match="120 classes among 120 rows"):
        class_separation.silhouette(changed(ideal, degradation=list(ideal.rows.image)), "content")
    with pytest.raises(InputError, match="equal"):
        alignment.linear_cka(np.ones((5, 3)), np.eye(5))
    with pytest.raises(InputError, match="5 and 4"):
        alignment.linear_cka(np.eye(5), np.eye(4))


def test_values_that_are_all_equal_are_refused():
    vectors = np.random.default_rng(0).normal(size=(40, 4))
    photos = np.repeat(np.arange(10), 4).astype(str)
    with pytest.raises(InputError, match="same value"):
        probes.ridge_errors(vectors, np.ones((40, 1)), photos)

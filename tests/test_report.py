"""Zero-shot answers, paired comparisons and the page that puts all findings together."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from planted import changed, ideal_table, noise_like

from daclip_lab.cli import main
from daclip_lab.data.embedding_table import EmbeddingTable
from daclip_lab.data.image_io import save_image
from daclip_lab.data.prompts import training_texts
from daclip_lab.embeddings import paired_tests, predictions
from daclip_lab.embeddings.summary import findings
from daclip_lab.embeddings.zero_shot import Answers, ask, prompt_embeddings
from daclip_lab.errors import InputError
from daclip_lab.figures import embedding_maps
from daclip_lab.html_report import text
from daclip_lab.html_report.page import page, report
from daclip_lab.pipeline.loading import load

LOADED = re.compile(
    r"<script|<link|@import|url\(|https?:|(?:src|href)=\"(?!data:|#)", re.IGNORECASE
)


@pytest.fixture(scope="module")
def ideal():
    """The planted table, with answers: DA-CLIP errs once, CLIP alone in each third row."""
    table = ideal_table()
    truth = table.rows.degradation.to_numpy()
    predicted, by_clip = truth.copy(), truth.copy()
    predicted[5] = "hazy"
    by_clip[::3] = "clean"
    table = changed(table, predicted=predicted, clip_predicted=by_clip, probability=0.9)
    return replace(
        table, provenance={"labels": ["hazy", "noisy", "rainy", "clean"], "weights": "<b>"}
    )


@pytest.fixture(scope="module")
def found(ideal):
    return findings(ideal)


# ---- zero-shot ----


@pytest.fixture
def worded(pipe):
    """Twelve embeddings that are the words for two degradations, of six photos."""
    labels = ["hazy", "rainy"] * 6
    words = torch.stack([pipe.word(label) for label in labels]).numpy()
    rows = pd.DataFrame({"image": range(12), "photo": np.arange(12) // 2, "degradation": labels})
    return EmbeddingTable(rows=rows, content=words, degradation=words, clip=words[::-1].copy())


def test_an_embedding_that_is_a_word_is_named_by_it(pipe, worded):
    own = {"hazy": training_texts("hazy"), "rainy": training_texts("rainy")}
    for prompts in (None, own):
        assert list(ask(pipe, worded, prompts).named) == list(worded.rows.degradation)
    # In the other space, rows stand in the opposite order.
    assert list(ask(pipe, worded, space="clip").named) == list(worded.rows.degradation[::-1])
    labels, bare = prompt_embeddings(pipe, "{}")
    assert labels == pipe.settings.labels
    torch.testing.assert_close(bare, pipe.daclip.encode_text(list(labels)).detach())


def test_a_word_that_the_text_tower_does_not_know_is_warned_about(pipe, worded):
    with pytest.warns(UserWarning, match="zeph"):
        ask(pipe, worded, {"hazy": "zephyr", "rainy": "rainy"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(pipe, worded, "a {} photo")


def test_questions_without_an_answer_are_refused(pipe, worded):
    for prompts, message in (
        ("a photo", "wanted a text with {} in it"),
        ({"hazy": "hazy"}, "1 answers"),
        ({"hazy": "hazy", "rainy": []}, "no words for 'rainy'"),
        ({"hazy": "hazy", "snowy": "snowy"}, "wanted at least 2"),
    ):
        with pytest.raises(InputError, match=message):
            ask(pipe, worded, prompts)
    with pytest.raises(InputError, match="every row is 'hazy'"):
        ask(pipe, changed(worded, degradation="hazy"))
    short = replace(worded, content=np.ones((12, 8)), degradation=np.ones((12, 8)), clip=None)
    with pytest.raises(InputError, match="ask the weights that made the table"):
        ask(pipe, short)


def test_answers_are_counted_and_held_against_how_sure_they_were():
    # 20 rows of each class; "a" is right with 90 % in 18 of 20, "b" with 60 % in 10 of 20.
    sure = np.repeat([0.9, 0.6], 20)
    right = np.r_[np.ones(18), np.zeros(2), np.ones(10), np.zeros(10)].astype(bool)
    truth = np.repeat(["a", "b"], 20)
    first = np.where((truth == "a") == right, sure, 1 - sure)
    probabilities = np.stack([first, 1 - first], 1)
    answers = Answers(("a", "b"), probabilities, truth, np.arange(40).astype(str))
    table = answers.accuracy()
    assert list(table.value) == [0.9, 0.5, 0.7] and list(table.n) == [20, 20, 40]
    assert answers.confusion().to_numpy().tolist() == [[0.9, 0.1], [0.5, 0.5]]
    curve = answers.calibration()
    assert curve.right.to_list() == [0.5, 0.9] and curve.n.to_list() == [20, 20]
    assert answers.calibration_error == pytest.approx(0.05)
    assert len(embedding_maps.reliability({"bare word": curve}).axes[0].collections) == 1
    few = Answers(("a", "b"), probabilities[:25], truth[:25], answers.photos[:25])
    with pytest.raises(InputError, match="b: 5 rows are too few"):
        few.accuracy()


# ---- paired comparisons ----


def test_clip_against_daclip_on_the_same_images(ideal):
    table = paired_tests.clip_and_daclip(ideal)
    named = table.loc["named right, zero-shot"]
    assert named["first"] == pytest.approx(2 / 3) and named["second"] == pytest.approx(119 / 120)
    assert named.difference == pytest.approx(119 / 120 - 2 / 3) and named.low > 0.2
    assert (table.difference > 0).all() and (table.photos == 20).all()


def test_a_pair_is_told_apart_where_two_intervals_are_not(ideal):
    hard = np.random.default_rng(0).normal(size=20)[ideal.rows.photo.str[1:].astype(int)]

    def measure(table, space):
        return hard + (0.1 if space == "content" else 0.0)

    line = paired_tests.paired(measure, (ideal, "clip"), (ideal, "content"))
    assert line["low"] == pytest.approx(0.1) == line["high"]


def test_tables_of_other_images_are_not_compared(ideal):
    with pytest.raises(InputError, match="120 and 60 rows"):
        paired_tests.two_weights(ideal, ideal.select(np.arange(60)))
    with pytest.raises(
        InputError, match="row 0 is of image '0 hazy 0' in one table and '19 rainy 1'"
    ):
        paired_tests.two_weights(ideal, ideal.select(np.arange(120)[::-1]))
    same = paired_tests.two_weights(ideal, ideal)
    assert (same.difference == 0).all() and (same.low == 0).all()


# ---- all of it ----


def test_a_full_table_leaves_nothing_out(found):
    assert found.skipped == {} and set(found.maps) == {"umap", "pca", "tsne"}
    assert found.measures.loc["clean partner found, R@1", "content"].value == 1
    assert found.confusion.loc["rainy"].to_dict() == {"hazy": 1 / 40, "noisy": 0, "rainy": 39 / 40}
    assert found.accuracy.loc["overall", "DA-CLIP"].value == pytest.approx(119 / 120)
    assert list(found.mistakes.index) == [5] and found.weights is None
    assert set(found.right.degradation) == {"hazy", "noisy", "rainy"} and 5 not in found.right.index


def test_the_drift_of_each_degradation_is_what_was_planted(found):
    table = found.drift_of_each
    assert list(table.index) == ["hazy", "noisy", "rainy", "overall"]
    for line in table.itertuples():
        assert line[2].value > 0.99 > 0.9 > line[1].value
        assert line.difference.value == pytest.approx(line[2].value - line[1].value)
        assert line.difference.low > 0
    assert table.difference["hazy"].n == 40 and table.difference["overall"].n == 120


def test_a_label_that_the_weights_cannot_name_is_no_mistake(ideal):
    foggy = changed(ideal, degradation=ideal.rows.degradation.replace("hazy", "foggy"))
    assert set(predictions.mistakes(foggy).degradation) <= {"noisy", "rainy"}
    assert list(predictions.accuracy(foggy).index) == ["noisy", "rainy", "overall"]
    assert predictions.accuracy(foggy)["DA-CLIP"]["overall"].n == 80
    assert "foggy" in predictions.confusion(foggy).index


def test_one_class_is_counted_and_what_wants_two_is_left_out(ideal):
    found = findings(ideal.of("rainy"))
    assert list(found.accuracy.index) == ["rainy", "overall"]
    assert found.accuracy.loc["rainy", "DA-CLIP"].value == 39 / 40
    told = next(what for why, what in found.skipped.items() if "every row is 'rainy'" in why)
    assert "silhouette" in told and "linear probe" in told
    # What needs no second class is still compared.
    assert list(found.controller.index) == list(paired_tests.OF_CONTENT)
    assert found.drift is not None and "Left out, and why" in page(found)


def test_a_class_of_one_photo_does_not_hide_the_others(ideal):
    rows = ideal.rows.photo.where(ideal.rows.degradation != "hazy", "one")
    assert list(predictions.accuracy(changed(ideal, photo=rows)).index) == [
        "noisy",
        "rainy",
        "overall",
    ]


def test_in_short_says_what_the_tables_say(found):
    told = " ".join(text.in_short(found, ("mine", "theirs")))
    assert "DA-CLIP names 99% [98, 100] of the images right, CLIP alone 67%" in told
    assert "guessing would 25%" in told and "2% of 'rainy' is called 'hazy'" in told
    assert "(DA-CLIP better)" in told and "mine" not in told
    few = findings(found.table.select(found.table.rows.photo.isin(["p1", "p2"]).to_numpy()))
    assert "rests on 2 photos" in " ".join(text.in_short(few, ("mine", "theirs")))


def test_a_comparison_names_the_better_side_by_its_interval():
    lines = {"difference": [0.2, -0.2, 0.1], "low": [0.1, -0.3, -0.1], "high": [0.3, -0.1, 0.3]}
    table = pd.DataFrame(lines | {"first": 0.5, "second": 0.6, "n": 20, "photos": 9})
    shown = text.compared(table, "theirs", "mine")
    assert list(shown.verdict) == ["mine better", "theirs better", "undecided"]
    assert list(shown.columns[:3]) == ["theirs", "mine", "difference"]


def test_the_page_holds_all_it_shows_and_loads_nothing(found):
    text = page(found)
    assert not LOADED.search(text)
    assert text.count("data:image/png;base64,") == 4 and text.count("<table") == 6
    for place in re.findall('href="#(.*?)"', text):
        assert text.count(f'id="{place}"') == 1
    assert "no image file" in text and "noisy" in text
    assert "&lt;b&gt;" in text and "<b>" not in text  # names of files and weights are only text
    assert "Left out" not in text
    for trace in ('<script src="a.js">', '<a href="b">', "<style>@import x", "https://x.org"):
        assert LOADED.search(trace)


def test_what_a_bare_folder_cannot_tell_is_named(pipe, weights, tmp_path, photo, capsys):
    for k in range(6):
        save_image(photo[:, 4 * k : 4 * k + 32, :40], tmp_path / f"{k}.png")
    out = tmp_path / "page.html"
    command = ["report", str(tmp_path), "-o", str(out), "--weights", str(weights)]
    assert main([*command, "--against", str(weights)]) == 0
    told = capsys.readouterr().out
    unlabelled = ", ".join(re.findall("left out: (.*): no row has a label", told)).split(", ")
    assert "confusion" in unlabelled
    assert "part of the paired comparisons" in unlabelled
    text = out.read_text("ascii")
    assert "The least sure answers" in text and "Left out, and why" in text
    assert text.count("<figure>") == 6 and "no image file" not in text
    assert text.count("what speaks for") == 6 and "Layer by layer" in text
    assert not LOADED.search(text)
    with pytest.raises(InputError, match="does not exist"):
        report(pipe, tmp_path, tmp_path / "nowhere" / "page.html")
    with pytest.raises(InputError, match="holds no images"):
        report(pipe, ideal_table(), out, against=pipe)


def test_two_weights_see_the_same_pairs_and_are_called_by_name(pipe, weights, tmp_path, photo):
    for k in range(10):
        clean = photo[:, 3 * k : 3 * k + 40, :44]
        for name, image in (("hazy", 0.5 + 0.5 * clean), ("clean", clean)):
            for part, pixels in (("LQ", image), ("GT", clean)):
                place = tmp_path / "set" / name / part
                place.mkdir(parents=True, exist_ok=True)
                save_image(pixels, place / f"{name}{k}.png")
    other = load(weights)
    with torch.no_grad():
        other.daclip.controller.zeros[0].bias.add_(1.0)
    # Others that do not know the label of one folder still see the same rows.
    other.settings = replace(other.settings, labels=pipe.settings.labels[:-1])
    out = tmp_path / "page.html"
    found = report(pipe, tmp_path / "set", out, against=other, names=("a", "<b>"))
    text = out.read_text("ascii")
    assert "&lt;b&gt; against a" in text and not LOADED.search(text)
    cosines = found.weights.loc["cosine to the clean partner"]
    assert cosines.difference == pytest.approx(cosines["second"] - cosines["first"]) != 0
    assert found.inside.repair is not None and found.inside.readability is not None


def test_a_map_shows_labels_of_ones_own(found):
    labels = ["mine" if k % 2 else None for k in range(120)]
    labels[0] = "hazy"
    new = {"pca": found.maps["pca"].place(noise_like(found.table.degradation)[:2])}
    figure = embedding_maps.map_panels(found.maps, labels, new=new)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["hazy", "mine", "unknown"]
    assert [len(axes.collections) for axes in figure.axes] == [3, 4, 3]
    assert "trustworthiness" in figure.axes[0].get_xlabel()

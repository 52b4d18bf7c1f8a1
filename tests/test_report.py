"""The HTML report: it contains all that it shows, and its sentences agree with its tables."""

import re
from dataclasses import replace

import pandas as pd
import pytest
import torch
from planted import ideal_table, predicted_table

from daclip_lab.cli import main
from daclip_lab.data.image_io import save_image
from daclip_lab.embeddings.summary import summarize
from daclip_lab.errors import InputError
from daclip_lab.html_report import text
from daclip_lab.html_report.page import page, report
from daclip_lab.pipeline.loading import load

EXTERNAL = re.compile(
    r"<script|<link|@import|url\(|https?:|(?:src|href)=\"(?!data:|#)", re.IGNORECASE
)


@pytest.fixture(scope="module")
def found():
    return summarize(predicted_table())


def test_the_sentences_agree_with_the_tables(found):
    lines = " ".join(text.key_results(found, ("mine", "theirs")))
    assert "99% [98, 100]" in lines and "CLIP alone 67%" in lines and "chance is 25%" in lines
    assert "2% of 'rainy' is classified as 'hazy'" in lines
    assert "(DA-CLIP better)" in lines and "mine" not in lines
    few = summarize(found.table.select(found.table.rows.photo.isin(["p1", "p2"]).to_numpy()))
    assert "2 photos" in " ".join(text.key_results(few, ("mine", "theirs")))


def test_the_interval_of_the_difference_decides_which_side_is_better():
    columns = {"difference": [0.2, -0.2, 0.1], "low": [0.1, -0.3, -0.1], "high": [0.3, -0.1, 0.3]}
    table = pd.DataFrame(columns | {"first": 0.5, "second": 0.6, "n": 20, "photos": 9})
    shown = text.paired_table(table, "theirs", "mine")
    assert list(shown.verdict) == ["mine better", "theirs better", "undecided"]
    assert list(shown.columns[:3]) == ["theirs", "mine", "difference"]


def test_the_page_contains_all_that_it_shows(found):
    html = page(found)
    assert not EXTERNAL.search(html)
    assert html.count("data:image/png;base64,") == 4 and html.count("<table") == 6
    for place in re.findall('href="#(.*?)"', html):
        assert html.count(f'id="{place}"') == 1
    assert "no image file" in html and "noisy" in html
    assert "&lt;b&gt;" in html and "<b>" not in html  # names of files and weights are escaped
    assert "Skipped measures" not in html
    for trace in ('<script src="a.js">', '<a href="b">', "<style>@import x", "https://x.org"):
        assert EXTERNAL.search(trace)


def test_measures_that_a_folder_does_not_support_are_listed(pipe, weights, tmp_path, photo, capsys):
    for k in range(6):
        save_image(photo[:, 4 * k : 4 * k + 32, :40], tmp_path / f"{k}.png")
    out = tmp_path / "page.html"
    command = ["report", str(tmp_path), "-o", str(out), "--weights", str(weights)]
    assert main([*command, "--against", str(weights)]) == 0
    printed = capsys.readouterr().out
    (skipped,) = (line for line in printed.splitlines() if line.endswith("no row has a label"))
    assert "confusion matrix" in skipped and "zero-shot accuracy" in skipped
    html = out.read_text("ascii")
    assert "Least confident predictions" in html and "Skipped measures" in html
    assert html.count("<figure>") == 6 and "no image file" not in html
    assert html.count('alt="attribution of') == 6 and "Layer by layer" in html
    assert not EXTERNAL.search(html)
    with pytest.raises(InputError, match="nowhere"):
        report(pipe, tmp_path, tmp_path / "nowhere" / "page.html")
    with pytest.raises(InputError, match="no images"):
        report(pipe, ideal_table(), out, against=pipe)


def test_a_table_whose_images_are_gone_is_reported_without_them(pipe, tmp_path, photo):
    for k in range(12):
        save_image(photo[:, k : k + 32, :40], tmp_path / f"{k}.png")
    table = pipe.embed(tmp_path)
    for k in range(12):
        (tmp_path / f"{k}.png").unlink()
    found = report(pipe, table, tmp_path / "page.html")
    assert {"attributions", "layer by layer"} <= set(found.skipped)
    assert found.measures is None or len(found.table) == 12
    assert "no image file" in (tmp_path / "page.html").read_text("ascii")


def test_two_weights_are_compared_on_the_same_pairs(pipe, weights, tmp_path, photo):
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
    # Weights without the label of one folder still embed the same rows.
    other.settings = replace(other.settings, labels=pipe.settings.labels[:-1])
    out = tmp_path / "page.html"
    found = report(pipe, tmp_path / "set", out, against=other, names=("a", "<b>"))
    html = out.read_text("ascii")
    assert "&lt;b&gt; against a" in html and not EXTERNAL.search(html)
    cosines = found.weights.loc["cosine to the clean image"]
    assert cosines.difference == pytest.approx(cosines["second"] - cosines["first"]) != 0
    assert found.layers.clean_cosine is not None and found.layers.probe is not None

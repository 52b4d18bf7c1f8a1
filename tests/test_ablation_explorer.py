"""The explorer of a study: its numbers are those of the statistics, its texts harmless, its crops those of the cell."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from simulated_study import DEGRADATIONS, METRIC, simulated

from daclip_lab.ablation.execution.store import write_crop
from daclip_lab.ablation.results import StudyResults
from daclip_lab.ablation.statistics import compare, compare_by_degradation, means
from daclip_lab.ablation.study import slug
from daclip_lab.data.photos import sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.errors import InputError
from daclip_lab.files.parquet import write_parquet
from daclip_lab.files.storage import write_json
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.widgets import AblationExplorer
from daclip_lab.widgets.ablation.grids import ALL, MANY, Grids
from daclip_lab.widgets.ablation.page import background
from daclip_lab.widgets.ablation.view import AblationView, written
from daclip_lab.widgets.static import MAX_BYTES

TRUTH = {"nothing": 2.0, "true word": 4.0, "wrong word": 1.0, "<script>alert(1)</script>": 2.02}
EVIL = "<script>alert(1)</script>"
LARGER = "gain at 256 px"
LOSS = "loss of a controller"
SMALL = torch.tensor([[[0.1]], [[0.2]], [[0.3]]])


def write_study(folder, *, crops=True, kept=(0, 1)):
    """Results on disk in the layout of the engine: three metrics, five seeds, photos of the package."""
    simulated_results = simulated(TRUTH, name="headline", photos=6, of_seeds=0.02)
    table = simulated_results.table
    others = {LARGER: table.value / 2, LOSS: 9 - table.value}
    parts = [table, *(table.assign(metric=name, value=v) for name, v in others.items())]
    columns = pd.concat(parts, ignore_index=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(folder / "results.parquet", {n: columns[n].to_numpy() for n in columns}, {})
    write_json(folder / "study.json", simulated_results.info)
    photos = sample_photos("test")
    for k in range(8 if crops else 0):
        name = f"{photos.names[k].split('.')[0]} {DEGRADATIONS[k % 3]}"
        clean = photos[k][:, 40:168, 60:188]
        noise = torch.randn(clean.shape, generator=seeded(k))
        put(folder, "clean", None, name, clean)
        put(folder, "degraded", None, name, clean + 0.2 * noise)
        for place, variant in enumerate(TRUTH):
            for seed in kept:
                # Each variant removes another share of the noise.
                put(
                    folder, variant, seed, name, clean + (0.05 + 0.04 * place + 0.01 * seed) * noise
                )
    return StudyResults.read(folder)


def put(folder, variant, seed, name, image):
    place = folder / "crops" / slug(variant) / ("" if seed is None else str(seed))
    place.mkdir(parents=True, exist_ok=True)
    write_crop(place / f"{name}.webp", image.clamp(0, 1))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def view(results):
    return AblationView(results)


def by_cell(table, columns):
    return table.set_index(["variant", columns]).sort_index()


# ---- numbers ----


def test_numbers_worked_out_by_hand():
    """Two variants, two seeds, three images of two photos; the mean of a photo's images counts by their number."""
    rows = [
        ("a", seed, image, photo, degradation, value)
        for seed, values in ((0, (1, 2, 6)), (1, (2, 3, 7)))
        for (image, photo, degradation), value in zip(
            (("1", "p", "rainy"), ("2", "p", "hazy"), ("3", "q", "rainy")), values, strict=True
        )
    ]
    rows += [("b", s, i, p, d, v + (2 if p == "p" else 0)) for _, s, i, p, d, v in rows]
    names = ["variant", "seed", "image", "photo", "degradation", "value"]
    grids = Grids(pd.DataFrame(rows, columns=names).assign(metric="gain"), ["b", "a"])
    assert grids.variants == ["b", "a"] and grids.degradations == ["hazy", "rainy"]
    mean = by_cell(grids.table("degradation", "gain"), "degradation")["mean"]
    assert mean["a", ALL] == pytest.approx(3.5) and mean["b", ALL] == pytest.approx(3.5 + 4 / 3)
    assert mean["a", "hazy"] == pytest.approx(2.5) and mean["a", "rainy"] == pytest.approx(4)
    difference = by_cell(grids.table("photo", "gain", "a"), "photo")
    assert difference.difference["b", "p"] == pytest.approx(2)
    assert difference.difference["b", "q"] == pytest.approx(0)
    assert difference.seeds["b", "p"] == 2 and difference.photos["b", "p"] == 1
    seeds = by_cell(grids.table("seed", "gain"), "seed")
    assert seeds["mean"]["a", "0"] == pytest.approx(3) and seeds["mean"]["a", "1"] == pytest.approx(
        4
    )


@pytest.mark.parametrize("against", ["nothing", "true word"])
def test_differences_are_those_of_the_statistics(results, view, against):
    pairs = [(name, against) for name in TRUTH if name != against]
    numbers = ["difference", "low", "high", "low_all", "high_all", "photos", "seeds"]
    mine = view.table("degradation", METRIC, against)
    whole = mine[mine.degradation == ALL].set_index("variant")
    expected = compare(results.table, pairs, METRIC).set_index("variant")
    assert np.allclose(whole[numbers], expected.loc[whole.index, numbers], rtol=1e-6)
    assert (whole.decided == expected.decided[whole.index]).all()
    parts = by_cell(mine[mine.degradation != ALL], "degradation")
    expected = by_cell(compare_by_degradation(results.table, pairs, METRIC), "degradation")
    alone = [name for name in numbers if not name.endswith("_all")]
    assert np.allclose(parts[alone], expected.loc[parts.index, alone], rtol=1e-6)
    # Here the resamples are others, since degradations are in another order.
    reach, wanted = (table.high_all - table.difference for table in (parts, expected))
    assert np.allclose(reach, wanted[parts.index], rtol=0.04)
    loss = view.table("metric", METRIC, against)
    loss = loss[loss["metric"] == LOSS].set_index("variant")
    expected = compare(results.table, pairs, LOSS).set_index("variant")
    assert np.allclose(loss[numbers], expected.loc[loss.index, numbers], rtol=1e-6)
    assert (loss.decided == expected.decided[loss.index]).all()


@pytest.mark.parametrize("by", ["degradation", "photo"])
def test_means_are_those_of_the_statistics(results, view, by):
    mine = by_cell(view.table(by, LARGER, "").query(f"{by} != @ALL"), by)
    expected = by_cell(means(results.table, LARGER, by), by)
    numbers = ["mean", "low", "high"]
    assert np.allclose(mine[numbers], expected.loc[mine.index, numbers], rtol=1e-5)


def test_runs_and_images_that_are_missing_are_left_out_of_a_pair():
    table = simulated({"a": 1.0, "b": 2.0}, seeds=3, photos=5).table
    gone = (table.variant == "b") & ((table.seed == 2) | (table.image == table.image[0]))
    grids = Grids(table[~gone], ["a", "b"])
    mine = grids.table("degradation", METRIC, "a")
    expected = compare(table[~gone], [("b", "a")], METRIC)
    assert mine.difference[0] == pytest.approx(expected.difference[0])
    assert (mine.seeds[0], grids.seeds) == (2, [0, 1, 2])
    by_seed = grids.table("seed", METRIC, "a")
    assert by_seed["seed"].tolist() == [ALL, "0", "1"]
    only = Grids(table[(table.seed == 0) & (table.photo == "photo 0")])
    assert only.table("photo", METRIC)[["low", "high"]].isna().all(axis=None)
    with pytest.raises(InputError, match="two values"):
        Grids(pd.concat([table, table])).table("seed", METRIC)
    with pytest.raises(InputError):
        Grids(table[:0])


def test_very_many_intervals_are_at_least_as_wide_as_together():
    table = simulated({"a": 1.0, "b": 1.5}, seeds=2, photos=MANY + 1).table
    found = Grids(table).table("photo", METRIC, "a")
    assert (found.high_all >= found.high).all() and (found.high_all > found.high)[1:].all()


# ---- what is drawn ----


def test_cells_are_pale_where_the_interval_holds_zero_and_coloured_by_what_is_better(view):
    heat = view.heat_map("degradation", METRIC, "nothing")
    assert heat["columns"] == [ALL, "hazy", "noisy", "rainy"]
    assert [row["name"] for row in heat["rows"]] == list(TRUTH)
    cells = dict(zip(TRUTH, heat["cells"], strict=True))
    assert not cells["true word"][0]["pale"] and cells["true word"][0]["number"].startswith("+")
    assert cells["true word"][0]["strength"] > 0 > cells["wrong word"][0]["strength"]
    assert cells[EVIL][0]["pale"]
    for line in heat["cells"]:
        for cell in line:
            low, high = (float(x.replace("−", "-")) for x in cell["interval"][1:-1].split(", "))
            if cell not in cells["nothing"]:
                assert cell["pale"] == (low <= 0 <= high)
    strengths = [abs(cell["strength"]) for line in heat["cells"] for cell in line]
    assert max(strengths) == 1
    # The reference shows its means, and a loss is better when it is lower.
    mean = view.table("degradation", METRIC, "").set_index(["variant", "degradation"])["mean"]
    assert cells["nothing"][1]["number"] == written(mean["nothing", "hazy"], 2, sign=False)
    heat = view.heat_map("metric", METRIC, "nothing")
    loss = [line[heat["columns"].index(LOSS)] for line in heat["cells"]]
    assert loss[1]["strength"] == pytest.approx(1) and loss[1]["number"].startswith("−")


def test_means_are_coloured_within_their_column(view):
    heat = view.heat_map("degradation", METRIC, "")
    for column in zip(*heat["cells"], strict=True):
        strengths = [cell["strength"] for cell in column]
        assert min(strengths) == 0 and max(strengths) == 1 and not any(c["pale"] for c in column)
    assert (view.unit(METRIC), view.unit(LARGER), view.unit(LOSS)) == ("dB", "dB", "")


def test_colours_run_from_white_to_blue_and_orange():
    assert background(0) == "#ffffff"
    better, worse, pale = map(background, (1, -1, 0.2))
    assert int(better[5:], 16) > int(better[1:3], 16) and int(worse[5:], 16) < int(worse[1:3], 16)
    assert better < pale < "#ffffff"


@pytest.mark.parametrize(
    "choice",
    [{"columns": "colour"}, {"metric": "taste"}, {"against": "nobody"}],
    ids=lambda choice: next(iter(choice)),
)
def test_unknown_choices_are_refused_by_name(results, view, choice):
    (name, value), *_ = choice.items()
    with pytest.raises(InputError, match=f"{name}='{value}'"):
        AblationExplorer(results, **choice)
    explorer = AblationExplorer(results)
    with pytest.raises(InputError, match=f"{name}='{value}'"):
        setattr(explorer, name, value)
    assert getattr(explorer, name) != value


# ---- the crops ----


def test_crops_behind_a_cell_with_their_gains(results, view):
    found = view.behind("true word", "noisy", "degradation", "nothing", 1)
    items = found["items"]
    assert [found[name] for name in ("variant", "partner", "seed", "seeds")] == [
        "true word", "nothing", 1, [0, 1],
    ]  # fmt: skip
    assert len(items) == 8 and sorted(item["name"] for item in items) == results.crop_names()
    first = [item["first"] for item in items]
    assert first == sorted(first, reverse=True) and 0 < sum(first) < 8
    assert all(item["first"] == ("noisy" in item["name"]) for item in items)
    given, one, other, clean = items[0]["pictures"]
    assert other == results.crop("nothing", 1, items[0]["name"]) != one

    def of(image):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255

    gain = (psnr(of(one), of(clean)) - psnr(of(given), of(clean))).item()
    assert items[0]["gains"][0] == f"{gain:+.1f} dB"
    assert view.behind("true word", "1", "seed", "nothing", 0)["seed"] == 1


def test_crops_of_other_seeds_that_were_not_kept_are_announced(tmp_path):
    view = AblationView(write_study(tmp_path / "one", kept=[1]))
    found = view.behind("nothing", "0", "seed", "true word", None)
    assert found["seed"] == 1 and "seed 0" in found["note"] and found["items"]
    assert "seed 1 only" in view.behind("nothing", ALL, "photo", "true word", None)["note"]
    none = AblationView(write_study(tmp_path / "none", crops=False))
    found = none.behind("nothing", ALL, "seed", "true word", None)
    assert (found["seed"], found["seeds"], found["items"]) == (None, [], [])
    assert "No crops" in found["note"]


def test_the_variant_to_flip_with_is_another_one(view):
    assert view.best(METRIC) == "true word" == view.best(LOSS)
    assert view.partner("wrong word", "true word", METRIC) == "true word"
    assert view.partner("wrong word", "", METRIC) == "nothing"
    assert view.partner("nothing", "nothing", METRIC) == "true word"


# ---- the widget ----


def test_the_widget_follows_its_traits(results, tmp_path):
    explorer = AblationExplorer(results)
    assert (explorer.metric, explorer.against) == (METRIC, "nothing")
    assert explorer.selection is None and explorer.crops == {}
    explorer.select("true word", "rainy")
    row = explorer.selection
    assert row["variant"] == "true word" and row["difference"] == pytest.approx(2, abs=0.5)
    assert explorer.crops["partner"] == "nothing"
    files = [file for item in explorer.crops["items"] for file in item["pictures"]]
    assert len(files) == 32 and all(file[8:12] == b"WEBP" for file in files)

    explorer.partner = EVIL
    assert explorer.crops["partner"] == EVIL
    before = explorer.heat
    explorer.metric = LARGER
    assert explorer.heat != before and LARGER in explorer.heat["title"]
    explorer.columns = "seed"
    assert explorer.chosen == ["true word", ALL] and explorer.heat["columns"] == [ALL, *"01234"]
    explorer.against = ""
    assert explorer.selection["mean"] == pytest.approx(2, abs=0.8)
    path = explorer.export_csv(tmp_path / "shown.csv")
    assert pd.read_csv(path).shape == explorer.table.shape
    for bad in (("nobody", ALL), ("nothing", "snowy")):
        with pytest.raises(InputError, match="use one of"):
            explorer.select(*bad)
    with pytest.raises(InputError):
        explorer.export_csv(tmp_path / "shown.xlsx")


def test_changing_what_is_returned_changes_nothing(results):
    explorer = AblationExplorer(results)
    table = explorer.table
    table["difference"] = 0.0
    assert explorer.table["difference"].abs().max() > 1


def test_the_static_copy_is_small_harmless_and_shows_baseline_and_best(results, tmp_path):
    page = AblationExplorer(results).static_html()
    assert len(page) < MAX_BYTES
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("<img") == 4 * 8
    rows = re.findall(r"<tr><th [^>]*>([^<]*)</th><td [^>]*><img", page)
    assert rows == ["degraded", "nothing", "true word", "clean"]
    assert page.count("bgcolor") == 4 * 4
    none = AblationExplorer(write_study(tmp_path / "none", crops=False)).static_html()
    assert "<img" not in none and "no crops" in none


def test_the_figure_is_that_of_the_heat_map(results):
    explorer = AblationExplorer(results, columns="metric")
    figure = explorer.figure()
    texts = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    gain = explorer.table.query("variant == 'true word' and metric == @METRIC").difference.item()
    assert f"{gain:.2f}" in texts


def test_results_of_an_unfinished_study_without_its_baseline(results, tmp_path):
    folder = tmp_path / "early"
    folder.mkdir()
    table = results.table[results.table.variant == "wrong word"].astype({"variant": str})
    write_parquet(folder / "results.parquet", {n: np.asarray(table[n]) for n in table}, {})
    write_json(folder / "study.json", results.info)
    explorer = AblationExplorer(StudyResults.read(folder))
    assert explorer.against == "" and [r["name"] for r in explorer.heat["rows"]] == ["wrong word"]
    assert "wrong word" in explorer.static_html()
    explorer.select("wrong word")
    assert explorer.crops["partner"] == "wrong word" and not explorer.crops["items"]

"""Laws of the maps of embeddings: places, neighbours, colours, images made again, and the explorer of them all."""

import io
import re
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from daclip_lab.data.embedding_table import EmbeddingTable, shipped
from daclip_lab.data.image_io import to_pil
from daclip_lab.data.photos import image_folder, sample_photos
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.embeddings.neighbours import cosine_drift, nearest, same_geometry, shared_neighbours
from daclip_lab.errors import InputError
from daclip_lab.evaluation.embed_protocol import embed_protocol
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.files.parquet import read_parquet
from daclip_lab.widgets import EmbeddingExplorer
from daclip_lab.widgets.embedding.drawing import NEW, coloring, plain_maps
from daclip_lab.widgets.embedding.images import RowImages, bundled_table
from daclip_lab.widgets.embedding.maps import DRIFT, SHARED, EmbeddingMaps
from daclip_lab.widgets.static import MAX_BYTES


def cloud(n=60, d=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def turned(vectors, seed=1):
    """The same vectors after a rotation, each with another length."""
    rng = np.random.default_rng(seed)
    d = vectors.shape[1]
    rotation, _ = np.linalg.qr(rng.standard_normal((d, d)))
    return vectors @ rotation * rng.uniform(0.5, 2, (len(vectors), 1))


def table_of(content, degradation=None, **columns):
    rows = pd.DataFrame({"image": [f"image {k}" for k in range(len(content))], **columns})
    degradation = content if degradation is None else degradation
    return EmbeddingTable(rows=rows, content=content, degradation=degradation)


@pytest.fixture(scope="module")
def bundled(weights):
    from daclip_lab.pipeline.loading import load

    return bundled_table(load(weights), severities=(0.7,))


# ---- neighbours ----


def test_the_nearest_rows_are_those_of_the_largest_cosines_without_the_row_itself():
    vectors = cloud()
    vectors[40] = 3 * vectors[7]
    found, cosines = nearest(vectors, 7, 5)
    assert found[0] == 40 and cosines[0] == pytest.approx(1)
    assert 7 not in found and (np.diff(cosines) <= 0).all()
    assert len(nearest(vectors[:4], 0, 10)[0]) == 3
    with pytest.raises(InputError):
        nearest(vectors, 60, 5)


def test_a_rotation_keeps_neighbours_and_geometry_and_noise_has_neither():
    vectors = cloud(1500)
    assert shared_neighbours(vectors, turned(vectors)) == pytest.approx(1)
    assert same_geometry(vectors, turned(vectors)) == pytest.approx(1, abs=1e-5)
    other = cloud(1500, d=5, seed=3)
    assert shared_neighbours(vectors, other).mean() == pytest.approx(10 / 1499, abs=0.004)
    assert abs(same_geometry(vectors, other).mean()) < 0.02
    with pytest.raises(InputError):
        shared_neighbours(vectors[:5], other[:5], k=5)


def test_drift_is_one_minus_the_cosine_and_unknown_between_dimensions():
    vectors = cloud()
    assert cosine_drift(vectors, -vectors) == pytest.approx(2)
    assert np.isnan(cosine_drift(vectors, vectors[:, :3])).all()


# ---- colours ----


def test_every_row_has_the_category_of_its_value():
    texts = ["hazy", None, "noisy", "hazy"]
    found = coloring(texts)
    assert [found.names[code] for code in found.codes] == ["hazy", "unknown", "noisy", "hazy"]
    numbers = np.array([0.0, 0.05, 0.4, 0.99, 1.0, *np.linspace(0, 1, 40)])
    codes = coloring(numbers).codes
    assert (np.diff(codes[np.argsort(numbers)]) >= 0).all()
    assert codes.min() == 0 and codes.max() == 7
    assert coloring([3, 1, 3, np.nan]).names == ["1", "3", "unknown"]
    later = coloring([0.1, 0.2, np.nan], new=1)
    assert later.names[later.codes[2]] == NEW and "unknown" not in later.names
    many = coloring([f"photo {k}" for k in range(60)])
    assert len(set(many.colors)) == 60 and len(many.legend) == 25


def test_a_plain_picture_shows_each_colour_where_its_points_are():
    places = {"map": np.array([[-1.0, 0], [1, 0]])}
    picture = plain_maps(places, coloring(["hazy", "shadowed"]), side=200)
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    left, right = pixels[26 + 100, 12 + 6], pixels[26 + 100, 12 + 194]
    assert np.abs(left - [0xB3] * 3).max() < 40
    assert np.abs(right - [0x76, 0x14, 0]).max() < 40


# ---- maps ----


def test_a_photo_is_placed_where_its_own_embedding_lies_and_moves_no_other(pipe, bundled):
    maps = EmbeddingMaps(bundled, pipes=[pipe])
    before = {source: maps.coordinates(source) for source in maps.sources}
    row = maps.place(sample_photos("test").paths[2], "mine")
    clean = bundled.rows.index[bundled.rows.image == "forget_me_nots, clean 0"][0]
    for source, places in before.items():
        after = maps.coordinates(source)
        assert np.array_equal(after[:-1], places)
        assert after[row] == pytest.approx(places[clean], abs=1e-3)
        assert maps.neighbours(row, source).row[0] == clean
    assert maps.rows.degradation[row] == NEW and maps.rows.photo[row] == "mine"
    assert maps.coloring("severity").names[maps.coloring("severity").codes[row]] == NEW


def test_sources_are_the_spaces_of_the_tables_and_pairs_compare_them(bundled):
    other = replace(bundled, content=turned(bundled.content).astype(np.float32))
    maps = EmbeddingMaps(bundled, other, names=("lab", "mine"))
    assert maps.pair == ("lab: content", "mine: content")
    assert maps.neighbour_overlap(5).overlap.to_numpy() == pytest.approx(1, abs=0.05)
    assert maps.drift().geometry.to_numpy() == pytest.approx(1, abs=1e-3)
    same = maps.drift("lab: degradation", "mine: degradation")
    assert same.drift.to_numpy() == pytest.approx(0, abs=1e-5)
    assert len(maps.coloring(SHARED).codes) == len(maps.coloring(DRIFT).codes) == len(bundled)
    with pytest.raises(InputError):
        EmbeddingMaps(bundled, other.select(np.arange(5)))
    with pytest.raises(InputError):
        EmbeddingMaps(bundled, other.select(np.arange(len(other))[::-1]))
    for wrong in ({"method": "mds"}, {"against": other, "names": ("a", "a")}):
        with pytest.raises(InputError):
            EmbeddingMaps(bundled, **wrong)
    for call in (maps.vectors, maps.coloring):
        with pytest.raises(InputError):
            call("content")


def test_maps_fill_their_square():
    maps = EmbeddingMaps(table_of(cloud(), cloud(seed=4)))
    for source in maps.sources:
        places = maps.unit_coordinates(source)
        assert np.abs(places).max() == pytest.approx(1)
        wide, high = np.ptp(places, axis=0) / np.ptp(maps.coordinates(source), axis=0)
        assert wide == pytest.approx(high)


def test_counts_are_those_of_the_selected_rows(bundled):
    maps = EmbeddingMaps(bundled)
    rows = [3, 4, 14, 25]
    assert maps.select(rows).index.tolist() == rows
    assert maps.counts(rows, "photo").sum() == 4
    assert maps.counts(rows)[bundled.rows.degradation[3]] == 3
    assert maps.select([]).empty
    for wrong in ([-1], [len(maps)]):
        with pytest.raises(InputError):
            maps.select(wrong)


def test_exports_hold_rows_and_places_and_the_same_bytes_twice(bundled, tmp_path):
    maps = EmbeddingMaps(bundled)
    rows = [5, 2, 9]
    csv = pd.read_csv(maps.export(tmp_path / "rows.csv", rows), index_col="row")
    assert csv.index.tolist() == rows
    assert csv.image.tolist() == bundled.rows.image[rows].tolist()
    places = maps.coordinates("degradation")[rows]
    assert csv[["degradation x", "degradation y"]].to_numpy() == pytest.approx(places)
    columns, provenance = read_parquet(maps.export(tmp_path / "rows.parquet"))
    assert list(columns["row"]) == list(range(len(maps)))
    assert np.asarray(columns["content x"]) == pytest.approx(maps.coordinates("content")[:, 0])
    assert provenance["maps"] == {"method": "pca", "seed": 0}
    first, second = (maps.export(tmp_path / f"{k}.svg").read_text() for k in "ab")
    assert first == second and first.count("<use") > 2 * len(maps)
    with pytest.raises(InputError):
        maps.export(tmp_path / "rows.xlsx")


# ---- images made again ----


def test_bundled_images_are_made_again_as_they_were_embedded(pipe, bundled):
    assert len(bundled) == 8 * 11
    assert bundled.rows.degradation.value_counts()[list(DEGRADATIONS)].eq(8).all()
    images = RowImages(bundled)
    rows = [0, 3, 10, 40, 87]
    again = pipe.encode_degradation([images.picture(row) for row in rows]).numpy()
    assert again == pytest.approx(bundled.degradation[rows], abs=1e-5)
    assert images.picture(3) is images.picture(3)
    assert images.thumbnails() == []
    made = [images.thumbnail(row) for row in range(len(bundled))]
    assert images.thumbnails() == made and images.thumbnails(10) == []


def test_images_of_a_protocol_and_of_files_are_made_again(pipe, photo_folder):
    photos, protocol = image_folder(photo_folder), Protocol(crop=32, crops=2)
    table = embed_protocol(pipe, photos, protocol)
    images = RowImages(table, photos)
    _, degraded, facts = degraded_crops(photos, 1, protocol)
    for image, fact in list(zip(degraded, facts, strict=True))[::5]:
        same = (table.rows[list(fact)] == pd.Series(fact)).all(axis=1)
        (row,) = table.rows.index[same]
        assert images.picture(row).tobytes() == to_pil(image).tobytes()
    files = RowImages(pipe.embed(str(photo_folder)))
    assert {files.picture(row).size for row in (0, 1)} == {(80, 72), (96, 64)}
    assert RowImages(shipped()).picture(0) is None
    assert RowImages(shipped()).thumbnail(0) == b""


# ---- the explorer ----


@pytest.fixture
def explorer(pipe, bundled):
    made = EmbeddingExplorer(bundled, pipe)
    made._early.wait()
    yield made
    for worker in (made._hovers, made._clicks, made._work, made._tasks):
        worker.stop()
        worker.wait(5)


def settled(explorer):
    for worker in (explorer._work, explorer._tasks, explorer._clicks, explorer._hovers):
        worker.wait()
    return explorer._panel


def test_what_a_map_selects_python_receives_and_the_panel_shows(explorer, bundled):
    first, second = explorer._views
    first.selection = np.array([3, 14, 25, 8], np.uint32)  # as a lasso does
    panel = settled(explorer)
    assert explorer.selected.index.tolist() == [3, 14, 25, 8]
    tiles = panel.gallery["items"]
    assert [tile["row"] for tile in tiles] == [3, 14, 25, 8]
    assert all(Image.open(io.BytesIO(tile["picture"])).width <= 64 for tile in tiles)
    assert panel.gallery["counts"][0]["count"] == 3 and panel.neighbours == []
    explorer.select([7])
    panel = settled(explorer)
    assert first.selection.tolist() == second.selection.tolist() == [7]
    assert [len(each["items"]) for each in panel.neighbours] == [10, 10]
    wanted = explorer.maps.neighbours(7, "degradation").row.tolist()
    assert [tile["row"] for tile in panel.neighbours[1]["items"]] == wanted
    assert panel.point["title"].startswith("row 7:") and panel.gallery["items"] == []


def test_pointing_shows_an_image_and_leaving_brings_the_selected_one_back(explorer):
    explorer.select([4])
    explorer._views[1].hovering = 20
    assert settled(explorer).point["title"].startswith("row 20:")
    explorer._views[1].hovering = None
    panel = settled(explorer)
    assert panel.point["title"].startswith("row 4:") and panel.point["picture"]


def test_clicks_in_the_panel_select_rows_and_categories(explorer, bundled):
    panel = settled(explorer)
    panel._handle_custom_msg({"row": 12}, [])
    assert explorer.selected.index.tolist() == [12]
    hazy = next(chip for chip in panel.legend["items"] if chip["name"] == "hazy")
    panel._handle_custom_msg({"category": hazy["code"]}, [])
    assert set(explorer.selected.degradation) == {"hazy"} and len(explorer.selected) == 8


def test_controls_change_maps_and_colours_in_place(explorer):
    views, controls = list(explorer._views), explorer._controls
    before = views[0].points.copy()
    controls.left.value = "CLIP alone"
    settled(explorer)
    assert explorer._views == views and not np.array_equal(views[0].points, before)
    controls.color.value = "photo"
    panel = settled(explorer)
    assert panel.legend["title"] == "photo" and len(panel.legend["items"]) == 8
    assert views[0].points[:, 2].max() == 7


def test_a_photo_that_is_dropped_is_placed_and_trouble_is_a_sentence(
    explorer, tmp_path, photo_folder
):
    upload, message = explorer._controls.upload, explorer._controls.message
    content = (photo_folder / "cup.png").read_bytes()
    file = {"name": "cup.png", "type": "image/png", "size": 1, "content": memoryview(content),
            "last_modified": pd.Timestamp(0).to_pydatetime()}  # fmt: skip
    upload.value = (file,)
    panel = settled(explorer)
    assert explorer.selected.photo.tolist() == ["cup"]
    assert len(explorer._views[1].points) == len(explorer.maps) == 89
    assert panel.legend["items"][-1]["name"] == NEW
    upload.value = (file | {"name": "broken.png", "content": memoryview(b"no image")},)
    with pytest.raises(InputError):
        settled(explorer)
    assert "broken.png" in message.value and len(explorer.maps) == 89
    explorer._controls.file.value = str(tmp_path / "rows.csv")
    explorer._controls.save.click()
    settled(explorer)
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 1


def test_a_row_is_typed_and_another_number_is_a_sentence(explorer):
    row, message = explorer._controls.row, explorer._controls.message
    row.value = "5"
    settled(explorer)
    assert explorer.selected.index.tolist() == [5]
    for text in ("88", "-1", "five"):
        row.value = text
        assert text in message.value and explorer.selected.index.tolist() == [5]
    explorer.select([1, 2])
    assert row.value == ""


def test_saving_rows_does_not_stop_maps_that_are_being_made(explorer, tmp_path, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    made = explorer.maps.made

    def slowly(source):
        begun.set()
        assert go_on.wait(30)
        return made(source)

    before = explorer._views[1].points.copy()
    monkeypatch.setattr(explorer.maps, "made", slowly)
    explorer._controls.right.value = "CLIP alone"
    assert begun.wait(30)
    explorer._controls.file.value = str(tmp_path / "rows.csv")
    explorer._controls.save.click()
    go_on.set()
    settled(explorer)
    assert (tmp_path / "rows.csv").exists()
    assert not np.array_equal(explorer._views[1].points, before)


def test_a_second_set_of_weights_embeds_the_same_images(bundled, pipe, weights):
    explorer = EmbeddingExplorer(bundled, pipe, against=pipe, names=("one", "two"))
    explorer._early.wait()
    assert explorer.sources == ("one: content", "two: content")
    assert explorer.drift().drift.abs().max() < 1e-4
    assert explorer.neighbour_overlap().overlap.mean() > 0.99
    with pytest.raises(InputError):
        EmbeddingExplorer(shipped().select(range(40)), against=pipe)


def test_the_still_shows_a_picture_without_scripts_and_stays_small(explorer):
    page = explorer.static_html()
    plain = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert 'src="data:image/webp' in plain and "<script" not in plain
    assert '"sheet":{"url"' in page and len(page) < MAX_BYTES
    whole = EmbeddingExplorer(shipped())
    assert 100_000 < len(whole.static_html()) < MAX_BYTES
    made = []
    thread = threading.Thread(target=lambda: made.append(whole.static_html()))
    thread.start()
    thread.join()
    assert made == [whole.static_html()]


def test_marks_have_the_colours_of_the_legend_where_a_category_is_empty(explorer):
    severity = np.r_[
        0.0, np.linspace(0.5, 1, len(explorer.maps) - 1)
    ]  # in eight ranges, some empty
    explorer.maps.tables[0].rows["severity"] = severity
    explorer._controls.color.value = "severity"
    panel = settled(explorer)
    legend = [chip["color"] for chip in panel.legend["items"]]
    assert len(legend) < len(set(explorer._coloring.colors))
    wanted = [explorer._coloring.colors[code] for code in explorer._coloring.codes]
    for view in explorer._views:
        shades = ["#" + bytes(round(255 * c) for c in color[:3]).hex() for color in view.color]
        assert [shades[int(code)] for code in view.points[:, 2]] == wanted
    explorer.select([1, 2])
    assert len(explorer.figure().axes) == 2


def test_the_figure_shows_both_maps_and_marks_the_selection(explorer):
    explorer.select([1, 2])
    settled(explorer)
    figure = explorer.figure()
    shown = [sum(len(part.get_offsets()) for part in axes.collections) for axes in figure.axes]
    assert shown == [88, 88]
    alphas = np.concatenate([np.ravel(part.get_alpha()) for part in figure.axes[0].collections])
    assert (alphas == 1).sum() == 2

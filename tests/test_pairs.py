"""Pairs of files are true pairs, in either layout, whatever they are called; what is wrong is refused by name."""

import math
import os

import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from daclip_lab.commands.training_data import labels_of, source_of
from daclip_lab.data import pairs as module
from daclip_lab.data.canvases.source import WholePhotos
from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.image_io import read_image, save_image, to_pil
from daclip_lab.data.pair_files import find_pairs
from daclip_lab.data.pairs import PairFolder, large_part
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches
from daclip_lab.degradations.registry import DEGRADATIONS, LABELS, in_order
from daclip_lab.errors import InputError
from daclip_lab.training.presets import paper


def save_pair(folder, name, clean, *, low=None):
    """A clean image and the same at half the brightness, in GT and LQ."""
    for kind, file, image in (("GT", name, clean), ("LQ", low or name, clean / 2)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        save_image(image, folder / kind / file)


def files(pairs):
    return {(pair.label, pair.degraded.name, pair.clean.name) for pair in pairs}


def write(path, *lines):
    path.write_text("\n".join(("filepath\ttitle", *lines)) + "\n", "utf-8")
    return path


@pytest.fixture
def root(tmp_path, photo):
    """Two degradations with two pairs each."""
    for name in ("hazy", "rainy"):
        for number in range(2):
            crop = photo[:, number : number + 64, : 70 + number]
            save_pair(tmp_path / "set" / name, f"{number}.png", crop)
    return tmp_path / "set"


@pytest.fixture
def tree(root):
    """The same, as the authors keep it: a folder `train` in a folder, and `val` beside it."""
    (root / "train").mkdir()
    for name in ("hazy", "rainy"):
        (root / name).rename(root / "train" / name)
    save_pair(root / "val" / "hazy", "9.png", read_image(root / "train" / "hazy" / "GT" / "0.png"))
    return root


# ---- where pairs lie ----


def test_pairs_are_found_wherever_in_the_authors_tree_one_points(tree):
    whole = files(find_pairs(tree))
    assert len(whole) == 4
    assert files(find_pairs(tree / "train")) == whole
    assert files(find_pairs(tree / "val")) == {("hazy", "9.png", "9.png")}
    alone = files(find_pairs(tree / "train" / "rainy"))
    assert alone == {(label, *names) for label, *names in whole if label == "rainy"}


def test_one_degradation_has_its_name_also_from_within(tree, monkeypatch):
    monkeypatch.chdir(tree / "train" / "rainy")
    assert PairFolder(".").labels == ("rainy",)


def test_any_degradations_are_taken_in_the_order_of_the_tables(root):
    (root / "hazy").rename(root / "sandy wind")
    (root / "rainy").rename(root / "Nebel, dicht")
    save_pair(root / "uncompleted", "a.png", torch.rand(3, 20, 20))
    save_pair(root / "low-light", "a.png", torch.rand(3, 20, 20))
    assert PairFolder(root).labels == ("low-light", "uncompleted", "Nebel, dicht", "sandy wind")
    assert in_order(["zzz", "clean", "aaa", "noisy", "zzz"]) == ("noisy", "clean", "aaa", "zzz")


def test_some_degradations_can_be_picked(tree):
    source = PairFolder(tree / "train" / "rainy", tree / "val" / "hazy")
    assert {label: len(found) for label, found in source.pairs.items()} == {"rainy": 2, "hazy": 1}


def test_degradations_are_picked_by_name(tree):
    source = PairFolder(tree, only=["rainy"])
    assert source.labels == ("rainy",) and len(source) == 2 and len(PairFolder(tree)) == 4
    assert {source.draw(seeded(seed), 16).label for seed in range(8)} == {"rainy"}
    with pytest.raises(InputError, match="no pairs of 'foggy': there are hazy, rainy"):
        PairFolder(tree, only=["rainy", "foggy"])


def test_names_may_hold_spaces_commas_and_any_letters(root, photo):
    folder = root / "hazy"
    for name in ("a b, c.PNG", "Über.png", "雾 1.JPG", "dots.in.name.png"):
        save_pair(folder, name, photo)
    # One letter with its dots, and a letter followed by dots: the same name for people.
    save_pair(folder, "\u00e9.png", photo, low="e\u0301.png")
    found = files(find_pairs(root))
    assert ("hazy", "a b, c.PNG", "a b, c.PNG") in found
    assert ("hazy", "e\u0301.png", "\u00e9.png") in found
    assert len(found) == 9


def test_pairs_are_found_in_folders_of_folders(root, photo):
    for scene in ("one", "two"):
        for kind in ("LQ", "GT"):
            (root / "hazy" / kind / scene).mkdir()
            save_image(photo, root / "hazy" / kind / scene / "0.png")
    pairs = [pair for pair in find_pairs(root) if pair.label == "hazy"]
    assert len(pairs) == 4
    assert all(
        pair.degraded.relative_to(root / "hazy" / "LQ")
        == pair.clean.relative_to(root / "hazy" / "GT")
        for pair in pairs
    )


def test_partners_may_have_another_ending(root, photo):
    (root / "hazy" / "GT" / "1.png").unlink()
    save_image(photo[:, 1:65, :71], root / "hazy" / "GT" / "1.BMP")
    assert ("hazy", "1.png", "1.BMP") in files(find_pairs(root))


def test_of_two_partners_the_one_of_the_same_ending_counts(root, photo):
    save_image(photo, root / "hazy" / "GT" / "1.jpg")
    assert ("hazy", "1.png", "1.png") in files(find_pairs(root))
    (root / "hazy" / "LQ" / "1.png").rename(root / "hazy" / "LQ" / "1.tif")
    with pytest.raises(InputError, match=r"1\.tif has two partners"):
        find_pairs(root)


def empty_pairs(folder, degraded, clean):
    """Files of these names in LQ and GT; only names matter."""
    for kind, names in (("LQ", degraded), ("GT", clean)):
        for name in names:
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / kind / name).touch()
    return folder


@pytest.mark.parametrize(
    ("degraded", "clean"),
    [
        (["0_rain.png", "1_rain.png"], ["0_clean.png", "1_clean.png"]),  # the authors' raindrop set
        (["x1.png", "x2.png", "x10.png"], ["c01.png", "c02.png", "c10.png"]),
        (["only_rain.png"], ["the_clean_one.png"]),
    ],
)
def test_names_that_differ_are_partners_by_their_numbers(tmp_path, degraded, clean):
    pairs = find_pairs(empty_pairs(tmp_path, degraded, clean))
    found = {(pair.degraded.name, pair.clean.name) for pair in pairs}
    assert found == set(zip(degraded, clean, strict=True))


@pytest.mark.parametrize(
    ("degraded", "clean", "fault"),
    [
        (["r1.png", "r2.png", "r4.png"], ["n1.png", "n2.png", "n3.png"], "r4.png"),
        (["r1.png", "r2.png"], ["n1.png", "n2.png", "n3.png"], "n3.png"),
        (["r1.png", "r01.png"], ["n1.png", "n2.png"], "r1.png"),
        (["a.png", "b.png"], ["c.png", "d.png"], "b.png"),
        (["1_90.png", "2_90.png"], ["1.jpg", "2.jpg"], "1_90.png"),
    ],
)
def test_names_that_differ_and_do_not_number_alike_are_refused(tmp_path, degraded, clean, fault):
    with pytest.raises(InputError, match=rf"[/\\]{fault} has no partner"):
        find_pairs(empty_pairs(tmp_path, degraded, clean))


def test_what_is_missing_is_named(root, tmp_path):
    (root / "hazy" / "GT" / "1.png").unlink()
    with pytest.raises(InputError, match=r"hazy.LQ.1\.png has no partner of the same name in .*GT"):
        find_pairs(root)
    for path in (root / "hazy" / "LQ").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"hazy.LQ: holds no image"):
        find_pairs(root)
    with pytest.raises(InputError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no pairs: .*<degradation>/LQ"):
        find_pairs(tmp_path / "empty")


# ---- the table ----


def test_a_table_gives_the_pairs_of_its_lines(tree):
    lines = [
        f"{kind}/{name}/LQ/{number}.png\ta photo, in {name} light: {name}"
        for kind, name, number in [("train", "hazy", 0), ("train", "rainy", 1), ("val", "hazy", 9)]
    ]
    lines[1] = f"{tree}/{lines[1]}"
    source = PairFolder(write(tree / "any name.csv", *lines))
    assert files(pair for found in source.pairs.values() for pair in found) == {
        ("hazy", "0.png", "0.png"),
        ("hazy", "9.png", "9.png"),
        ("rainy", "1.png", "1.png"),
    }
    assert source.pairs["rainy"][0].caption == "a photo, in rainy light"
    assert source.labels == ("hazy", "rainy")


def test_the_authors_paths_may_begin_above_the_table(tree):
    """Their script writes them from its own folder on: datasets/universal/train/..."""
    table = write(tree / "t.csv", "datasets/universal/train/hazy/LQ/0.png\ta cat: on a mat: hazy")
    (pair,) = find_pairs(table)
    assert pair.clean == tree / "train" / "hazy" / "GT" / "0.png"
    assert (pair.caption, pair.label) == ("a cat: on a mat", "hazy")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train/hazy/LQ/0.png", "wanted 2 fields between tabs"),
        ("train/hazy/LQ/0.png\ta cat", "wanted 'caption: degradation', got 'a cat'"),
        ("train/hazy/LQ/0.png\t: hazy", "wanted 'caption: degradation'"),
        ("train/hazy/LQ/0.png\t", "title is empty"),
        ("train/hazy/LQ/7.png\ta cat: hazy", "no such file: train/hazy/LQ/7.png"),
        ("train/hazy/GT/0.png\ta cat: hazy", "lies in no folder LQ"),
        ('train/hazy/LQ/0.png\t"a cat: hazy', "unexpected end of data"),
    ],
)
def test_a_bad_line_of_a_table_is_named_by_its_number(tree, line, reason):
    good = "train/hazy/LQ/1.png\ta dog: hazy"
    with pytest.raises(InputError, match="line 3") as caught:
        find_pairs(write(tree / "t.csv", good, line))
    assert reason in str(caught.value)
    assert str(tree / "t.csv") in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_such_table_is_refused(tree):
    table = tree / "t.csv"
    table.write_text("filepath,title\na,b\n")
    with pytest.raises(InputError, match=r"t\.csv, line 1: .*filepath.*title"):
        find_pairs(table)
    write(table)
    with pytest.raises(InputError, match="no line below"):
        find_pairs(table)
    table.write_bytes(b"filepath\ttitle\n\xff\xfe\t\xff\n")
    with pytest.raises(InputError, match="UTF-8"):
        find_pairs(table)


# ---- captions ----


@pytest.mark.parametrize("place", ["captions.csv", "train/captions.csv", "daclip_train.csv"])
def test_captions_come_from_the_table_beside_the_pairs(tree, place):
    lines = [
        f"{tree}/train/{name}/LQ/{number}.png\t{name} number {number}: {name}"
        for name in ("hazy", "rainy")
        for number in range(2)
    ]
    write(tree / place, *lines)
    for pointed in (tree, tree / "train", tree / "train" / "hazy"):
        source = PairFolder(pointed)
        assert [pair.caption for pair in source.pairs["hazy"]] == ["hazy number 0", "hazy number 1"]
        assert " number " in source.draw(seeded(0), 16).caption
    write(tree / place, *lines, "train/snowy/LQ/5.png\ta set that is not here: snowy")
    assert len(PairFolder(tree)) == 4
    write(tree / place, *lines[1:])
    with pytest.raises(InputError, match=r"has no line for .*hazy.LQ.0\.png"):
        PairFolder(tree)
    write(tree / place, lines[0].replace(": hazy", ": fog"), *lines[1:])
    with pytest.raises(InputError, match="'hazy number 0: fog', wanted 'caption: hazy'"):
        PairFolder(tree)


def test_tables_of_another_part_or_of_another_folder_are_not_read(tree):
    write(tree / "daclip_val.csv", "val/hazy/LQ/9.png\tnine: hazy")
    write(tree.parent / "captions.csv", "elsewhere\tsomething")
    assert PairFolder(tree / "train").pairs["hazy"][0].caption is None
    assert PairFolder(tree / "val").pairs["hazy"][0].caption == "nine"


def test_without_a_table_patches_and_whole_images_describe_what_they_show(root, monkeypatch):
    patch = PairFolder(root).draw(seeded(0), 24)
    assert patch.caption == caption(patch.clean)

    asked = []
    monkeypatch.setattr(module, "caption", lambda image: asked.append(image) or caption(image))
    source = PairFolder(root / "hazy", crop="whole")
    drawn = [source.draw(seeded(seed), 24) for seed in range(8)]
    wholes = [read_image(path) for path in sorted((root / "hazy" / "GT").iterdir())]
    assert {example.caption for example in drawn} == {caption(image) for image in wholes}
    # Each image is described once, not at every draw.
    assert len(asked) == len(wholes)


# ---- what is drawn ----


@pytest.mark.parametrize("crop", ["patch", "whole"])
def test_pairs_of_files_stay_pairs(root, crop):
    source = PairFolder(root, crop=crop)
    generator, seen = seeded(0), set()
    for _ in range(12):
        example = source.draw(generator, 24)
        assert example.clean.shape == example.degraded.shape == (3, 24, 24)
        # Both files are rounded to 8 bits; a bicubic resize can push that a little further.
        torch.testing.assert_close(example.degraded, example.clean / 2, atol=2 / 255, rtol=0)
        assert math.isnan(example.severity)
        seen.add(example.label)
    assert seen == {"hazy", "rainy"}


@pytest.mark.parametrize(("evenly", "share"), [(True, 1 / 2), (False, 1 / 5)])
def test_a_degradation_counts_evenly_or_by_its_pairs(tmp_path, evenly, share):
    for label, count in (("hazy", 4), ("rainy", 1)):
        for number in range(count):
            save_pair(tmp_path / label, f"{number}.png", torch.rand(3, 16, 16))
    source, generator = PairFolder(tmp_path, evenly=evenly), seeded(0)
    drawn = [source.draw(generator, 16).label for _ in range(120)]
    assert drawn.count("rainy") / 120 == pytest.approx(share, abs=0.12)


def test_patches_are_native_pixels_in_all_eight_positions(tmp_path):
    square = torch.rand(3, 20, 20, generator=seeded(0))
    save_pair(tmp_path / "hazy", "0.png", square)
    square = read_image(tmp_path / "hazy" / "GT" / "0.png")
    positions = [
        turned.rot90(turns, (1, 2)) for turns in range(4) for turned in (square, square.flip(-1))
    ]
    source, generator, seen = PairFolder(tmp_path), seeded(1), set()
    for _ in range(80):
        clean = source.draw(generator, 20).clean
        (which,) = [k for k, known in enumerate(positions) if torch.equal(clean, known)]
        seen.add(which)
    assert seen == set(range(8))


def test_the_whole_view_cuts_as_torchvision_does():
    """The same law: every part obeys it, and its mean and fallback agree with RandomResizedCrop."""

    def theirs(h, w):
        box = RandomResizedCrop.get_params(torch.empty(3, h, w), (0.9, 1.0), (3 / 4, 4 / 3))
        return tuple(box)

    torch.manual_seed(0)
    generator = seeded(0)
    for _ in range(200):
        top, left, h, w = large_part(300, 320, generator)
        assert 0 <= top <= 300 - h and 0 <= left <= 320 - w
        assert 0.89 < h * w / (300 * 320) <= 1.001
        assert 0.745 < w / h < 1.34
    ours = torch.tensor([large_part(300, 320, generator) for _ in range(2000)]).double()
    other = torch.tensor([theirs(300, 320) for _ in range(2000)]).double()
    torch.testing.assert_close(ours.mean(0), other.mean(0), atol=1.0, rtol=0)
    for size in ((100, 300), (300, 100)):
        assert large_part(*size, generator) == theirs(*size)


def test_the_whole_view_is_resized_as_pil_resizes(tmp_path, photo, monkeypatch):
    photo = 0.2 + 0.6 * photo  # PIL clips between its two passes: here there is nothing to clip
    save_pair(tmp_path / "hazy", "0.png", photo)
    monkeypatch.setattr(module, "large_part", lambda h, w, generator: (3, 5, 66, 70))
    shown = PairFolder(tmp_path, crop="whole").draw(seeded(0), 32).clean
    part = to_pil(photo).crop((5, 3, 75, 69))
    expected = part.resize((32, 32), Image.Resampling.BICUBIC)
    torch.testing.assert_close(shown, read_image(expected), atol=1.5 / 255, rtol=0)


def test_an_unknown_crop_is_refused(root):
    with pytest.raises(InputError, match="'centre' is unknown: use 'patch' or 'whole'"):
        PairFolder(root, crop="centre")


def test_pairs_of_unequal_or_too_small_size_are_refused(root, photo):
    for size, wanted in [(128, "at least 128x128"), (16, "equal sizes")]:
        if size == 16:
            for path in (root / "hazy" / "GT").iterdir():
                save_image(photo[:, :60, :60], path)
        with pytest.raises(InputError, match=wanted) as caught:
            Batches(PairFolder(root), size=size, batch=20)[0]
        assert "\n" not in str(caught.value) and "LQ" in str(caught.value)


def test_a_small_image_can_be_shown_whole(tmp_path, photo):
    save_pair(tmp_path / "hazy", "0.png", photo[:, :20, :30])
    assert PairFolder(tmp_path, crop="whole").draw(seeded(0), 64).clean.shape == (3, 64, 64)
    with pytest.raises(InputError, match="at least 64x64"):
        PairFolder(tmp_path).draw(seeded(0), 64)


def test_a_damaged_image_is_named(root):
    for path in (root / "hazy" / "LQ").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"hazy.LQ.\d\.png: cannot be read"):
        PairFolder(root / "hazy").draw(seeded(0), 16)


# ---- what a training takes ----


def test_a_training_takes_pairs_in_every_form(tree, scale):
    table = write(tree / "t.csv", "train/hazy/LQ/0.png\ta cat: hazy")
    for data in ([tree], [tree / "train"], [tree / "train" / "hazy"], [table], [tree, table]):
        source = source_of([os.fspath(path) for path in data], scale)
        assert isinstance(source, PairFolder) and source.crop == "patch"


def test_the_papers_controller_sees_whole_images_and_its_restorer_patches(tree, scale):
    data = [str(tree)]
    whole, patch, native = (
        source_of(data, paper(), "daclip"),
        source_of(data, paper(), "restorer"),
        source_of(data, scale, "daclip"),
    )
    assert (whole.crop, patch.crop, native.crop) == ("whole", "patch", "patch")
    assert (whole.evenly, patch.evenly, native.evenly) == (False, True, True)


def test_a_training_takes_one_degradation_alone(tree, photo_folder, scale):
    assert source_of([str(tree)], scale, "restorer", ["hazy"]).labels == ("hazy",)
    with pytest.raises(InputError, match="--only picks degradations of real pairs"):
        source_of([str(photo_folder)], scale, "restorer", ["hazy"])


def test_labels_of_a_source(tree, photo_folder, scale):
    assert labels_of(source_of([str(tree)], scale)) == ("hazy", "rainy")
    assert labels_of(source_of([str(photo_folder)], scale)) == LABELS
    assert labels_of(source_of([str(photo_folder)], paper())) == DEGRADATIONS


def test_pairs_and_photos_are_not_mixed(tree, photo_folder, scale):
    with pytest.raises(InputError, match="holds no pairs, and other --data do"):
        source_of([str(tree), str(photo_folder)], scale)
    with pytest.raises(InputError, match="bundled holds no pairs"):
        source_of(["bundled", str(tree)], scale)


def test_a_tenth_of_the_photos_is_held_out(tmp_path, photo, scale):
    for number in range(20):
        save_image(photo, tmp_path / f"{number}.png")
    source = source_of([str(tmp_path)], scale, "daclip")
    assert isinstance(source, WholePhotos) and len(source.crops.photos) == 18


def test_halves_of_pairs_are_no_photos_but_one_half_may_be(tree, scale):
    halves = [str(tree / "train" / "hazy" / kind) for kind in ("LQ", "GT")]
    with pytest.raises(InputError, match=r"hazy.LQ and GT .*<degradation>/LQ"):
        source_of(halves, scale)
    assert len(source_of(halves[1:], scale).crops.photos) == 2


@pytest.mark.parametrize(
    "halves",
    [("input", "target"), ("lq", "gt"), ("a/blur", "a/sharp"), ("low", "high"), ("Rain/x", "norain/x"),
     ("shadow", "shadow_free")],
)  # fmt: skip
def test_pairs_of_other_layouts_are_no_photos(tmp_path, photo, scale, halves):
    for half in halves:
        for folder in ("set", "set2"):
            (tmp_path / folder / half).mkdir(parents=True)
            save_image(photo, tmp_path / folder / half / "1.png")
    named = [half.rsplit("/x")[0].split("/")[-1] for half in halves]
    with pytest.raises(InputError, match=f"{named[0]} and {named[1]} .*<degradation>/LQ"):
        source_of([str(tmp_path)], scale)

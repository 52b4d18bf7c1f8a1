"""`daclip-lab captions` says what clean images show, keeps what it has said, and loses nothing when it is stopped."""

import sys
import types

import pytest
import torch

from daclip_lab.cli import main
from daclip_lab.data.captions import writing
from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.captions.blip import MODEL, Blip
from daclip_lab.data.captions.table import read_table
from daclip_lab.data.captions.writing import attribute_captions, write_captions
from daclip_lab.data.image_io import read_image, save_image
from daclip_lab.data.pairs import PairFolder
from daclip_lab.errors import InputError


@pytest.fixture
def pairs(tmp_path, photo):
    """Three hazy pairs and a noisy one, which shares a clean photo with the first of them."""
    root = tmp_path / "set"
    for number, clean in enumerate((photo, photo.flip(1), 1 - photo)):
        for kind, image in (("GT", clean), ("LQ", clean / 2)):
            (root / "hazy" / kind).mkdir(parents=True, exist_ok=True)
            save_image(image, root / "hazy" / kind / f"{number}.png")
    for kind in ("GT", "LQ"):
        (root / "noisy" / kind).mkdir(parents=True)
    save_image(photo, root / "noisy" / "LQ" / "über, 1.png")
    (root / "noisy" / "GT" / "über, 1.png").symlink_to(root / "hazy" / "GT" / "0.png")
    return root


class Spoken:
    """A captioner that remembers what it was asked and can fail."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def __call__(self, paths):
        if self.fails_at is not None and len(self.asked) >= self.fails_at:
            raise KeyboardInterrupt
        # A link shows the photo that it leads to.
        names = [path.resolve().stem for path in paths]
        self.asked += names
        return [f"photo {name}\tof\n things" for name in names]


def test_captions_of_pairs_describe_the_clean_image_and_feed_a_training(pairs, capsys):
    table = pairs / "captions.csv"
    assert main(["captions", str(pairs), "-o", str(table)]) == 0
    assert "4 captions" in capsys.readouterr().out
    lines = table.read_text("utf-8").splitlines()
    assert lines[0] == "filepath\ttitle"
    clean = read_image(pairs / "hazy" / "GT" / "2.png")
    assert f"hazy/LQ/2.png\t{caption(clean)}: hazy" in lines
    assert any(line.startswith("noisy/LQ/über, 1.png\t") for line in lines)
    for source in (PairFolder(pairs), PairFolder(table)):
        assert source.pairs["hazy"][2].caption == caption(clean)
        assert source.pairs["noisy"][0].caption == source.pairs["hazy"][0].caption


def test_captions_of_a_plain_folder_stand_alone(photo_folder, tmp_path):
    table = tmp_path / "out.csv"
    assert main(["captions", str(photo_folder), "-o", str(table)]) == 0
    rows = {row.path.name: row.title for row in read_table(table)}
    assert rows == {
        name: caption(read_image(photo_folder / name)) for name in ("face.png", "cup.png")
    }


def test_lines_that_are_there_are_kept(pairs):
    table = pairs / "captions.csv"
    table.write_text("filepath\ttitle\nhazy/LQ/1.png\tby hand: hazy\n")
    spoken = Spoken()
    assert write_captions(pairs, table, spoken) == 3
    assert "1" not in spoken.asked
    titles = {row.path.name: row.title for row in read_table(table)}
    assert titles["1.png"] == "by hand: hazy"
    assert titles["0.png"] == "photo 0 of things: hazy"
    # A clean photo behind two degraded ones is asked about once.
    assert sorted(spoken.asked) == ["0", "2"]
    before = table.read_bytes()
    assert write_captions(pairs, table, spoken) == 0
    assert table.read_bytes() == before


def test_an_interrupted_run_goes_on_and_ends_as_an_uninterrupted_one(pairs, monkeypatch):
    monkeypatch.setattr(writing, "BATCH", 1)
    straight, table = pairs / "straight.csv", pairs / "captions.csv"
    write_captions(pairs, straight, Spoken())
    with pytest.raises(KeyboardInterrupt):
        write_captions(pairs, table, Spoken(fails_at=2))
    assert len(read_table(table)) == 2
    assert write_captions(pairs, table, Spoken()) == 2
    assert table.read_bytes() == straight.read_bytes()
    assert not list(pairs.glob(".*part"))


def test_a_damaged_image_is_named_and_the_others_are_kept(pairs, monkeypatch, capsys):
    monkeypatch.setattr(writing, "BATCH", 1)
    (pairs / "hazy" / "GT" / "1.png").write_bytes(b"nothing")
    table = pairs / "captions.csv"
    assert main(["captions", str(pairs), "-o", str(table)]) == 2
    assert "1.png: not an image" in capsys.readouterr().err
    assert [row.path.name for row in read_table(table)] == ["0.png"]


def test_an_image_too_small_for_a_caption_is_named(tmp_path):
    save_image(torch.rand(3, 8, 8), tmp_path / "tiny.png")
    with pytest.raises(InputError, match=r"tiny\.png: .*at least 16"):
        attribute_captions([tmp_path / "tiny.png"])


def test_a_table_that_cannot_be_is_refused_and_left_alone(pairs, tmp_path, capsys):
    assert main(["captions", str(pairs), "-o", str(tmp_path / "no" / "t.csv")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["captions", str(pairs), "-o", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    other = tmp_path / "other.csv"
    other.write_text("name,price\nbread,2\n")
    assert main(["captions", str(pairs), "-o", str(other)]) == 2
    assert "other.csv, line 1" in capsys.readouterr().err
    assert other.read_text() == "name,price\nbread,2\n"


# ---- BLIP, played by a double: the real one is not on every machine ----


def fake_transformers(fails=None):
    """As much of transformers as `Blip` uses."""

    class Inputs(dict):
        def to(self, device):
            return self

    class Processor:
        def __call__(self, images, return_tensors):
            return Inputs(pixel_values=torch.stack([torch.tensor(image.size) for image in images]))

        def batch_decode(self, tokens, skip_special_tokens):
            return [f" a photo {width} wide " for width, _ in tokens.tolist()]

    class Net(torch.nn.Module):
        def generate(self, pixel_values, max_new_tokens):
            return pixel_values

    def loads(made):
        def from_pretrained(model, **options):
            if fails:
                raise fails
            return made()

        return types.SimpleNamespace(from_pretrained=from_pretrained)

    fake = types.ModuleType("transformers")
    fake.BlipProcessor, fake.BlipForConditionalGeneration = loads(Processor), loads(Net)
    return fake


def test_blip_captions_when_asked(photo_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", fake_transformers())
    table = tmp_path / "t.csv"
    arguments = ["captions", str(photo_folder), "-o", str(table), "--captioner", "blip"]
    assert main(arguments) == 0
    assert MODEL in capsys.readouterr().out
    titles = {row.path.name: row.title for row in read_table(table)}
    assert titles == {"face.png": "a photo 80 wide", "cup.png": "a photo 96 wide"}


def test_without_transformers_blip_says_how_to_get_it(photo_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    table = tmp_path / "t.csv"
    arguments = ["captions", str(photo_folder), "-o", str(table), "--captioner", "blip"]
    assert main(arguments) == 2
    assert "pip install transformers" in capsys.readouterr().err
    assert not table.exists()


def test_without_a_network_blip_says_so_in_one_line(monkeypatch):
    failure = OSError("We couldn't connect to the hub.\nCheck your connection.")
    monkeypatch.setitem(sys.modules, "transformers", fake_transformers(failure))
    with pytest.raises(InputError, match="some/model: not found, or no network") as caught:
        Blip("some/model")
    assert "\n" not in str(caught.value)


def test_a_model_without_blip_is_a_mistake(photo_folder, tmp_path, capsys):
    arguments = ["captions", str(photo_folder), "-o", str(tmp_path / "t.csv"), "--model", "x"]
    assert main(arguments) == 2
    assert "--captioner blip" in capsys.readouterr().err

"""Tables of embeddings: what goes in comes out, an interrupted run goes on, and what does not fit is refused."""

import numpy as np
import pandas as pd
import pytest
import torch

import daclip_lab as lab
from daclip_lab.cli import main
from daclip_lab.data import embedding_table
from daclip_lab.data.embedding_table import EmbeddingTable, fingerprint, gather
from daclip_lab.data.image_io import read_image, save_image
from daclip_lab.data.photos import image_folder
from daclip_lab.degradations.registry import LABELS
from daclip_lab.errors import InputError
from daclip_lab.evaluation.embed_protocol import embed_protocol
from daclip_lab.evaluation.protocol import Protocol, degraded_crops
from daclip_lab.pipeline.image_listing import listing


def table_of(names, dimensions=4, **columns):
    """A table with random embeddings of length 1."""
    rng = np.random.default_rng(len(names))
    vectors = rng.normal(size=(2, len(names), dimensions))
    content, degradation = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    rows = pd.DataFrame({"image": list(names), **columns})
    return EmbeddingTable(rows=rows, content=content, degradation=degradation)


@pytest.fixture
def pairs(tmp_path, photo):
    """Real pairs: one photo in two degradations, with captions, and another without a label of ours."""
    for label, k in (("hazy", 0), ("rainy", 0), ("smeared", 16)):
        for part, image in (("LQ", photo[:, k : k + 32, :32] * 0.5), ("GT", photo[:, :32, :32])):
            place = tmp_path / "pairs" / label / part
            place.mkdir(parents=True)
            save_image(image, place / f"{label} one.png")
    return tmp_path / "pairs"


# ---- a table ----


def test_rows_have_every_column():
    rows = table_of(["a", "b"], degradation=["hazy", None]).rows
    assert list(rows.photo) == ["a", "b"] and rows.severity.isna().all()
    assert list(rows.degradation) == ["hazy", None] and list(rows.caption) == [None, None]


@pytest.mark.parametrize("half", [False, True])
def test_a_table_comes_back_from_its_file(tmp_path, half):
    table = table_of(["a", "b", "c"], severity=[0.1, np.nan, 1], mine=["x", None, "z"])
    table.provenance["weights"] = "abc"
    table.save(tmp_path / "t.parquet", half=half)
    again = EmbeddingTable.load(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(again.rows, table.rows, check_dtype=False)
    assert again.provenance == {"weights": "abc"} and again.spaces == ("content", "degradation")
    np.testing.assert_allclose(again.content, table.content, atol=5e-4 if half else 0)
    assert again.content.dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_other_programs_can_read_it(tmp_path):
    table = table_of(["a", "b"], degradation=["hazy", "rainy"])
    table.save(tmp_path / "t.parquet")
    plain = pd.read_parquet(tmp_path / "t.parquet")
    assert list(plain.degradation) == ["hazy", "rainy"]
    np.testing.assert_array_equal(np.stack(plain.content_embedding), table.content)


def test_rows_can_be_chosen_and_joined():
    table = table_of(["a", "b", "c"], degradation=["hazy", "rainy", "hazy"])
    assert list(table.of("hazy").rows.image) == ["a", "c"]
    parts = [table.select([0]), table.select(np.array([False, True, True]))]
    whole = EmbeddingTable.join(parts)
    pd.testing.assert_frame_equal(whole.rows, table.rows)
    assert np.array_equal(whole.degradation, table.degradation)
    with pytest.raises(InputError, match="no row is 'foggy'"):
        table.of("foggy")
    with pytest.raises(InputError, match="holds no 'clip' embeddings"):
        table.embedding("clip")
    with pytest.raises(InputError, match="cannot be joined"):
        EmbeddingTable.join([table, table_of(["d"], dimensions=5)])


def test_what_does_not_fit_is_refused(tmp_path):
    table = table_of(["a", "b"])
    with pytest.raises(InputError, match="content embeddings of shape"):
        EmbeddingTable(rows=table.rows[:1], content=table.content, degradation=table.degradation)
    spoilt = table.content.copy()
    spoilt[1, 2] = np.nan
    with pytest.raises(InputError, match=r"row 1 \(b\) is not finite"):
        EmbeddingTable(rows=table.rows, content=spoilt, degradation=table.degradation)
    with pytest.raises(InputError, match="column `image`"):
        EmbeddingTable(rows=pd.DataFrame(), content=spoilt, degradation=spoilt)
    (tmp_path / "t.parquet").write_text("no table")
    with pytest.raises(InputError, match=r"t\.parquet is not a readable Parquet"):
        EmbeddingTable.load(tmp_path / "t.parquet")
    pd.DataFrame({"image": ["a"]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="not written by daclip_lab"):
        EmbeddingTable.load(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="does not exist"):
        table.save(tmp_path / "nowhere" / "t.parquet")


# ---- piece by piece ----


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path):
    names, out = [f"i{k}" for k in range(7)], tmp_path / "t.parquet"
    whole, asked = table_of(names), []

    def make(which, stop=99):
        asked.append(list(which))
        if which.start >= stop:
            raise KeyboardInterrupt
        return whole.select(list(which))

    options = {"provenance": {"weights": "a"}, "out": out, "at_a_time": 2}
    with pytest.raises(KeyboardInterrupt):
        gather(names, lambda which: make(which, stop=4), **options)
    assert not out.exists() and EmbeddingTable.load(f"{out}.part").rows.image.iloc[-1] == "i3"
    with pytest.raises(InputError, match="other images"):
        gather(names, make, provenance={"weights": "b"}, out=out)
    asked.clear()
    table = gather(names, make, **options)
    assert asked == [[4, 5], [6]] and np.array_equal(table.content, whole.content)
    assert EmbeddingTable.load(out).provenance == {"weights": "a"}
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_an_interrupted_run_does_not_continue_with_other_pixels(pipe, tmp_path, photo, monkeypatch):
    """Files of the same names and other contents, a clean partner that changed, tensors that changed."""
    images = [tmp_path / f"{k}.png" for k in range(17)]
    for path in images:
        save_image(photo[:, :32, :32], path)
    changed = tmp_path / "changed"
    changed.mkdir()
    out = changed / "t.parquet"
    embed_batch, calls = type(pipe).embed_batch, []

    def interrupted(self, *arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(arguments)
        return embed_batch(self, *arguments)

    pixels = photo[:, :32, :32]
    other = pixels.flip(1).contiguous()
    for first, later, file in (
        (images, images, True),
        ([pixels] * 17, [other] + [pixels] * 16, False),
    ):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(type(pipe), "embed_batch", interrupted)
            calls.clear()
            pipe.embed(first, clean=first, out=out)
        assert len(pipe.embed(first, clean=first)) == 17
        if file:
            save_image(other, images[3])
        with pytest.raises(InputError, match=r"t\.parquet\.part"):
            pipe.embed(later, clean=later, out=out)
        (changed / "t.parquet.part").unlink()


def test_a_fingerprint_depends_on_the_values_not_on_their_order():
    one = {"a": torch.zeros(3), "b": torch.ones(2, 2)}
    assert fingerprint(one) == fingerprint(dict(reversed(one.items())))
    assert fingerprint(one) != fingerprint(one | {"a": torch.full((3,), 1e-3)})


# ---- what a pipeline makes ----


def test_a_folder_without_labels_becomes_a_table(pipe, photo_folder):
    table = pipe.embed(photo_folder)
    assert list(table.rows.image) == [str(photo_folder / name) for name in ("cup.png", "face.png")]
    assert table.spaces == ("content", "degradation", "clip")
    assert table.rows.degradation.isna().all()
    assert list(table.rows.predicted) == list(pipe.classify(list(table.rows.image)).idxmax(axis=1))
    torch.testing.assert_close(
        torch.tensor(table.clip), pipe.encode_clip(list(table.rows.image)), atol=1e-5, rtol=0
    )


def test_folders_named_like_a_degradation_are_labels(pipe, tmp_path, photo):
    for name in ("rainy/deep/one.png", "mine/one.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        save_image(photo[:, :32, :32], tmp_path / name)
    rows = pipe.embed(tmp_path).rows.set_index("image")
    assert rows.degradation[str(tmp_path / "rainy/deep/one.png")] == "rainy"
    assert rows.degradation[str(tmp_path / "mine/one.png")] is None
    assert set(rows.photo) == {"one"}


def test_pairs_bring_labels_partners_and_captions(pipe, pairs):
    lines = [
        f"{label}/LQ/{label} one.png\ta red thing: {label}\n"
        for label in ("hazy", "rainy", "smeared")
    ]
    (pairs / "captions.csv").write_text("filepath\ttitle\n" + "".join(lines))
    table = pipe.embed(pairs)
    assert list(table.rows.degradation) == ["hazy", "rainy", "smeared"]
    assert set(table.rows.caption) == {"a red thing"}
    assert table.rows.partner[0] == str(pairs / "hazy" / "GT" / "hazy one.png")
    # One clean photo stands behind all three.
    np.testing.assert_allclose(table.clean, table.clean[:1].repeat(3, 0), atol=1e-5)


def test_a_list_may_bring_what_is_known(pipe, photo):
    crops = [photo[:, :32, :32], photo[:, :40, :40]]
    table = pipe.embed(crops, clean=crops, metadata={"severity": [0.2, 0.4], "photo": ["p", "p"]})
    assert list(table.rows.severity) == [0.2, 0.4] and table.rows.photo.nunique() == 1
    np.testing.assert_allclose(table.clean, table.clip, atol=1e-5)
    with pytest.raises(InputError, match="1 values of 'severity' for 2 images"):
        pipe.embed(crops, metadata={"severity": [1.0]})
    with pytest.raises(InputError, match="1 clean partners for 2 images"):
        pipe.embed(crops, clean=crops[:1])
    with pytest.raises(InputError, match="no such file"):
        pipe.embed("nowhere")


def test_embedding_a_folder_stops_at_a_broken_file_and_goes_on_without_it(pipe, tmp_path, photo):
    for k in range(20):
        save_image(photo[:, :32, :32], tmp_path / f"{k:02}.png")
    (tmp_path / "18.png").write_text("broken")
    out = tmp_path / "t.parquet"
    with pytest.raises(InputError, match=r"18\.png: not an image"):
        pipe.embed(tmp_path, out=out)
    assert len(EmbeddingTable.load(f"{out}.part")) == 16
    (tmp_path / "18.png").unlink()
    assert len(pipe.embed(tmp_path, out=out)) == len(EmbeddingTable.load(out)) == 19


# ---- the protocol, and the command ----


def test_the_protocol_as_a_table_is_what_an_evaluation_sees(pipe, photo_folder):
    photos, protocol = image_folder(photo_folder), Protocol(crop=32, crops=2)
    table = embed_protocol(pipe, photos, protocol)
    assert len(table) == 2 * 2 * len(LABELS)
    assert table.provenance["hash"] == protocol.resolve(pipe.settings).hash
    assert table.rows.partner.nunique() == 4 and table.rows.image.is_unique
    clean, degraded, facts = degraded_crops(photos, 1, protocol)
    own = table.select(table.rows.photo.eq(photos.names[1]).to_numpy())
    assert list(own.rows.severity) == [fact["severity"] for fact in facts]
    expected = pipe.encode(list(degraded))
    np.testing.assert_allclose(own.degradation, expected.degradation, atol=1e-5)
    np.testing.assert_allclose(own.clean, pipe.encode_clip(list(clean)), atol=1e-5)


def test_the_command_writes_both_kinds_of_table(weights, photo_folder, tmp_path, capsys):
    out = tmp_path / "t.parquet"
    assert main(["embed", str(photo_folder), "-o", str(out), "--weights", str(weights)]) == 0
    assert "2 images, 2 photos" in capsys.readouterr().out and len(EmbeddingTable.load(out)) == 2
    protocol = ["embed", "--protocol", "--data", str(photo_folder), "--half", "-o", str(out)]
    assert main([*protocol, "--weights", str(weights)]) == 0
    assert len(EmbeddingTable.load(out)) == 2 * len(LABELS)
    for wrong in (["embed", "-o", str(out)], [*protocol, str(photo_folder)]):
        assert main(wrong) == 2
        assert "--protocol" in capsys.readouterr().err


def test_the_shipped_table_is_that_of_the_shipped_weights():
    table, pipe = embedding_table.shipped(), lab.load("lab")
    assert table.provenance["weights"] == fingerprint(pipe.daclip.state_dict())
    assert table.rows.photo.nunique() == 200 and table.spaces == embedding_table.SPACES
    assert table.provenance["hash"] == Protocol().resolve(pipe.settings).hash


def test_reading_does_not_keep_images_in_memory(pipe, photo_folder, monkeypatch):
    alive = []

    def counted(image):
        import weakref

        read = read_image(image)
        alive[:] = [ref for ref in alive if ref() is not None] + [weakref.ref(read)]
        counted.most = max(counted.most, len(alive))
        return read

    counted.most = 0
    monkeypatch.setattr("daclip_lab.pipeline.encoding.read_image", counted)
    pipe.embed([photo_folder / "cup.png"] * 12)
    assert counted.most <= 2


def test_a_clean_photo_under_two_degradations_is_one_photo(tmp_path, photo):
    for label, k in (("hazy", 1), ("rainy", 2)):
        for part in ("LQ", "GT"):
            (tmp_path / label / part).mkdir(parents=True)
            for name, image in (("a", photo), ("b", photo.flip(-1))):
                save_image(
                    image / k if part == "LQ" else image, tmp_path / label / part / f"{name}.png"
                )
    rows = listing(tmp_path).rows
    assert len(rows) == 4
    assert rows.photo.nunique() == rows.partner.nunique() == 2

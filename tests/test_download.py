"""A download ends whole or not at all, goes on after a cut, and nothing that it unpacks leaves its folder."""

import hashlib
import importlib.util
import io
import re
import shutil
import socket
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from local_server import serve

from daclip_lab.errors import InputError
from daclip_lab.files import archives
from daclip_lab.files.archives import UnusableArchive, unpack
from daclip_lab.files.download import SOURCES, File, fetch

ROOT = Path(__file__).resolve().parents[1]
CONTENT = bytes(range(256)) * 4000  # a megabyte: more than one chunk
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PHOTOS = {
    f"BSR/images/{part}/{n}.jpg": bytes([n]) * 50 for part in ("train", "val") for n in (1, 2)
}


@pytest.fixture
def server():
    with serve() as running:
        running.files["w.pth"] = CONTENT
        yield running


@pytest.fixture
def weights(server):
    """A file whose size and hash the table knows."""
    return File(url=server.url("w.pth"), size=len(CONTENT), sha256=SHA256)


def tar(members, mode="w:gz"):
    """The bytes of a tar archive of names and contents; a TarInfo is added as it is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def pack(members):
    """The bytes of a zip archive of names and contents."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def archive_of(server, name, content, **known):
    """A set of photos in an archive."""
    server.files[name] = content
    parts = (("BSR/images/train", "train"), ("BSR/images/val", "val"))
    return File(url=server.url(name), folders=parts, **known)


def names(folder):
    """All files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---- a file ----


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, weights, tmp_path):
    done = fetch(weights, tmp_path / "new" / "folder")
    assert done.new and done.sha256 == SHA256 and done.note is None
    assert done.paths == [tmp_path / "new" / "folder" / "w.pth"]
    assert done.paths[0].read_bytes() == CONTENT
    assert not fetch(weights, tmp_path / "new" / "folder").new
    assert server.asked == [("w.pth", None)] and names(tmp_path) == {"new/folder/w.pth"}


def test_a_file_put_there_by_hand_is_taken_but_verified(server, weights, tmp_path):
    (tmp_path / "w.pth").write_bytes(CONTENT)
    assert not fetch(weights, tmp_path).new
    (tmp_path / "w.pth").write_bytes(CONTENT[::-1])
    with pytest.raises(InputError, match=SHA256):
        fetch(weights, tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("lengths", [True, False])
def test_a_cut_connection_is_told_and_gone_on_with(server, weights, tmp_path, lengths):
    server.cut, server.lengths = 700_000, lengths
    with pytest.raises(InputError, match=r"w\.pth: the connection was cut.*run it again"):
        fetch(weights, tmp_path)
    part = tmp_path / "w.pth.part"
    had = part.stat().st_size
    assert not (tmp_path / "w.pth").exists() and part.read_bytes() == CONTENT[:had] and had > 0
    fetch(weights, tmp_path)
    assert server.asked[1] == ("w.pth", f"bytes={had}-")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT and names(tmp_path) == {"w.pth"}


def test_a_server_without_ranges_starts_again(server, weights, tmp_path):
    server.cut, server.ranges = 700_000, False
    with pytest.raises(InputError):
        fetch(weights, tmp_path)
    fetch(weights, tmp_path)
    assert server.asked[1][1] is not None
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_an_address_that_leads_elsewhere_is_gone_on_with_too(server, tmp_path):
    """As on the hub, which hands over to another server."""
    server.moved["here.pth"], server.cut = "w.pth", 700_000
    file = File(url=server.url("here.pth"), size=len(CONTENT), sha256=SHA256)
    with pytest.raises(InputError, match="run it again"):
        fetch(file, tmp_path)
    fetch(file, tmp_path)
    assert server.asked[-1] == ("w.pth", "bytes=700000-")
    assert (tmp_path / "here.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("tags", [True, False])
def test_two_versions_are_never_mixed(server, tmp_path, tags):
    """With a tag, the server says that the file is another; without, and without a hash, all comes anew."""
    unknown = File(url=server.url("w.pth"))
    server.cut, server.tags = 700_000, tags
    with pytest.raises(InputError):
        fetch(unknown, tmp_path)
    server.files["w.pth"] = CONTENT[::-1]
    fetch(unknown, tmp_path)
    assert (server.asked[1][1] is not None) == tags
    assert (tmp_path / "w.pth").read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_is_dropped(server, weights, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(CONTENT + b"more")
    fetch(weights, tmp_path)
    (tmp_path / "w.pth").unlink()
    (tmp_path / "w.pth.part").write_bytes(CONTENT + b"more")
    fetch(File(url=weights.url, sha256=SHA256), tmp_path)  # the server answers 416
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_a_wrong_hash_names_both_and_leaves_no_file_under_the_name(server, tmp_path):
    wrong = File(url=server.url("w.pth"), sha256="0" * 64)
    with pytest.raises(InputError, match=f"{SHA256}, but {'0' * 64} in the table"):
        fetch(wrong, tmp_path)
    assert names(tmp_path) == {"w.pth.refused"}
    with pytest.raises(InputError):
        fetch(wrong, tmp_path)
    assert len(server.asked) == 2


def test_a_wrong_size_is_refused_before_the_bytes_come(server, tmp_path):
    wrong = File(url=server.url("w.pth"), size=7, sha256=SHA256)
    with pytest.raises(InputError, match=rf"{len(CONTENT)} bytes at the server, 7 in the table"):
        fetch(wrong, tmp_path)
    assert not names(tmp_path)


def test_an_unknown_hash_is_trusted_once_and_asked_for_afterwards(server, tmp_path):
    unknown = File(url=server.url("w.pth"))
    note = fetch(unknown, tmp_path).note
    assert note.read_text() == f"{SHA256}  w.pth\n"
    (tmp_path / "w.pth").unlink()
    assert fetch(unknown, tmp_path).note is None
    (tmp_path / "w.pth").unlink()
    server.files["w.pth"] = b"other"
    with pytest.raises(InputError, match=rf"{SHA256} at the first fetch \(w\.pth\.sha256\)"):
        fetch(unknown, tmp_path)
    assert not (tmp_path / "w.pth").exists()


def test_no_such_file_and_no_answer_are_one_line_with_the_way_out(server, tmp_path):
    with pytest.raises(InputError, match=r"no\.pth: the server answers 404.*by hand at .*no\.pth"):
        fetch(File(url=server.url("no.pth")), tmp_path / "x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match=r"a\.pth: no answer.*by hand at .*a\.pth"):
        fetch(File(url=f"http://127.0.0.1:{port}/a.pth"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_too_little_room_is_told_before_and_while_it_happens(weights, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"1\.02 MB to come, 1 kB"):
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        fetch(weights, tmp_path)
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has a disk that is always full")
    (tmp_path / "w.pth.part").unlink(missing_ok=True)
    (tmp_path / "w.pth.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"w\.pth: No space left"):
        fetch(weights, tmp_path)


# ---- an archive ----


@pytest.mark.parametrize("name, make", [("a.tgz", tar), ("a.zip", pack)])
def test_an_archive_becomes_its_folders_and_is_removed(server, tmp_path, name, make):
    file = archive_of(server, name, make({"BSR/readme.txt": b"hello", **PHOTOS}))
    done = fetch(file, tmp_path)
    photos = {f"{part}/{n}.jpg" for part in ("train", "val") for n in (1, 2)}
    assert names(tmp_path) == photos | {f"{name}.sha256"}
    assert done.paths == [tmp_path / "train", tmp_path / "val"] and done.new
    assert (tmp_path / "val" / "2.jpg").read_bytes() == bytes([2]) * 50
    assert not fetch(file, tmp_path).new and len(server.asked) == 1


def test_a_folder_that_is_there_is_left_alone(server, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.jpg").write_bytes(b"mine")
    fetch(archive_of(server, "a.tgz", tar(PHOTOS)), tmp_path)
    assert names(tmp_path / "train") == {"mine.jpg"}
    assert names(tmp_path / "val") == {"1.jpg", "2.jpg"}


def test_interrupted_unpacking_shows_no_half_folder_and_goes_on(server, tmp_path, monkeypatch):
    file = archive_of(server, "a.tgz", tar(PHOTOS))
    write, written = archives._write, []

    def interrupted(member, target):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(target)
        write(member, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(archives, "_write", interrupted)
        fetch(file, tmp_path)
    assert not (tmp_path / "train").exists() and not (tmp_path / "val").exists()
    first = written[0].stat().st_mtime_ns
    written[2].write_bytes(b"half")
    fetch(file, tmp_path)
    assert len(server.asked) == 1
    assert (tmp_path / "train" / "1.jpg").stat().st_mtime_ns == first
    assert {path.read_bytes() for path in (tmp_path / "val").iterdir()} == set(PHOTOS.values())
    assert names(tmp_path) == {"a.tgz.sha256"} | {k.removeprefix("BSR/images/") for k in PHOTOS}


@pytest.mark.parametrize("make", [tar, pack])
@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "BSR/images/train/../../../../evil", "..\\evil", "C:\\evil"]
)
def test_no_path_leaves_the_folder(tmp_path, make, name):
    archive, inside = tmp_path / "a", tmp_path / "in"
    archive.write_bytes(make({"BSR/images/train/1.jpg": b"1", name: b"evil"}))
    inside.mkdir()
    with pytest.raises(UnusableArchive, match="would leave the folder"):
        unpack(archive, {"": inside / "all"})
    assert names(tmp_path) == {"a"} and not list(inside.iterdir())


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_no_link_and_no_device_is_unpacked(tmp_path, kind):
    entry = tarfile.TarInfo("train/link")
    entry.type, entry.linkname = kind, "../../secret"
    (tmp_path / "a").write_bytes(tar({"train/1.jpg": b"1", "train/link": entry}))
    with pytest.raises(UnusableArchive, match="'train/link' is no plain file"):
        unpack(tmp_path / "a", {"train": tmp_path / "train"})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_no_link_of_a_zip_is_unpacked(tmp_path):
    entry = zipfile.ZipInfo("train/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(entry, "../../secret")
    with pytest.raises(UnusableArchive, match="no plain file"):
        unpack(tmp_path / "a", {"train": tmp_path / "train"})


@pytest.mark.parametrize(
    "content", [b"<html>moved</html>", tar(PHOTOS)[:-60], tar({"a/1.jpg": b"1"})],
    ids=["page", "cut", "other"],
)  # fmt: skip
def test_what_is_not_the_archive_is_put_aside_and_not_trusted(server, tmp_path, content):
    with pytest.raises(InputError, match=r"a\.tgz.*it is kept as .*a\.tgz\.refused"):
        fetch(archive_of(server, "a.tgz", content), tmp_path)
    assert names(tmp_path) == {"a.tgz.refused"}
    server.files["a.tgz"] = tar(PHOTOS)
    assert fetch(archive_of(server, "a.tgz", tar(PHOTOS)), tmp_path).new


# ---- the table ----


def test_every_set_of_the_paper_has_its_row_and_its_page(monkeypatch):
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "data" / "mixed" / "prepare.py")
    prepare = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "prepare", prepare)
    spec.loader.exec_module(prepare)
    sets = {name for part in (*prepare.TRAIN, *prepare.TEST) for name in part.sets}
    data = {name for name, source in SOURCES.items() if source.place == "data"}
    assert data == sets | {prepare.MASKS, "bsds500"}
    for name in data:
        text = (ROOT / "data" / name / "README.md").read_text("utf-8")
        for address in (*SOURCES[name].pages, *(file.url for file in SOURCES[name].files)):
            assert address in text, f"data/{name}/README.md lacks {address}"


def test_the_table_is_well_formed():
    for name, source in SOURCES.items():
        files = [file.name for file in source.files]
        assert len(set(files)) == len(files) and source.pages, name
        for file in source.files:
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256), file.name
            # The names of torch's files end with the beginning of their hash.
            prefix = re.search(r"-([0-9a-f]{8})\.pth$", file.name)
            assert prefix is None or file.sha256.startswith(prefix[1])
            # A pickle can run code: none is trusted unseen.
            assert file.folders or (file.sha256 and file.size), file.name

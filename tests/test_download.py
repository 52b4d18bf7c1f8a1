"""Downloads are complete or absent, are resumed after a cut, and nothing is unpacked outside of its folder."""

import functools
import hashlib
import importlib.util
import io
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
from local_server import serve

from daclip_lab.errors import InputError
from daclip_lab.files import download
from daclip_lab.files.download import fetch, unpack
from daclip_lab.files.sources import SOURCES, File

ROOT = Path(__file__).resolve().parents[1]
CONTENT = bytes(range(256)) * 4000  # a megabyte: more than one chunk
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PHOTOS = {
    f"BSR/images/{part}/{n}.jpg": bytes([n]) * 50 for part in ("train", "val") for n in (1, 2)
}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 0)
    with serve() as running:
        running.files["w.pth"] = CONTENT
        yield running


@pytest.fixture
def weights(server):
    """A file whose size and hash are in the table."""
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
    folders = {"train": "BSR/images/train", "val": "BSR/images/val"}
    return File(url=server.url(name), folders=folders, **known)


def names(folder):
    """All files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---- a file ----


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, weights, tmp_path):
    done = fetch(weights, tmp_path / "new" / "folder")
    assert done.new and done.sha256 == SHA256
    assert done.paths == [tmp_path / "new" / "folder" / "w.pth"]
    assert done.paths[0].read_bytes() == CONTENT
    requests = len(server.requests)
    assert not fetch(weights, tmp_path / "new" / "folder").new
    assert len(server.requests) == requests and names(tmp_path) == {"new/folder/w.pth"}


def test_a_file_put_there_by_hand_is_taken_but_verified(server, weights, tmp_path):
    (tmp_path / "w.pth").write_bytes(CONTENT)
    assert not fetch(weights, tmp_path).new
    (tmp_path / "w.pth").write_bytes(CONTENT[::-1])
    with pytest.raises(InputError, match=SHA256):
        fetch(weights, tmp_path)
    assert server.requests == []


def test_a_cut_download_is_resumed_by_the_next_call(server, weights, tmp_path):
    server.cut = 700_000
    with pytest.raises(InputError, match=r"w\.pth: .*again.*by hand at"):
        fetch(weights, tmp_path)
    (part,) = tmp_path.iterdir()
    size = part.stat().st_size
    assert part.suffix == ".part" and part.read_bytes() == CONTENT[:size] and size > 0
    fetch(weights, tmp_path)
    assert server.requests[-1] == ("w.pth", f"bytes={size}-")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT and names(tmp_path) == {"w.pth"}


def test_a_cut_download_is_resumed_within_a_call(server, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "RETRIES", 1)
    server.cut = 700_000
    fetch(weights, tmp_path)
    assert server.requests[-1][1].startswith("bytes=")
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_a_redirected_download_is_resumed_too(server, tmp_path):
    server.moved["here.pth"], server.cut = "w.pth", 700_000
    file = File(url=server.url("here.pth"), size=len(CONTENT), sha256=SHA256)
    with pytest.raises(InputError, match="again"):
        fetch(file, tmp_path)
    fetch(file, tmp_path)
    assert server.requests[-1][1].startswith("bytes=")
    assert (tmp_path / "here.pth").read_bytes() == CONTENT


def test_without_a_hash_two_versions_are_never_mixed(server, tmp_path):
    unknown = File(url=server.url("w.pth"))
    server.cut = 700_000
    with pytest.raises(InputError):
        fetch(unknown, tmp_path)
    server.files["w.pth"] = CONTENT[::-1]
    fetch(unknown, tmp_path)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT[::-1] and names(tmp_path) == {"w.pth"}


@pytest.mark.parametrize("kind", ["", "datasets/"])
def test_a_file_of_the_hub_comes_through_its_library(server, tmp_path, monkeypatch, kind):
    local = functools.partial(
        huggingface_hub.hf_hub_download, endpoint=server.url("").rstrip("/"), token=False
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", local)
    place = f"{kind}some/repo/resolve/main/w.pth"
    server.files[place] = CONTENT
    file = File(url=f"https://huggingface.co/{place}", size=len(CONTENT), sha256=SHA256)
    done = fetch(file, tmp_path)
    assert done.new and (tmp_path / "w.pth").read_bytes() == CONTENT
    assert server.requests[-1][0] == place
    del server.files[place]
    with pytest.raises(InputError, match=rf"{re.escape(file.url)}: .*by hand at .*w\.pth"):
        fetch(file, tmp_path / "other")


def test_a_file_of_a_folder_of_the_hub_arrives_under_its_own_name(tmp_path, monkeypatch):
    """The Hub's library would put it into that folder."""
    import gdown

    place = "https://huggingface.co/some/repo/resolve/main/sub/w.pth"
    monkeypatch.setattr(
        gdown, "download", lambda url, output, **options: Path(output).write_text(url)
    )
    assert fetch(File(url=place), tmp_path).paths == [tmp_path / "w.pth"]
    assert (tmp_path / "w.pth").read_text() == place


def test_a_wrong_hash_names_both_and_leaves_no_file_under_the_name(server, tmp_path):
    wrong = File(url=server.url("w.pth"), sha256="0" * 64)
    with pytest.raises(InputError, match=f"{SHA256}, wanted {'0' * 64}"):
        fetch(wrong, tmp_path)
    assert names(tmp_path) == {"w.pth.refused"}


def test_a_wrong_size_is_refused_before_the_bytes_come(server, tmp_path):
    wrong = File(url=server.url("w.pth"), size=7, sha256=SHA256)
    with pytest.raises(InputError, match=rf"{len(CONTENT)} bytes at the server, 7 in the table"):
        fetch(wrong, tmp_path)
    assert not (tmp_path / "w.pth").exists()


def test_no_such_file_and_no_answer_name_the_address_and_the_way_out(server, tmp_path):
    with pytest.raises(InputError, match=r"no\.pth: .*404.*by hand at .*no\.pth"):
        fetch(File(url=server.url("no.pth")), tmp_path)
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/a\.pth: .*by hand at .*a\.pth"):
        fetch(File(url="http://127.0.0.1:9/a.pth"), tmp_path)
    assert not names(tmp_path)


def test_a_full_disk_is_an_input_error(weights, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"kB to come, 1 kB free"):
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        fetch(weights, tmp_path)
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has a disk that is always full")
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "w.pth12345678.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"w\.pth: No space left"):
        fetch(weights, tmp_path)


# ---- an archive ----


@pytest.mark.parametrize("name, make", [("a.tgz", tar), ("a.zip", pack)])
def test_an_archive_becomes_its_folders_and_is_removed(server, tmp_path, name, make):
    file = archive_of(server, name, make({"BSR/readme.txt": b"hello", **PHOTOS}))
    done = fetch(file, tmp_path)
    assert names(tmp_path) == {f"{part}/{n}.jpg" for part in ("train", "val") for n in (1, 2)}
    assert done.paths == [tmp_path / "train", tmp_path / "val"] and done.new
    assert (tmp_path / "val" / "2.jpg").read_bytes() == bytes([2]) * 50
    requests = len(server.requests)
    assert not fetch(file, tmp_path).new and len(server.requests) == requests


@pytest.mark.parametrize("make", [tar, pack])
def test_the_whole_archive_may_become_one_folder(tmp_path, make):
    (tmp_path / "a").write_bytes(make({"1.jpg": b"1", "sub/2.jpg": b"2"}))
    unpack(tmp_path / "a", {tmp_path / "all": ""})
    assert names(tmp_path / "all") == {"1.jpg", "sub/2.jpg"}


def test_a_folder_that_is_there_is_kept(server, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.jpg").write_bytes(b"mine")
    fetch(archive_of(server, "a.tgz", tar(PHOTOS)), tmp_path)
    assert names(tmp_path / "train") == {"mine.jpg"}
    assert names(tmp_path / "val") == {"1.jpg", "2.jpg"}


def test_interrupted_unpacking_leaves_no_half_folder(server, tmp_path, monkeypatch):
    file = archive_of(server, "a.tgz", tar(PHOTOS))
    extract, extracted = tarfile.TarFile._extract_one, []

    def interrupted(*arguments, **options):
        if len(extracted) == 3:
            raise KeyboardInterrupt
        extracted.append(1)
        extract(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tarfile.TarFile, "_extract_one", interrupted)
        fetch(file, tmp_path)
    assert names(tmp_path) == {"a.tgz"}
    fetch(file, tmp_path)
    assert names(tmp_path) == {name.removeprefix("BSR/images/") for name in PHOTOS}


@pytest.mark.parametrize("make", [tar, pack])
@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "BSR/images/train/../../../../evil", "..\\evil", "C:\\evil"]
)
def test_no_path_leaves_the_folder(tmp_path, make, name):
    box = tmp_path / "box"
    box.mkdir()
    (box / "a").write_bytes(make({"BSR/images/train/1.jpg": b"1", name: b"evil"}))
    try:
        unpack(box / "a", {box / "train": "BSR/images/train"})
    except InputError as error:
        assert "a.refused" in str(error)
    assert {path.parts[0] for path in map(Path, names(box))} <= {"a", "a.refused", "train"}
    assert not (tmp_path / "evil").exists() and not Path("/evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_link_outwards_and_a_device_are_refused(tmp_path, kind):
    entry = tarfile.TarInfo("train/link")
    entry.type, entry.linkname = kind, "../../secret"
    (tmp_path / "a").write_bytes(tar({"train/1.jpg": b"1", "train/link": entry}))
    with pytest.raises(InputError, match="train/link"):
        unpack(tmp_path / "a", {tmp_path / "train": "train"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.refused"]


@pytest.mark.parametrize(
    "content", [b"<html>moved</html>", tar(PHOTOS)[:-60], tar({"a/1.jpg": b"1"})],
    ids=["page", "cut", "other"],
)  # fmt: skip
def test_what_is_not_the_archive_is_renamed_and_downloaded_again(server, tmp_path, content):
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

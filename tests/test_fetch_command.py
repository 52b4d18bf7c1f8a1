"""`daclip-lab fetch` says what it fetches and where it goes, and where there is no address, what to do instead."""

import hashlib

import pytest
from local_server import serve

from daclip_lab.cli import main
from daclip_lab.commands.fetch import default_folder
from daclip_lab.files.sources import SOURCES, Entry, File

SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server, a source "toy" of one file on it, and an empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    with serve() as running:
        running.files["toy.pt"] = b"weights"
        source = Entry(
            what="a toy",
            licence="CC0",
            pages=("https://toys.org",),
            place="weights",
            files=(File(url=running.url("toy.pt")),),
        )
        monkeypatch.setitem(SOURCES, "toy", source)
        yield running


@pytest.mark.parametrize("arguments", [["fetch"], ["fetch", "--list"]])
def test_the_table_lists_every_name(arguments, capsys):
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line for line in shown.splitlines() if line}
    assert set(SOURCES) < set(rows)
    assert "70.8 MB" in rows["bsds500"] and "1.94 GB" in rows["daclip-uir"]
    assert "by hand" in rows["lol"] and "MIT" in rows["wild-ir"]


def test_a_fetch_shows_name_size_hash_licence_and_place(server, tmp_path, capsys):
    assert main(["fetch", "toy"]) == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "weights" / "toy" / "toy.pt").read_bytes() == b"weights"
    for part in (
        "a toy",
        "CC0",
        "https://toys.org",
        server.url("toy.pt"),
        "size unknown",
        "fetched",
    ):
        assert part in shown
    assert SHA256 in shown
    assert main(["fetch", "toy"]) == 0
    shown = capsys.readouterr().out
    assert "there already" in shown
    assert main(["fetch", "toy", "--to", "else/where"]) == 0
    assert (tmp_path / "else" / "where" / "toy.pt").exists()


def test_what_goes_wrong_is_one_line_and_exit_code_2(server, capsys):
    assert main(["fetch", "lol"]) == 2
    error = capsys.readouterr().err
    assert all(page in error for page in SOURCES["lol"].pages) and "data/lol" in error
    assert main(["fetch", "nothing"]) == 2
    assert "'nothing' is not in the table: bsds500" in capsys.readouterr().err
    del server.files["toy.pt"]
    assert main(["fetch", "toy"]) == 2
    error = capsys.readouterr().err
    assert "404" in error and error.count("\n") == 1


def test_backbones_go_where_torch_looks_for_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert default_folder("fid", SOURCES["fid"]) == tmp_path / "hub" / "checkpoints"

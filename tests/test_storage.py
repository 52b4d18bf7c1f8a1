"""Output paths are checked before the work, files are written whole, and finished parts survive an interruption."""

import os
import threading

import pytest

from daclip_lab.errors import InputError
from daclip_lab.files.resume_log import ResumeLog
from daclip_lab.files.storage import atomic_write, check_output, check_output_folder


def test_output_paths_that_cannot_be_written_are_named(tmp_path):
    assert check_output(str(tmp_path / "a.PNG"), (".png", ".jpg")) == tmp_path / "a.PNG"
    for path, value in (
        (tmp_path / "no" / "a.png", str(tmp_path / "no")),
        (tmp_path, str(tmp_path)),
        (tmp_path / "a.gif", ".png, .jpg"),
    ):
        with pytest.raises(InputError, match=value):
            check_output(path, (".png", ".jpg") if path.suffix else ())
    if os.getuid():  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(InputError, match=str(tmp_path)):
            check_output(tmp_path / "a.png")


def test_output_folders_that_cannot_be_made_are_named(tmp_path):
    (tmp_path / "file").mkdir()  # a folder of any name may lie beside the output
    for path in (tmp_path, tmp_path / "new" / "folder"):
        assert check_output_folder(str(path)) == path
    assert not (tmp_path / "new").exists()
    (tmp_path / "a.txt").touch()
    for path in (tmp_path / "a.txt", tmp_path / "a.txt" / "new"):
        with pytest.raises(InputError, match=r"a\.txt is a file"):
            check_output_folder(path)


def test_two_threads_that_write_one_file_do_not_mix(tmp_path):
    start = threading.Barrier(2)

    def write(letter):
        with atomic_write(tmp_path / "f") as temporary:
            start.wait()
            temporary.write_text(letter * 100_000)
            start.wait()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*(tmp_path / "f").read_text()}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_an_interrupted_log_is_resumed_without_its_half_line(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    log = ResumeLog(path, {"seed": 1, "sizes": (1, 2)})
    for part in ({"a": 0.1}, {"a": (1, None)}):
        log.append(part)
    before = path.read_bytes()
    with path.open("a") as file:
        file.write('{"a": 3')
    again = ResumeLog(path, {"seed": 1, "sizes": [1, 2]})
    assert again.parts == log.parts == [{"a": 0.1}, {"a": [1, None]}]
    assert path.read_bytes() == before


def test_a_log_of_other_settings_names_them_and_is_kept(tmp_path):
    path = tmp_path / "log.jsonl"
    ResumeLog(path, {"seed": 1, "steps": 2}).append({"a": 1})
    before = path.read_bytes()
    for header, value in (
        ({"seed": 2, "steps": 2}, "seed"),
        ({"seed": 1}, "steps"),
        ({"seed": 1, "steps": 2, "new": 0}, "new"),
    ):
        with pytest.raises(InputError, match=f"log.jsonl .* {value}"):
            ResumeLog(path, header)
    assert path.read_bytes() == before
    for content in ("", "no JSON\n", "[1]\n"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"log\.jsonl"):
            ResumeLog(path, {})


def test_a_log_in_memory_holds_the_same_parts(tmp_path):
    logs = ResumeLog(None, {}), ResumeLog(tmp_path / "log", {})
    for log in logs:
        log.append({"pair": (1, 2)})
    assert logs[0].parts == logs[1].parts == [{"pair": [1, 2]}]

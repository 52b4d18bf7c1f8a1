"""The code blocks of README and docs run, and the commands in them exist with these options."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import daclip_lab
from daclip_lab.cli import make_parser
from daclip_lab.data.image_io import save_image

ROOT = Path(__file__).resolve().parents[1]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CARDS = [
    *sorted((ROOT / "data").rglob("*.md")),
    ROOT / "daclip_lab" / "weights" / "lab" / "README.md",
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|\s)(?:daclip-lab|-m daclip_lab\.cli)\s+(.+)")


def python_blocks(path):
    return [code for kind, code in FENCE.findall(path.read_text("utf-8")) if kind == "python"]


def command_lines():
    for path in GUIDES + CARDS:
        for kind, block in FENCE.findall(path.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                found = COMMAND.search(line)
                if kind in ("", "sh", "bash", "console") and found:
                    yield pytest.param(found[1], id=f"{path.relative_to(ROOT)}: {found[1]}")


@pytest.mark.parametrize("name", daclip_lab.__all__)
def test_a_public_name_can_be_imported(name):
    assert getattr(daclip_lab, name) is not None


def test_what_guides_and_notebooks_call_is_public():
    paths = GUIDES + sorted((ROOT / "notebooks" / "src").glob("*.py"))
    called = {n for p in paths for n in re.findall(r"\blab\.([A-Za-z_]\w*)", p.read_text("utf-8"))}
    assert called <= {*daclip_lab.__all__, "__version__"}


@pytest.fixture
def small(monkeypatch, photo_folder):
    """Sample photos and recipes small enough for a test; the code stays as it is printed."""
    from daclip_lab.data import photos
    from daclip_lab.training import presets

    few, lab = photos.image_folder(photo_folder), presets.lab()
    monkeypatch.setattr(photos, "sample_photos", lambda split: few)
    short = {
        part: replace(getattr(lab, part), steps=2, batch_size=2)
        for part in ("clip_training", "daclip", "restorer")
    }
    monkeypatch.setattr(presets, "lab", lambda: replace(lab, **short))


@pytest.mark.parametrize("path", [p for p in GUIDES if python_blocks(p)], ids=lambda p: p.name)
def test_the_code_of_a_guide_runs(path, small, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = python_blocks(path)
    for name in re.findall(r'"([\w./-]+\.(?:jpe?g|png|webp))"', "".join(code)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(photo, tmp_path / name)
    namespace = {}
    for number, block in enumerate(code):
        exec(compile(block, f"{path.name}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("line", list(command_lines()))
def test_a_printed_command_can_be_parsed(line):
    words = shlex.split(line, comments=True)
    options = make_parser().parse_args([word for word in words if word != "|"])
    assert callable(options.run)

"""Building notebooks from their sources, and running the tour without a screen."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image

import build
import fingerprint
import run_tour

pytestmark = pytest.mark.notebook

TOUR = """# %% [markdown]
# # A small tour

# %%
import os
import pandas as pd
from IPython.display import Image, display
from matplotlib import pyplot as plt
plt.plot([1, 2])
plt.show()

# %% [markdown]
# ## Tables

# %%
for name in ("classification", "restoration"):
    table = pd.DataFrame({"degradation": ["rainy"], "value": [0.12345]})
    table.to_csv(f"{os.environ['DACLIP_LAB_OUT']}/{name}.csv", index=False)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project that stands for this one in `build`."""
    for folder in ("notebooks/src", "daclip_lab/weights"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setenv("DACLIP_LAB_SCALE", "lab")
    return tmp_path


def outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    return [output.get("text") for cell in cells for output in cell.get("outputs", [])]


def test_build_stops_at_a_failure_and_goes_on_there(project, capsys):
    sources, built = project / "notebooks" / "src", project / "notebooks"
    (sources / "00_a.py").write_text("# %%\nprint('a')\n")
    (sources / "01_b.py").write_text("# %% [markdown]\n# ## Sums\n\n# %%\n1 / 0\n")
    assert build.main([]) == "01_b: cell 1 of 1, in 'Sums': ZeroDivisionError: division by zero"
    assert outputs(built / "00_a.ipynb") == ["a\n"] and not (built / "01_b.ipynb").exists()

    (sources / "01_b.py").write_text("# %%\nprint('b')\n")
    capsys.readouterr()
    assert build.main([]) is None
    assert capsys.readouterr().out.splitlines() == ["00_a: up to date", "01_b: executing"]
    assert outputs(built / "01_b.ipynb") == ["b\n"]


@pytest.fixture
def package(project):
    """The folder of a package beside the notebooks, and a source that imports some of its modules."""
    files = {
        "__init__.py": '_EXPORTS = {"load": ("load",), "unused": ("other",)}\n',
        "load.py": "def load():\n    from daclip_lab.deep import inner\n    return inner.x\n",
        "deep/__init__.py": "",
        "deep/inner.py": '"""Old words."""\nx = 1  # a comment\n',
        "unused.py": "y = 1\n",
        "errors.py": "z = 1\n",
        "errors.js": "1",
        "weights/w.bin": "1",
    }
    folder = project / "daclip_lab"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    source = project / "notebooks" / "src" / "00_a.py"
    source.write_text(
        "# %% [markdown]\n# # A\n\n# %%\nimport daclip_lab as lab\nfrom daclip_lab import errors\n\nf'a'\n"
    )
    return folder, source


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("deep/inner.py", "x = 2\n", "library"),
        ("deep/inner.py", '"""New words."""\n\nx = (\n    1\n)\n', None),
        ("load.py", "def load():\n    return 1\n", "library"),
        ("unused.py", "y = 2\n", None),
        ("errors.js", "2", "library"),
        ("weights/w.bin", "2", "data"),
        ("weights/README.md", "new", None),
    ],
)
def test_outputs_depend_on_code_that_is_imported_and_on_data(package, name, text, part):
    folder, source = package
    source.write_text(source.read_text().replace("f'a'", "lab.load()"))
    before = build.fingerprint_of(source)
    (folder / name).write_text(text)
    after = build.fingerprint_of(source)
    assert [key for key in before if before[key] != after[key]] == ([part] if part else [])


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [("# # A", "# # B", False), ("f'a'", "f'a'  # words", False), ("f'a'", "f'b'", True)],
)
def test_words_and_comments_of_a_source_change_no_output(package, old, new, changes):
    _, source = package
    before = build.fingerprint_of(source)
    source.write_text(source.read_text().replace(old, new))
    assert (build.fingerprint_of(source) != before) == changes


def test_only_modules_that_are_used_are_followed(package):
    folder, _ = package
    found = fingerprint.imported_modules(["import daclip_lab as lab\nlab.load()"], folder)
    assert found == {"daclip_lab.load", "daclip_lab.deep", "daclip_lab.deep.inner"}


def test_stale_notebooks_are_listed_with_the_reason(package, capsys):
    folder, _ = package
    assert build.main(["--list-stale"]) is None
    assert build.main([]) is None
    (folder / "errors.py").write_text("z = 2\n")
    assert build.main(["--list-stale"]) is None
    assert capsys.readouterr().out.splitlines() == [
        "00_a: never built",
        "00_a: executing",
        "00_a: library",
    ]


def test_sync_updates_words_and_keeps_outputs_of_equal_code_only(package):
    _, source = package
    built = source.parents[1] / "00_a.ipynb"
    build.main([])
    source.write_text(source.read_text().replace("# # A", "# # B").replace("f'a'", "f'a'  # hi"))
    assert build.main(["--sync"]) is None
    cells = nbformat.read(built, as_version=4).cells
    assert cells[0].source == "# B" and cells[1].source.endswith("# hi")
    assert cells[1].execution_count == 1 and cells[1].outputs[0].data["text/plain"] == "'a'"
    assert not build.outdated(source, built)

    before = built.read_bytes()
    source.write_text(source.read_text().replace("f'a'", "f'b'"))
    assert "cells 1 " in build.main(["--sync"]) and built.read_bytes() == before
    assert build.main(["--accept"]) and built.read_bytes() == before  # it wants names
    assert build.outdated(source, built) == ["code"]
    assert build.main(["--accept", "00_a"]) is None
    assert not build.outdated(source, built)
    assert nbformat.read(built, as_version=4).cells[1].outputs[0].data["text/plain"] == "'a'"

    before = built.read_bytes()
    source.write_text(source.read_text() + "\n# %%\n1\n")
    assert "2 code cells" in build.main(["--accept", "00_a"]) and built.read_bytes() == before


def test_the_same_source_builds_the_same_bytes(project):
    source = project / "notebooks" / "src" / "00_a.py"
    source.write_text("# %%\nprint('a')\n\n# %%\n2 + 2\n")
    built = []
    for name in ("one.ipynb", "two.ipynb"):
        build.build(source, project / name)
        built.append((project / name).read_bytes())
    assert built[0] == built[1]


def test_outputs_of_another_scale_are_not_saved(project, monkeypatch):
    monkeypatch.setenv("DACLIP_LAB_SCALE", "smoke")
    (project / "notebooks" / "src" / "00_a.py").write_text("# %%\nprint('a')\n")
    assert "'smoke'" in build.main([])
    assert not list((project / "notebooks").glob("*.ipynb"))


def test_an_unknown_notebook_is_named(project):
    assert build.main(["07_none"]) == "no source notebooks/src/07_none.py"


def test_dead_widgets_are_left_out(project):
    source = project / "notebooks" / "src" / "00_a.py"
    source.write_text("# %%\nimport ipywidgets\ndisplay(ipywidgets.IntSlider())\nprint('a')\n")
    notebook = build.read_source(source)
    build.execute(notebook, project)
    assert [output.output_type for output in notebook.cells[0].outputs] == ["stream"]
    assert "widgets" not in notebook.metadata


WIDGET = """# %%
import ipywidgets
from daclip_lab.widgets.static import StaticCopy

class Box(StaticCopy, ipywidgets.VBox):
    def static_html(self):
        return f"<p>a still of {len(self.children)}</p>"

for k in range(9):
    print(k, end=" ", flush=True)
box = Box()
box

# %%
box.children = [ipywidgets.IntSlider()]
box.refresh_static()
"""


def test_of_a_widget_the_newest_static_copy_stays(project):
    source = project / "notebooks" / "src" / "00_a.py"
    source.write_text(WIDGET)
    notebook = build.read_source(source)
    build.execute(notebook, project)
    (printed, output), others = notebook.cells[0].outputs, notebook.cells[1].outputs
    assert printed.text.split() == [*"012345678"]
    assert "a still of 1" in output.data["text/html"] and build.WIDGET_VIEW not in output.data
    assert not others and "widgets" not in notebook.metadata


@pytest.mark.parametrize("colours", [3, 5000])
def test_pictures_are_written_smaller_and_keep_every_pixel(colours):
    levels = np.random.default_rng(0).integers(0, 256, (colours, 3), dtype=np.uint8)
    pixels = levels[np.arange(80 * 90).reshape(80, 90) * 7 % colours]
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGBA").save(file, "PNG", compress_level=0)
    before = base64.b64encode(file.getvalue()).decode()
    output = nbformat.v4.new_output("display_data", {"image/png": before})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    build.shrink_pictures(notebook)
    after = notebook.cells[0].outputs[0].data["image/png"]
    assert len(after) < 0.8 * len(before)
    shown = Image.open(io.BytesIO(base64.b64decode(after))).convert("RGB")
    assert np.array_equal(shown, pixels)


@pytest.fixture
def tour(tmp_path, monkeypatch):
    """Writes a stand-in for the tour and returns its path; what it leaves goes to `out` beside it."""
    monkeypatch.setenv("DACLIP_LAB_OUT", str(tmp_path / "out"))

    def write(source):
        (tmp_path / "tour.py").write_text(source)
        path = tmp_path / "tour.ipynb"
        nbformat.write(build.read_source(tmp_path / "tour.py"), path)
        return path

    return write


def test_the_tour_leaves_its_notebook_page_figures_and_tables(tour, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "figure_09.png").touch()  # of an earlier tour
    assert run_tour.main(tour(TOUR)) == 0
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {
        "tour.ipynb",
        "tour.html",
        "figure_01.png",
        "classification.csv",
        "restoration.csv",
    }
    said = capsys.readouterr().out
    assert "      rainy  0.123" in said and "tour.html" in said and said.endswith("make lab\n")


def test_the_page_loads_nothing_from_elsewhere(tour, tmp_path):
    run_tour.main(tour(TOUR))
    page = (tmp_path / "out" / "tour.html").read_text()
    assert "data:image/png;base64," in page
    assert "<script" not in page and 'rel="stylesheet"' not in page


def test_a_tour_that_fails_says_where_and_keeps_what_it_has(tour, tmp_path, capsys):
    assert run_tour.main(tour(TOUR.replace("0.12345", "nothing"))) == 1
    assert "cell 2 of 2, in 'Tables': NameError" in capsys.readouterr().err
    assert (tmp_path / "out" / "figure_01.png").is_file()
    cells = nbformat.read(tmp_path / "out" / "tour.ipynb", as_version=4).cells
    assert cells[-1].outputs[-1].ename == "NameError"


def test_a_tour_without_tables_has_failed(tour, capsys):
    assert run_tour.main(tour("# %%\n1 + 1\n")) == 1
    assert "no classification.csv and no restoration.csv" in capsys.readouterr().err


def test_a_missing_tour_says_how_to_build_it(tour, tmp_path, capsys):
    assert run_tour.main(tmp_path / "none.ipynb") == 1
    assert capsys.readouterr().err.endswith("none.ipynb is missing: make notebooks\n")

"""Run the tour without a screen: `make run`, or `python notebooks/run_tour.py`.

Leaves the executed notebook, a self-contained HTML copy, every figure and the two result tables in runs/tour, or in the
folder that the environment variable DACLIP_LAB_OUT names.
"""

import base64
import os
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
from nbconvert import HTMLExporter

from build import NOTEBOOKS, ROOT, NotebookFailed, execute, save
from daclip_lab.files.storage import write_text

TABLES = ("classification.csv", "restoration.csv")
OFFLINE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}"""


def main(tour: Path) -> int:
    """Execute a notebook and keep what it shows; the exit code is 1 when a cell failed or a table is missing."""
    out = Path(os.environ.get("DACLIP_LAB_OUT", ROOT / "runs" / "tour")).resolve()
    os.environ["DACLIP_LAB_OUT"] = str(out)
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("figure_*.png"), *(out / name for name in TABLES)):
        old.unlink(missing_ok=True)

    if not tour.is_file():
        print(f"{shown(tour)} is missing: make notebooks", file=sys.stderr)
        return 1
    notebook = nbformat.read(tour, as_version=4)
    failure = None
    start = time.monotonic()
    try:
        execute(notebook, tour.parent)
    except NotebookFailed as error:
        failure = str(error)
    seconds = time.monotonic() - start
    figures = keep(notebook, tour, out)

    print(f"\n{tour.name} ran {seconds:.0f} s.")
    print(f"  executed notebook  {shown(out / tour.name)}")
    print(f"  the same as a page {shown(out / tour.stem)}.html")
    print(f"  figures ({len(figures)})        {shown(out)}/figure_*.png")
    missing = [name for name in TABLES if not (out / name).is_file()]
    for name in TABLES:
        if name not in missing:
            print(f"\n{shown(out / name)}\n{table(out / name)}")
    if failure:
        print(f"\nThe tour stopped at {failure}", file=sys.stderr)
        return 1
    if missing:
        print(f"\nThe tour wrote no {' and no '.join(missing)}", file=sys.stderr)
        return 1
    print("\nTo try it yourself in JupyterLab:  make lab")
    return 0


def keep(notebook: nbformat.NotebookNode, tour: Path, out: Path) -> list[Path]:
    """Save a notebook with its outputs, its page and its figures; returns the figures' paths."""
    save(out / tour.name, notebook)
    exporter = HTMLExporter(raw_template=OFFLINE, embed_images=True)
    resources = {"metadata": {"name": tour.stem, "path": str(tour.parent)}}
    page, _ = exporter.from_notebook_node(notebook, resources)
    write_text(out / f"{tour.stem}.html", page)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    paths = [out / f"figure_{index:02d}.png" for index in range(1, len(pictures) + 1)]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(base64.b64decode(picture))
    return paths


def table(path: Path) -> str:
    """A CSV file as text in columns."""
    return pd.read_csv(path).to_string(index=False, float_format="{:.3f}".format)


def shown(path: Path) -> str:
    """A path relative to the project's folder where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOKS / "00_tour.ipynb"))

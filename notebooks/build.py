"""Build notebooks/*.ipynb from the text in notebooks/src/*.py: `make notebooks`, or `python notebooks/build.py NAME`.

Executes, in order and at the lab scale, every notebook whose source, library or weights changed since it was built.
After a failure the next call goes on where this one stopped, since what was built is saved.
"""

import hashlib
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class NotebookFailed(Exception):
    """A cell raised, or the kernel died; the message says where and why in one line."""


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in place with this interpreter, with `folder` as the working directory and a bar over the cells.

    Widgets need a live kernel: of their output, only what shows without one stays. Raises NotebookFailed.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    for cell in code:
        cell.update(outputs=[], execution_count=None)
    section = ""

    def before(cell, cell_index):
        nonlocal section
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            section = cell.source.splitlines()[0].strip("# ")
            bar.set_description(section[:40])

    def after(cell, cell_index, execute_reply):
        bar.update()

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,
        startup_timeout=300,  # a busy machine is slow, not wrong
        iopub_timeout=60,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=40"],  # no word about its local connection
        on_cell_start=before,
        on_cell_executed=after,
    )
    with tqdm(total=len(code), unit="cell") as bar:
        try:
            client.execute(cwd=str(folder))
        except CellExecutionError as error:
            reason = f"{error.ename}: {error.evalue}".splitlines()[0]
            raise NotebookFailed(f"cell {bar.n} of {len(code)}, in {section!r}: {reason}") from None
        except DeadKernelError:
            raise NotebookFailed(
                f"cell {bar.n + 1} of {len(code)}, in {section!r}: the kernel died"
            ) from None
        finally:
            _drop_dead_widgets(notebook)


def _drop_dead_widgets(notebook: nbformat.NotebookNode) -> None:
    """Leave out what would read "model not found", or show an empty bar, when the notebook is opened again."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in list(cell.get("outputs", [])):
            if output.get("data", {}).pop(WIDGET_VIEW, None) and {*output.data} <= {"text/plain"}:
                cell.outputs.remove(output)


def save(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(part, path)


def read_source(source: Path) -> nbformat.NotebookNode:
    """The unexecuted notebook of a py:percent file; the same text gives the same bytes."""
    import jupytext  # comes with the `dev` extra, which running the tour does not need

    notebook = jupytext.read(source, fmt="py:percent")
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:03d}"
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    return notebook


def fingerprint(source: Path) -> str:
    """A hash of all that the outputs of a notebook depend on: its source, the library, the shipped weights."""
    package = ROOT / "daclip_lab"
    library = [path for path in package.rglob("*") if path.suffix in {".py", ".js", ".css"}]
    files = (package / "weights").rglob("*")
    weights = [path for path in files if path.is_file() and path.suffix != ".md"]
    digest = hashlib.sha256()
    for path in [source, *sorted({*library, *weights})]:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_stale(source: Path, built: Path) -> bool:
    """Whether a notebook is missing or was built from something else than what is there now."""
    if not built.is_file():
        return True
    metadata = nbformat.read(built, as_version=4).metadata
    return metadata.get("daclip_lab", {}).get("built_from") != fingerprint(source)


def build(source: Path, built: Path) -> None:
    """Execute one notebook and save it with its outputs; nothing is saved when a cell fails."""
    notebook = read_source(source)
    built_from = fingerprint(source)
    execute(notebook, NOTEBOOKS)
    notebook.metadata["daclip_lab"] = {"built_from": built_from}
    save(built, nbformat.writes(notebook) + "\n")


def main(names: list[str]) -> str | None:
    """Build the named notebooks, or all, where stale; returns what went wrong."""
    scale = os.environ.get("DACLIP_LAB_SCALE", "lab")
    if scale != "lab":
        return f"notebooks are saved at the lab scale only, and DACLIP_LAB_SCALE is {scale!r}"
    sources = sorted((NOTEBOOKS / "src").glob("*.py"))
    if unknown := set(names) - {source.stem for source in sources}:
        return f"no source notebooks/src/{unknown.pop()}.py"
    for source in sources:
        built = NOTEBOOKS / f"{source.stem}.ipynb"
        if names and source.stem not in names:
            continue
        if not is_stale(source, built):
            print(f"{source.stem}: up to date")
            continue
        print(f"{source.stem}: executing")
        try:
            build(source, built)
        except NotebookFailed as error:
            return f"{source.stem}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

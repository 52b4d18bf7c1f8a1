"""Build notebooks/*.ipynb from the text in notebooks/src/*.py: `make notebooks`, or `python notebooks/build.py NAME`.

Executes, in order and at the lab scale, every stale notebook: one whose code, imported modules or data changed since it
was built. After a failure the next call goes on where this one stopped, since what was built is saved. `--list-stale`
lists the stale ones; `--sync` writes new texts and comments into built notebooks; `--accept NAME` does so for code that
was edited without any effect on the outputs.
"""

import argparse
import base64
import io
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image
from tqdm import tqdm

from daclip_lab.files.storage import write_text
from fingerprint import fingerprint, normalized

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class NotebookFailed(Exception):
    """A notebook cannot be built or synced; the message says where and why in one line."""


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
            # Not before the end: the client remembers by its number which output a later cell writes again.
            CoalesceStreamsPreprocessor().preprocess(notebook, {})
            _drop_dead_widgets(notebook)
            shrink_pictures(notebook)


def _drop_dead_widgets(notebook: nbformat.NotebookNode) -> None:
    """Leave out what would read "model not found", or show an empty bar, when the notebook is opened again."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in list(cell.get("outputs", [])):
            if output.get("data", {}).pop(WIDGET_VIEW, None) and {*output.data} <= {"text/plain"}:
                cell.outputs.remove(output)


def shrink_pictures(notebook: nbformat.NotebookNode) -> None:
    """Write the PNG pictures of the outputs again, without loss: as small as they go.

    An alpha that hides nothing goes, and a picture of few colours gets a palette.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" not in output.get("data", {}):
                continue
            picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
            if picture.mode == "RGBA" and picture.getextrema()[3][0] == 255:
                picture = picture.convert("RGB")
            if picture.mode == "RGB" and picture.getcolors(256):
                few = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
                picture = few if few.convert("RGB").tobytes() == picture.tobytes() else picture
            for strategy in range(4):  # of zlib: which is best depends on the picture
                file = io.BytesIO()
                picture.save(file, "PNG", compress_level=9, compress_type=strategy)
                smaller = base64.b64encode(file.getvalue()).decode()
                output.data["image/png"] = min(output.data["image/png"], smaller, key=len)


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


def fingerprint_of(source: Path) -> dict[str, str]:
    """What the outputs of a notebook depend on, see `fingerprint.fingerprint`."""
    return fingerprint(code_cells(read_source(source)), ROOT / "daclip_lab")


def code_cells(notebook: nbformat.NotebookNode) -> list[str]:
    """The texts of the code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def outdated(source: Path, built: Path) -> list[str]:
    """Why the outputs of a notebook may be wrong: "never built", or which of code, library and data changed."""
    if not built.is_file():
        return ["never built"]
    then = nbformat.read(built, as_version=4).metadata.get("daclip_lab", {})
    return [part for part, now in fingerprint_of(source).items() if then.get(part) != now]


def build(source: Path, built: Path) -> None:
    """Execute one notebook and save it with its outputs; nothing is saved when a cell fails."""
    notebook = read_source(source)
    notebook.metadata["daclip_lab"] = fingerprint_of(source)
    execute(notebook, NOTEBOOKS)
    save(built, notebook)


def sync(source: Path, built: Path, *, accept: bool = False) -> None:
    """Write the cells of the source into a built notebook and keep its outputs.

    Code may differ in comments, docstrings and layout only. With `accept` it may differ in anything but the number of
    code cells, and the notebook counts as built from what is there now: for edits that cannot change an output, such as
    a new name. Raises NotebookFailed, and leaves the notebook as it is, for other edits.
    """
    if not built.is_file():
        raise NotebookFailed("never built")
    notebook, old = read_source(source), nbformat.read(built, as_version=4)
    cells, kept = ([c for c in n.cells if c.cell_type == "code"] for n in (notebook, old))
    if len(cells) != len(kept):
        raise NotebookFailed(f"{len(cells)} code cells, built with {len(kept)}: execute it")
    pairs = list(zip(cells, kept, strict=True))
    changed = [k for k, (new, was) in enumerate(pairs, 1)
               if normalized(new.source) != normalized(was.source)]  # fmt: skip
    if changed and not accept:
        numbers = ", ".join(map(str, changed))
        raise NotebookFailed(f"the code of cells {numbers} changed: execute it, or --accept it")
    for new, was in pairs:
        new.update(outputs=was.outputs, execution_count=was.execution_count)
    notebook.metadata = old.metadata
    if accept:
        notebook.metadata["daclip_lab"] = fingerprint_of(source)
    save(built, notebook)


def save(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Write a notebook whole or not at all."""
    write_text(path, nbformat.writes(notebook) + "\n")


def main(arguments: list[str]) -> str | None:
    """Build the named notebooks, or all, where stale, or do what an option wants; returns what went wrong."""
    parser = argparse.ArgumentParser(prog="notebooks/build.py", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks such as 00_tour (default: all)")
    do = parser.add_mutually_exclusive_group()
    do.add_argument("--list-stale", action="store_true", help="list the stale ones and why")
    do.add_argument("--sync", action="store_true", help="update texts and comments, keep outputs")
    do.add_argument("--accept", action="store_true",
                    help="as --sync, and take the named ones for built: no edit changes an output")  # fmt: skip
    options = parser.parse_args(arguments)
    sources = sorted((NOTEBOOKS / "src").glob("*.py"))
    if unknown := set(options.names) - {source.stem for source in sources}:
        return f"no source notebooks/src/{unknown.pop()}.py"
    if options.accept and not options.names:
        return "--accept wants the names of notebooks"
    scale = os.environ.get("DACLIP_LAB_SCALE", "lab")
    if scale != "lab" and not (options.list_stale or options.sync or options.accept):
        return f"notebooks are saved at the lab scale only, and DACLIP_LAB_SCALE is {scale!r}"
    failures = []
    for source in sources:
        if options.names and source.stem not in options.names:
            continue
        built = NOTEBOOKS / f"{source.stem}.ipynb"
        try:
            if options.sync or options.accept:
                sync(source, built, accept=options.accept)
                print(f"{source.stem}: synced")
            elif reasons := outdated(source, built):
                if options.list_stale:
                    print(f"{source.stem}: {', '.join(reasons)}")
                else:
                    print(f"{source.stem}: executing")
                    build(source, built)
            elif not options.list_stale:
                print(f"{source.stem}: up to date")
        except NotebookFailed as error:
            failures.append(f"{source.stem}: {error}")
            if not options.sync:
                break
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

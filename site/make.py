"""Render the course and the reference to pages that open from the disk: `make site`, or `python site/make.py FOLDER`.

Everything a page needs lies in the folder (runs/site unless another is named): no page loads anything from elsewhere.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from pages import PageFailed, course_page, home_page, write_pages
from reference import reference_pages

ROOT = Path(__file__).resolve().parents[1]


def main(notebooks: Path, package: Path, out: Path) -> str | None:
    """Write the whole site anew into `out`, or leave what was there and return what went wrong."""
    built = sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))
    if not built:
        return f"no notebooks in {notebooks}: make notebooks"
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside `out`, so that the finished folder takes its place in one move.
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        lessons = [course_page(path) for path in built]
        modules = reference_pages(package)
        write_pages([home_page(lessons, modules), *lessons, *modules], part)
        part.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        os.replace(part, out)
    except PageFailed as error:
        return str(error)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(
        f"{len(lessons)} notebooks and {len(modules)} modules of the library: {out / 'index.html'}"
    )
    return None


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "site"
    sys.exit(main(ROOT / "notebooks", ROOT / "daclip_lab", folder.resolve()))

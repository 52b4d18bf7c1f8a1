"""Print a constraints file with the lowest version of every requirement of the package and its extras.

    python tests/lowest_versions.py [TORCH]

`TORCH` replaces the lower bound of torch, whose own wheel is several gigabytes on Linux.
"""

import re
import sys
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)")


def lowest_versions(pyproject: Path, torch: str | None = None) -> dict[str, str]:
    """Name and lowest version of each requirement, those of `analysis` and `notebooks` included."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    # The tools of development (`dev`) stay at what pip chooses.
    requirements = [*project["dependencies"], *extras["analysis"], *extras["notebooks"]]
    found = dict(m.groups() for r in requirements if (m := REQUIREMENT.match(r)))
    return found | ({"torch": torch} if torch else {})


if __name__ == "__main__":
    versions = lowest_versions(Path(__file__).parents[1] / "pyproject.toml", *sys.argv[1:2])
    print(*(f"{name}=={version}" for name, version in versions.items()), sep="\n")

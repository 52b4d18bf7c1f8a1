"""A font that browsers can set equations in, so that they look the same on every machine, without a network.

A browser reads the layout of an equation (how far a subscript drops, how thick a fraction's line is) from the font's
MATH table. Few machines have a font with a good one. DejaVu Serif, which comes with matplotlib, has all the parts of
large brackets and roots, but zeros for most distances: they are filled in here.
"""

from pathlib import Path

import matplotlib
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
EM = 2048
# Shares of an em, near those that TeX's own fonts have used since 1978.
DISTANCES = {
    "SubscriptShiftDown": 0.22,
    "SubscriptTopMax": 0.4,
    "SubscriptBaselineDropMin": 0.2,
    "SuperscriptShiftUp": 0.38,
    "SuperscriptShiftUpCramped": 0.3,
    "SuperscriptBottomMin": 0.12,
    "SuperscriptBaselineDropMax": 0.3,
    "SubSuperscriptGapMin": 0.16,
    "SuperscriptBottomMaxWithSubscript": 0.4,
    "SpaceAfterScript": 0.05,
    "UpperLimitGapMin": 0.16,
    "UpperLimitBaselineRiseMin": 0.11,
    "LowerLimitGapMin": 0.16,
    "LowerLimitBaselineDropMin": 0.6,
    "StackTopShiftUp": 0.44,
    "StackTopDisplayStyleShiftUp": 0.68,
    "StackBottomShiftDown": 0.35,
    "StackBottomDisplayStyleShiftDown": 0.69,
    "FractionNumeratorShiftUp": 0.42,
    "FractionNumeratorDisplayStyleShiftUp": 0.7,
    "FractionDenominatorShiftDown": 0.38,
    "FractionDenominatorDisplayStyleShiftDown": 0.7,
    "OverbarVerticalGap": 0.1,
    "RadicalVerticalGap": 0.06,
    "RadicalDisplayStyleVerticalGap": 0.15,
}


RANGES = (
    (0x20, 0x17F),  # letters, digits, brackets
    (0x2B0, 0x3FF),  # accents, Greek
    (0x2010, 0x23FF),  # dashes, arrows, operators, the parts of large brackets
    (0x27C0, 0x2AFF),  # more brackets, arrows and operators
    (0x1D400, 0x1D7FF),  # the italic, bold and script alphabets of mathematics
)


def write_fonts(folder: Path) -> None:
    """Write `math.woff`, and `script.woff` with the letters and signs that the first one lacks."""
    wanted = {character for first, last in RANGES for character in range(first, last + 1)}
    serif, script = (TTFont(FONTS / name) for name in ("DejaVuSerif.ttf", "STIXGeneral.ttf"))
    constants = serif["MATH"].table.MathConstants
    for name, share in DISTANCES.items():
        getattr(constants, name).Value = round(share * EM)
    constants.ScriptPercentScaleDown, constants.ScriptScriptPercentScaleDown = 72, 58
    missing = wanted - set(serif.getBestCmap())
    _write(serif, wanted, folder / "math.woff")
    _write(script, missing, folder / "script.woff")


def _write(font: TTFont, characters: set[int], path: Path) -> None:
    subsetter = Subsetter(Options(layout_features=["*"], hinting=False, drop_tables=["FFTM"]))
    subsetter.populate(unicodes=characters)
    subsetter.subset(font)
    # A changed font goes by a name of its own.
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 6, 16):
            record.string = f"course-{path.stem}"
    font.flavor = "woff"
    font.save(path, reorderTables=False)

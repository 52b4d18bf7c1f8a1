"""Numbers as text: a value with its interval, tables in Markdown, tables ready for JSON."""

import math

import pandas as pd


def format_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """`"value [low, high]"`; the value alone where the ends are NaN, "" where the value is."""
    if math.isnan(value):
        return ""
    # Adding zero to a rounded number turns "-0.0" into "0.0".
    value, low, high = (round(float(number), digits) + 0.0 for number in (value, low, high))
    if math.isnan(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown_table(table: "pd.DataFrame", bold: str | None = None) -> str:
    """A table of texts in Markdown, its index first; the row named `bold` is set in bold type."""
    head = [table.index.name or "", *table.columns]
    lines = [head, ["---"] * len(head)]
    for name, values in zip(table.index, table.to_numpy(), strict=True):
        lines.append([f"**{name}**" if name == bold else name, *values])
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def json_rows(table: "pd.DataFrame") -> dict[str, dict]:
    """The rows of a table by their index, ready for JSON: NaN, which JSON does not have, becomes None."""
    return table.astype(object).where(table.notna(), None).to_dict("index")

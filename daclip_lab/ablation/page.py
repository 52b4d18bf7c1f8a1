"""The page "What matters in DA-CLIP": the findings of all published studies, as Markdown."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from daclip_lab.ablation.findings import (
    GUIDANCE,
    Findings,
    between,
    findings,
    quoted,
    unit_of,
    with_interval,
)
from daclip_lab.ablation.power import Results, count, power_sentence
from daclip_lab.ablation.statistics import compare, means
from daclip_lab.ablation.study import Study
from daclip_lab.errors import InputError
from daclip_lab.metrics.formatting import markdown_table

PHOTOS = 60
"""Test photos of a study that was not run, for its power."""

HEAD = """\
# What matters in DA-CLIP

Which parts of DA-CLIP (Luo et al., [arXiv 2310.01018](https://arxiv.org/abs/2310.01018)) matter? The paper shows
its ablations as training curves, without numbers, seeds or intervals. Here they are measured: small networks, equal
budgets, several seeds, and a sentence on what each study cannot say. This page is written by `daclip-lab ablate
--page docs/what_matters.md` from the results in `daclip_lab/ablation/published`.
"""

PROTOCOL = """\
## How to read the numbers

- A **study** compares variants that differ in one thing. For the rest, all have the same seeds, the same training
  examples in the same order, and the same budget; all are measured on the same test images, none of which is trained
  on. A *gain* is the PSNR of the restored image minus that of the degraded one.
- The **photos** are those of BSDS500 (`daclip-lab fetch bsds500`): the 165 of its train and val parts that are no
  ground truth of Rain100H or CBSD68 are trained on, and the first ones of its test part are measured on.
- A **difference** is formed image by image and seed by seed, and then averaged: what an image or a seed does to
  both variants cancels.
- An **interval** is over seeds and photos, both of which are samples: it says what other seeds and other photos of
  the same kind would give. Images of one photo count as one photo. Five seeds are few, and the intervals are as
  wide as five seeds demand ([`metrics/crossed.py`](../daclip_lab/metrics/crossed.py)). With one seed they are over
  photos alone.
- The **intervals for all** hold for all comparisons of a study at once with 95 % confidence
  ([`ablation/statistics.py`](../daclip_lab/ablation/statistics.py)). A difference is **decided** where such an
  interval leaves out 0. *Not decided* does not mean equal: the smallest difference that a study shows stands beside
  it.
- Tests hold the intervals to their word: in simulated studies with a known truth they cover it in 92 to 98 % of
  cases, alone and all at once.
- Of a study that was **not run**, the smallest difference that it would show is computed from the spread of one that
  was, of the same metric.
- Metrics other than the one that decides were not corrected for: they are given to look for contradictions.
"""

CITE = """\
## How to cite

Cite the paper for the method, and this repository for the numbers ([CITATION.cff](../CITATION.cff)), with the name
of the study and the commit:

> The daclip_lab authors. *What matters in DA-CLIP*, study "NAME". daclip_lab, docs/what_matters.md, commit HASH.

`daclip-lab ablate STUDY --out DIR --parallel N` runs a study again; the same seed on the same machine gives the
same numbers.
"""


def page(figures: str = "") -> str:
    """The page on all studies of this package, from their published results; `figures` as in `compose`."""
    from daclip_lab.ablation.results import StudyResults
    from daclip_lab.ablation.studies import NAMES, study

    results, not_run = [], []
    for name in NAMES:
        try:
            results.append(StudyResults.published(name))
        except InputError:
            not_run.append(study(name))
    return compose(results, not_run, figures)


def compose(results: Sequence[Results], not_run: Sequence[Study] = (), figures: str = "") -> str:
    """The page on some results and on studies that were not run.

    `figures` is the folder of the figures, from the page: one of `figures.ablation.studies.study_figure` for each study
    that was run, named like it, as PNG. Without it no figure is shown.
    """
    found = [(one, findings(one)) for one in results]
    parts = [HEAD, _overview(found, not_run), *_claims(found), PROTOCOL]
    parts += [_section(one, what, figures) for one, what in found]
    parts += [_not_run(study, results) for study in not_run]
    return "\n".join([*parts, CITE])


def _overview(found: Sequence[tuple[Results, Findings]], not_run: Sequence[Study]) -> str:
    rows, results = [], [one for one, _ in found]
    for one, what in found:
        info = one.info
        compared = compare(one.table, info, info["metric"])
        rows.append({
            "study": f"[{info['name']}](#{info['name']})",
            "question": info["question"],
            "finding": what.found,
            "decided": f"{(compared.decided != 'not decided').sum()} of {len(compared)}",
            "seeds x photos": _size(compared),
            "time": _duration(info),
        })  # fmt: skip
    for study in not_run:
        rows.append({
            "study": f"[{study.name}](#{study.name})", "question": study.question,
            "finding": f"**not run**. {power_sentence(study, study.seeds, PHOTOS, results)}",
            "decided": "", "seeds x photos": "", "time": "",
        })  # fmt: skip
    table = pd.DataFrame(rows, dtype=object)
    return f"## All findings\n\n{_markdown(table.set_index('study'))}\n" if rows else ""


def _claims(found: Sequence[tuple[Results, Findings]]) -> list[str]:
    """What the studies say to the claims of the paper and to our own design, contradictions first."""
    order = {"opposite": 0, "held": 1, "not decided": 2}
    words = {"opposite": "**the opposite was found**", "held": "held", "not decided": "not decided"}
    outcomes = [
        (results.info["name"], outcome) for results, what in found for outcome in what.outcomes
    ]
    if not outcomes:
        return []
    outcomes.sort(key=lambda pair: order[pair[1].decided])
    rows = [
        {
            "claim": f"{outcome.claim.by} {outcome.claim.text}",
            "study": f"[{name}](#{name})",
            "outcome": words[outcome.decided],
            "difference [for all]": outcome.numbers,
        }
        for name, outcome in outcomes
    ]
    table = _markdown(pd.DataFrame(rows).set_index("claim"))
    number = Counter(outcome.decided for _, outcome in outcomes)
    summary = (
        f"Of {count(len(outcomes), 'claim')} put to the test, {number['held']} held,"
        f" {number['opposite']} did not, since the opposite was found, and"
        f" {number['not decided']} could not be decided."
    )
    return [f"## Claims of the paper, and of our own design\n\n{summary}\n\n{table}\n"]


def _section(results: Results, what: Findings, figures: str) -> str:
    info, table = results.info, results.table
    name, metric, unit = info["name"], info["metric"], info["unit"]
    compared = compare(table, info, metric)
    parts = [f"## {name}", f"**{info['question']}**"]
    if figures:
        parts.append(
            f"![Means of the variants of {name}, and differences with intervals]({figures}/{name}.png)"
        )
    parts += [
        f"*Found.* {what.found}",
        f"*How sure.* {what.sure}",
        f"*Not said.* {what.not_said}",
    ]
    parts.append("\n".join(f"- {outcome.sentence}" for outcome in what.outcomes))
    parts += [_variants(results), _differences(compared, unit), _by_metric(results)]
    parts.append(_made(info, compared))
    return "\n\n".join(filter(None, parts)) + "\n"


def _variants(results: Results) -> str:
    """A row for each variant: what it is, and its mean in each metric."""
    info, table = results.info, results.table
    about = {variant["name"]: variant["about"] for variant in info["variants"]}
    columns: dict[str, dict[str, str]] = {"what it is": about} if any(about.values()) else {}
    for metric in _metrics(results):
        unit = unit_of(metric, info)
        columns[metric] = {
            row["variant"]: with_interval(row["mean"], row["low"], row["high"], unit, sign=False)
            for row in means(table, metric).to_dict("records")
        }
    shown = pd.DataFrame(columns).reindex([name for name in about if name in set(table.variant)])
    return _markdown(shown.fillna("").rename_axis("variant"))


def _differences(compared: pd.DataFrame, unit: str) -> str:
    if compared.empty:
        return ""
    rows = [
        {
            "comparison": f"{row.variant} − {row.against}",
            "difference [alone]": with_interval(row.difference, row.low, row.high, unit),
            "for all": "" if np.isnan(row.low_all) else between(row.low_all, row.high_all, unit),
            "decided": row.decided if row.decided == "not decided" else f"**{row.decided}**",
        }
        for row in compared.itertuples()
    ]
    return _markdown(pd.DataFrame(rows).set_index("comparison"))


def _by_metric(results: Results) -> str:
    """The same comparisons in the other metrics; nothing where there is only one."""
    columns = {}
    for metric in _metrics(results)[1:]:
        unit = unit_of(metric, results.info)
        columns[metric] = {
            f"{row.variant} − {row.against}": with_interval(
                row.difference, row.low_all, row.high_all, unit
            )
            for row in compare(results.table, results.info, metric).itertuples()
        }
    shown = pd.DataFrame({name: column for name, column in columns.items() if column}, dtype=object)
    if shown.empty:
        return ""
    return f"The same in other metrics, [for all] of each:\n\n{_markdown(shown.fillna('').rename_axis('comparison'))}"


def _made(info: dict, compared: pd.DataFrame) -> str:
    machine = info.get("machine", {})
    parts = [machine.get("processor"), count(machine["cores"], "core") if "cores" in machine else None,
             machine.get("gpu")]  # fmt: skip
    on = ", ".join(filter(None, parts)) or "a machine that is not recorded"
    versions = ", ".join(f"{name} {number}" for name, number in info.get("versions", {}).items())
    lines = [f"{_size(compared)} (seeds x photos), {_duration(info)}, on {on}."]
    if "command" in info:
        lines.append(f"Command: `{info['command']}`.")
    if versions:
        lines.append(f"Versions: {versions}.")
    return " ".join(lines)


def _not_run(study: Study, results: Sequence[Results]) -> str:
    variants = ", ".join(quoted(variant.name) for variant in study.variants)
    sentence = power_sentence(study, study.seeds, PHOTOS, results)
    return (
        f"## {study.name}\n\n**{study.question}** Not run yet. {sentence} It compares {variants}.\n\n"
        f"`daclip-lab ablate {study.name} --out DIR --parallel N` runs it.\n"
    )


def _metrics(results: Results) -> list[str]:
    """All metrics but those under guidance; the one that decides comes first."""
    metrics = dict.fromkeys([results.info["metric"], *results.table.metric.unique()])
    return [metric for metric in metrics if not GUIDANCE.match(metric)]


def _size(compared: pd.DataFrame) -> str:
    return "" if compared.empty else f"{compared.seeds.min()} x {compared.photos.min()}"


def _duration(info: dict[str, Any]) -> str:
    """How long all runs took, one after the other."""
    seconds = info.get("seconds", {}).get("all_runs")
    if seconds is None:
        return "time not recorded"
    minutes = seconds / 60
    return f"{minutes:.0f} min of runs" if minutes < 120 else f"{minutes / 60:.1f} h of runs"


def _markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, with bars in names escaped."""
    escaped = table.map(lambda text: str(text).replace("|", "\\|"))
    escaped.index = pd.Index(
        [str(name).replace("|", "\\|") for name in table.index], name=table.index.name
    )
    return markdown_table(escaped)

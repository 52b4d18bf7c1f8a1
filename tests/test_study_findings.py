"""Sentences on a study are true of any results, and the page holds all of them."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated_study import METRIC, simulated, study_table

from daclip_lab.ablation import studies
from daclip_lab.ablation.claims import CLAIMS, NOT_SAID, Claim
from daclip_lab.ablation.findings import amount, check, findings, listed, with_interval
from daclip_lab.ablation.page import PHOTOS, compose
from daclip_lab.ablation.power import detectable, pilot, typical_spread
from daclip_lab.ablation.statistics import compare, pairs_of
from daclip_lab.ablation.study import Spread, Study, Variant

TRUTH = {"nothing": 2.6, "CLIP's embedding": 2.6, "DA-CLIP's embeddings": 5.5, "wrong word": 1.0}
EXTRA = ("DA-CLIP's embeddings", "CLIP's embedding")


def clauses(sentence):
    """What is said before "better", "worse" and "not decided", by these words."""
    parts = re.split(r"; | and compared with “nothing”, |\. ", sentence)
    found = {}
    for part in parts:
        for word in ("not decided", "better", "worse"):
            if re.search(rf"(is|are) {word}$", part.rstrip(".")):
                found[word] = re.findall("“(.+?)”", part)
    return found


# ---- what was found ----


def test_variants_are_named_by_their_outcome():
    found = clauses(findings(simulated(TRUTH)).found)
    assert found["better"] == ["DA-CLIP's embeddings"]
    assert found["worse"] == ["wrong word"]
    assert found["not decided"] == ["CLIP's embedding"]


def test_numbers_are_those_of_the_statistics():
    results = simulated(TRUTH, comparisons=[EXTRA])
    said = findings(results)
    for row in compare(results.table, results.info, METRIC).itertuples():
        if row.decided != "not decided":
            assert with_interval(row.difference, row.low_all, row.high_all, "dB") in said.found
    assert "5 seeds and 30 photos" in said.sure
    assert "4 comparisons" in said.sure


def test_nothing_is_claimed_where_nothing_is_decided():
    said = findings(simulated(dict.fromkeys(TRUTH, 2.0), comparisons=[EXTRA]))
    assert "better" not in said.found
    assert "worse" not in said.found
    assert "decided" in said.found
    assert "unlikely" in said.sure
    assert "decided" in findings(simulated({"a": 0.0, "b": 0.0})).found


def test_everything_is_said_of_many_variants():
    truth = {"nothing": 0.0} | {f"variant {k}": 1.0 + k for k in range(8)}
    assert "4 more" in findings(simulated(truth)).found


@pytest.mark.parametrize(
    ("options", "word"),
    [({"seeds": 1}, "another seed"), ({"photos": 1}, "another photo"),
     ({"seeds": 1, "photos": 1}, "no interval")],
)  # fmt: skip
def test_small_samples_are_admitted(options, word):
    assert word in findings(simulated(TRUTH, **options)).sure


def test_unfinished_studies_have_findings():
    results = simulated(TRUTH, comparisons=[EXTRA], name="headline")
    results.table = results.table[results.table.variant.isin(["nothing", "wrong word"])]
    assert clauses(findings(results).found) == {"worse": ["wrong word"]}
    assert findings(results).outcomes == []
    results.table = results.table[results.table.variant == "nothing"]
    assert "Nothing" in findings(results).found


def test_a_second_metric_that_decides_otherwise_is_named():
    other = "gain at 256 px"
    table = pd.concat([study_table({"a": 0, "b": 1}), study_table({"a": 1, "b": 0}, metric=other)])
    assert other in findings(simulated({"a": 0, "b": 1}, table=table)).sure
    same = pd.concat([study_table({"a": 0, "b": 1}), study_table({"a": 0, "b": 1}, metric=other)])
    assert other not in findings(simulated({"a": 0, "b": 1}, table=same)).sure


def test_lower_can_be_better():
    truth = {"nothing": 1.0, "a": 0.0, "b": 2.0}
    found = clauses(findings(simulated(truth, unit="", metric="distance at 256 px")).found)
    assert found == {"better": ["a"], "worse": ["b"]}


def test_guidance_is_said():
    levels = {0.5: 3.0, 1: 4.0, 1.5: 4.0, 2: 3.5}
    parts = [study_table({"dropout": y}, metric=f"{METRIC}, w = {w:g}") for w, y in levels.items()]
    parts.append(study_table({"nothing": 3.0, "dropout": 4.0}))
    results = simulated({"nothing": 3.0, "dropout": 4.0}, table=pd.concat(parts))
    said = findings(results).found
    assert "“dropout”, against none" in said
    assert re.search(r"w = 0.5 \(−1.00 dB \S+ \S+\) and w = 2 \(−0.50 dB \S+ \S+\) lose;", said)
    assert re.search(r"w = 1.5 \([^;]+\) is not decided", said)
    text = compose([results])
    assert said in text
    assert "w = 2 |" not in text  # no column of a table


# ---- claims ----


@pytest.mark.parametrize("pair", [("b", "a"), ("a", "b")])
@pytest.mark.parametrize(("level", "outcome"), [(1, "held"), (-1, "opposite"), (0, "not decided")])
def test_a_claim_is_checked_whichever_way_it_was_compared(pair, level, outcome):
    claim = Claim("We hold that", "b is better", "b", "a")
    compared = compare(study_table({"a": 0.0, "b": level}), [pair], METRIC)
    found = check(claim, compared, METRIC, "dB")
    assert found.decided == outcome
    ends = re.search(r"\[(.+), (.+)\]", found.numbers.replace("−", "-")).groups()
    low, high = map(float, ends)
    assert low < level + 0.4
    assert high > level - 0.4
    assert low < high
    assert check(claim._replace(variant="c"), compared, METRIC, "dB") is None


def test_every_study_says_what_it_does_not():
    for name in (*CLAIMS, *NOT_SAID):
        assert findings(simulated(TRUTH, name=name)).not_said == NOT_SAID[name]
    assert findings(simulated(TRUTH, name="my own")).not_said


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_put_to_the_test(name):
    """A claim about a pair that its study does not compare would silently go untested."""
    compared = {frozenset(pair) for pair in pairs_of(studies.study(name))}
    assert {frozenset((claim.variant, claim.against)) for claim in CLAIMS[name]} <= compared


# ---- numbers as text ----


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.123, "dB", "+0.12 dB"), (-0.001, "dB", "+0.00 dB"), (-2.26, "%", "−2.3 points"),
     (0.0504, "", "+0.050"), (np.nan, "dB", "not known")],
)  # fmt: skip
def test_differences_as_text(value, unit, text):
    assert amount(value, unit) == text


def test_intervals_as_text():
    assert with_interval(0.1, -0.2, 0.4, "dB") == "+0.10 dB [−0.20, +0.40]"
    assert with_interval(80, 78.25, 82, "%", sign=False) == "80.0 % [78.2, 82.0]"
    assert "without" in with_interval(0.1, np.nan, np.nan, "dB")
    assert [listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


# ---- the page ----


class NoTrial:
    def smoke(self):
        return self

    def run(self, seed, context):
        yield 1.0


def not_run():
    variants = (Variant(name="noise"), Variant(name="truth"))
    return Study(name="target", question="Of what?", trial=NoTrial(), variants=variants,
                 baseline="noise", metric=METRIC, spread=Spread(seeds=0.1, photos=0.3))  # fmt: skip


def run_studies():
    table = pd.concat([study_table(TRUTH), study_table(TRUTH, metric="gain at 256 px")])
    first = simulated(TRUTH, name="headline", comparisons=[EXTRA], table=table)
    first.info |= {
        "command": "daclip-lab ablate headline --out x",
        "seconds": {"all_runs": 4000.0},
        "machine": {"processor": "Some CPU", "cores": 2, "gpu": None},
    }
    truth = {"the lab": 80, "one-hot loss": 70, "without alignment": 84}
    spread = {"of_seeds": 1, "of_photos": 2, "of_rest": 2, "metric": "accuracy"}
    return [first, simulated(truth, name="controller", unit="%", **spread)]


def test_the_page_holds_every_study():
    text = compose(run_studies(), [not_run()], "pictures")
    for results in run_studies():
        said = findings(results)
        for part in (said.found, said.sure, said.not_said, f"pictures/{results.info['name']}.png",
                     *(outcome.sentence for outcome in said.outcomes)):  # fmt: skip
            assert part in text
    for part in (
        "67 min",
        "Some CPU, 2 cores",
        "5 x 30",
        "ablate headline --out x",
        "gain at 256 px",
    ):
        assert part in text
    section = text[text.index("## target") :]
    assert "Not run" in section
    assert re.search(r"differences above 0\.\d+ dB", section)
    assert "pictures" not in compose(run_studies())


def test_a_study_without_a_pilot_takes_the_spread_of_one_that_was_run():
    study = replace(not_run(), spread=None)
    assert "not known" in compose([], [study])
    assert "not known" in compose(run_studies()[1:], [study])  # of another metric
    first = run_studies()[0]
    pairs = [*((name, "nothing") for name in TRUTH if name != "nothing"), EXTRA]
    spread = typical_spread(first.table, METRIC, pairs)
    for metric in (METRIC, f"{METRIC}, 20 steps"):
        text = compose(run_studies(), [replace(study, metric=metric)])
        smallest = float(re.search(r"differences above (\S+) dB", text)[1])
        assert smallest == pytest.approx(detectable(spread, 5, PHOTOS, 1), abs=0.01)


def test_one_seed_is_no_pilot_for_several():
    study = replace(not_run(), spread=None)
    single = [simulated(TRUTH, seeds=1)]
    assert pilot(study, single) is None
    assert pilot(replace(study, seeds=1), single).photos > 0
    assert pilot(not_run(), single) == not_run().spread


def test_contradicted_claims_come_first():
    text = compose(run_studies())
    table = text[text.index("## Claims") : text.index("## How to read")]
    outcomes = re.findall(r"\*\*the opposite was found\*\*|\| (?:held|not decided) \|", table)
    assert outcomes[0].startswith("**")
    assert f"Of {len(outcomes)} claims" in table
    assert len(outcomes) == sum(len(findings(results).outcomes) for results in run_studies())


def test_tables_of_the_page_are_whole():
    """Every row has as many cells as its head, also with a bar in a name."""
    truth = {"nothing": 0.0, "a | b": 1.0}
    text = compose([simulated(truth)], [not_run()])
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert "a | b" not in "".join(lines)
    heads = [k for k, line in enumerate(lines) if set(line) == set("| -")]
    for start, end in zip(heads, [*heads[1:], len(lines) + 1], strict=True):
        assert len({line.count("|") for line in lines[start - 1 : end - 1]}) == 1


def test_a_page_without_any_study_is_a_page():
    assert compose([]).startswith("# What matters")

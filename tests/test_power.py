"""How many seeds a claim needs: against published power, simulation, and its own definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jaxtrends import claims, power, record, stats
from scripts import power as script
from tests.example_record import write_example

INF = math.inf


@pytest.mark.parametrize(
    ("effect", "seeds", "chance"),
    [(0.5, 34, 0.80778), (0.5, 33, 0.79501), (0.8, 15, 0.82131), (0.2, 199, 0.80169)],
)
def test_the_power_of_a_t_test_is_as_in_tables(effect, seeds, chance):
    """Two-sided at 5%, one sample (as R's power.t.test(strict = TRUE) has it)."""
    for sign in (1, -1):
        found = power.chance(seeds, sign * effect, 1.0, (0.0, INF))
        assert found == pytest.approx(chance, abs=5e-4)


@pytest.mark.parametrize("effect", [0.0, 0.4, 1.4, 3.0])
def test_the_chance_of_a_decision_on_a_margin_is_that_of_simulated_studies(effect):
    region, seeds = (-1.0, 1.0), 12
    random, decided = np.random.default_rng(3), 0
    for _ in range(2000):
        found = stats.mean({"values": random.normal(effect, 1.2, seeds)}, 0.95)
        inside = found.low > -1 and found.high < 1
        decided += inside or found.high <= -1 or found.low >= 1
    chance = power.chance(seeds, effect, 1.2, region)
    assert chance == pytest.approx(decided / 2000, abs=0.03)
    assert power.chance(seeds, effect, 2.4, region) < chance  # twice the spread decides less


def entry(values, statistic="mean", region=(0.0, INF)):
    claim = claims.Claim(
        id="A",
        study="s",
        statement="It is.",
        source="derived",
        quantity="a",
        statistic=statistic,
        region=region,
        reason="why",
        evidence=None,
    )
    evidence = claims.Evidence({"": values})
    return record.claim_entry(claim, evidence, claims.judge(claim, evidence))


def test_the_seeds_are_the_fewest_that_decide_in_four_of_five_studies():
    sample = np.array([1.0, -1.0] * 5) + 0.3
    needed = power.seeds_needed(entry({"values": sample}), "")
    spread = float(sample.std(ddof=1))
    assert power.chance(needed, 0.3, spread, (0.0, INF)) >= power.POWER
    assert power.chance(needed - 1, 0.3, spread, (0.0, INF)) < power.POWER
    assert power.seeds_needed(entry({"values": sample - 0.15}), "") > 3 * needed


def test_a_ratio_is_counted_on_the_scale_of_its_logarithm():
    logs = np.array([1.0, -1.0] * 5) + 0.3
    ratio = {"treatment": np.exp(logs), "reference": np.ones(10)}
    of_ratio = power.seeds_needed(entry(ratio, "paired ratio", (1.0, INF)), "")
    assert of_ratio == power.seeds_needed(entry({"values": logs}), "")


@pytest.mark.parametrize(
    "undecidable",
    [
        entry({"values": [0.0, 1.0] * 5}, "proportion"),  # has no Student t interval
        entry({"values": [1.0, INF, 2.0]}),  # has no spread
        entry({"values": [1.0, -1.0] * 5}),  # is at its bound
    ],
)
def test_no_number_is_made_up(undecidable):
    assert power.seeds_needed(undecidable, "") is None


def test_the_script_names_what_is_undecided(tmp_path, capsys):
    folder = tmp_path / "run"
    done = write_example(folder)
    assert script.main([str(folder)]) == 0
    said = capsys.readouterr().out
    open_claims = {
        found["claim"]["id"]
        for found in record.entries(done)
        if found["verdict"]["verdict"] == claims.INCONCLUSIVE
    }
    assert open_claims
    assert all(id in said for id in open_claims)
    assert script.main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith("error: ")

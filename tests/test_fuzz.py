"""Configs at random: planned or refused in one sentence, whatever they hold; never a traceback.

Two papers a commit, all in turn; ``JAXTRENDS_PAPERS="moe_design forward_grad"`` names others.
"""

from __future__ import annotations

import dataclasses
import math
import random
import typing

import pytest

from jaxtrends import command, experiment, flags, in_turn, plan, record, running
from jaxtrends.distributed import Processes
from jaxtrends.errors import Problem
from jaxtrends.terminal import Quiet

EXPERIMENTS = experiment.discover()
IN_TURN = in_turn.chosen(sorted(EXPERIMENTS))
WORDS = ("", "x", "mlp", "training", "digits", "../../x", "/etc/passwd", "nan", "💥", "a" * 500)
WHOLES = (0, 1, -1, 2, 3, 7, 64, 1000, -(2**31), 2**31, 2**32, 2**63, 10**30)
REALS = (0.0, 1.0, -1.0, 0.5, 1e-3, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"))


def leaf(hint, chance, old):
    """A value of a field's type, likely or not."""
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        inner = choices[0] if choices else str
        if old and chance.random() < 0.5:
            return tuple(chance.sample(old, chance.randint(1, len(old))))
        return tuple(leaf(inner, chance, None) for _ in range(chance.randint(0, 3)))
    if typing.get_origin(hint) is typing.Literal:
        return chance.choice(choices)
    if choices:  # a union, of a type and None
        return leaf(chance.choice(choices), chance, old)
    if hint is type(None):
        return None
    if hint is bool:
        return chance.random() < 0.5
    if isinstance(old, int | float) and chance.random() < 0.4:
        return type(old)(old * chance.choice((1, 2, 3)))
    return chance.choice({int: WHOLES, float: REALS, str: WORDS}.get(hint, (old,)))


def fields(config, way=()):
    """The way to every field of a config that is no config itself, with its type."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, (*way, field.name))
        else:
            yield (*way, field.name), hints[field.name]


def changed(config, way, change):
    """A config with one field changed, however deep."""
    name, *rest = way
    old = getattr(config, name)
    return dataclasses.replace(
        config, **{name: changed(old, rest, change) if rest else change(old)}
    )


def configs(found, count):
    """Configs near the presets, some of them valid."""
    chance = random.Random(0)
    for _ in range(count):
        config = chance.choice([found.presets["smoke"], found.presets["default"]])
        places = list(fields(config))
        for way, hint in chance.sample(places, chance.randint(1, 3)):
            config = changed(config, way, lambda old, hint=hint: leaf(hint, chance, old))
        yield config


class Read(dict):
    """The data sets that a sentence asks for: some are made, of the size that the config says."""

    def __init__(self, outline):
        self.outline = outline

    def __missing__(self, name):
        return self.outline(name)


def refusal(found, config):
    """The sentence that refuses a config; "" where it can be run."""
    read = Read(lambda name: found.outline(config, name, None))
    try:
        found.studies_of(config)
        found.check(config, ())
        found.datasets(config)
        told = [
            said(config, read) if callable(said) else said
            for said in (found.scale, found.rigging, found.departures)
        ]
    except Problem as problem:
        return str(problem)
    for said in told:
        for sentence in [said] if isinstance(said, str) else said:
            assert sentence.endswith(".")
            assert "None" not in sentence
    return ""


@pytest.mark.parametrize("name", IN_TURN)
def test_random_configs_are_accepted_or_refused_in_one_sentence(name):
    said = [refusal(EXPERIMENTS[name], config) for config in configs(EXPERIMENTS[name], 500)]
    refused = [sentence for sentence in said if sentence]
    assert 50 < len(refused) < 490
    for sentence in refused:
        assert "\n" not in sentence
        assert len(sentence) < 1500


def planned(found, config):
    """The arithmetic of a config, which can be planned since it is not refused."""
    calls = plan.of(found, config)
    table = plan.explain(calls, dict.fromkeys(calls, 1.0), plan.CORE, 2)
    assert table.row_count == sum(1 + len(each) for each in calls.values())
    every = [call for each in calls.values() for call in each]
    for call in every:
        assert call.lanes > 0 < call.steps
        assert 0 < call.operations < math.inf
        assert 0 < call.bytes < math.inf
    return plan.operations(every)


def nearby(chance, old):
    """A value that costs little more to run than another."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return type(old)(old * chance.choice((1, 2, 3)))
    if isinstance(old, tuple) and old:
        return tuple(chance.sample(old, chance.randint(1, len(old))))
    return old


def runnable(found):
    """A valid config near the smoke preset, of one study, of at most three times its arithmetic."""
    chance = random.Random(1)
    while True:
        studies = (chance.choice(list(found.studies)),)
        smoke = config = dataclasses.replace(found.presets["smoke"], studies=studies)
        places = [way for way, _ in fields(config) if way != ("studies",)]
        for way in chance.sample(places, 3):
            config = changed(config, way, lambda old: nearby(chance, old))
        if config != smoke and not refusal(found, config):
            before, after = (planned(found, each) for each in (smoke, config))
            if after <= 3 * before:
                return config


@pytest.mark.parametrize("name", IN_TURN)
def test_a_valid_config_runs_to_its_record(name, tmp_path):
    found = EXPERIMENTS[name]
    config = runnable(found)
    options = flags.Options(preset="smoke", output=str(tmp_path / "run"))
    started = command.Command((), (), "main")
    made = running.run(found, config, options, started, Quiet(""), {}, Processes())
    assert not made.unjudged
    kept = record.read(made.folder)["results"]["config"]
    assert kept == record.plain(made.record["results"]["config"]) == record.plain(config)


MALFORMED = (
    ["--no-such-flag"],
    ["--seed"],
    ["--seed", "x"],
    ["--seed", "1e3"],
    ["--preset"],
    ["--preset", "none"],
    ["--studies", "none"],
    ["--seed", "9" * 5000],
    ["--output"],
    ["--devices", "two"],
    ["positional"],
    ["--seed=1", "--seed="],
    ["-"],
    ["--seed", "\x1b[2J"],
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_malformed_arguments_end_with_status_2(name, capsys):
    for arguments in MALFORMED:
        try:
            status = running.main(EXPERIMENTS[name], arguments)
        except SystemExit as stop:
            status = stop.code
        assert status == 2, arguments
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "\x1b[2J" not in out + err


def test_the_flags_of_a_config_are_those_of_its_fields():
    for found in EXPERIMENTS.values():
        config, _ = flags.parse(found, ["--preset", "smoke"])
        assert config == found.presets["smoke"]

"""Flags: one that is given twice is refused, and a refusal names a flag that there is."""

from __future__ import annotations

import dataclasses
import math
import re
import typing

import pytest

from jaxtrends import command, experiment, flags, record
from jaxtrends.distributed import Processes
from jaxtrends.errors import Problem
from jaxtrends.terminal import Quiet
from tests import toy_experiment

EXPERIMENTS = experiment.discover()
TOY = toy_experiment.EXPERIMENT


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--preset", "smoke", "--preset", "default"], "--preset"),
        (["--preset=smoke", "--preset", "smoke"], "--preset"),
        (["--preset", "smoke", "--preset=default"], "--preset"),
        (["--data-dir", "a", "--data_dir", "b"], "--data-dir"),
        (["--data_dir=a", "--steps", "3", "--data_dir=b"], "--data-dir"),
        (["--studies", "training", "--studies", "counting"], "--studies"),
        (["--resume", "--resume"], "--resume"),
        (["--resume", "--no-resume"], "--resume"),
        (["--no_compilation_cache", "--compilation-cache"], "--compilation-cache"),
    ],
)
def test_a_flag_that_is_given_twice_is_refused(arguments, flag, capsys):
    assert experiment.main(TOY, arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {flag} is given twice: give it once, with all that it is to say.\n"


def test_a_flag_may_be_the_value_of_another_and_look_like_a_third():
    arguments = ["--output=--preset", "--studies", "counting", "training", "--no-compilation-cache"]
    config, options = flags.parse(TOY, arguments)
    assert config.studies == ("counting", "training")
    assert (options.output, options.preset, options.compilation_cache) == (
        "--preset",
        "default",
        False,
    )


# --- refusals ------------------------------------------------------------------------------------

WRONG = {int: (0, -1), float: (0.0, -1.0, math.nan, math.inf), str: ("", "nonsense")}


def wrong(hint, old):
    """Values of a field's type, among which there are some that no run could do with."""
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        yield ()
        for value in WRONG.get(choices[0], ()):
            yield (*old, value)
        yield (*old[::-1], *old[:1])
    else:
        yield from WRONG.get(choices[0] if choices else hint, ())


def hint_of(config, way):
    for name in way[:-1]:
        config = getattr(config, name)
    return typing.get_type_hints(type(config))[way[-1]]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_refused_value_of_any_flag_is_blamed_on_that_flag(name):
    found, refused = EXPERIMENTS[name], 0
    preset = found.presets["smoke"]
    every = {flags.flag_for(way) for way, _ in flags.fields_of(preset)}
    every |= {flags.flag_for(way) for way, _ in flags.fields_of(flags.Options())}
    for way, old in flags.fields_of(preset):
        for value in wrong(hint_of(preset, way), old):
            problem = flags.refusal(found, flags.changed(preset, way, value), preset, ())
            if not problem:
                continue
            refused += 1
            named = set(re.findall(r"--[A-Za-z0-9._-]*[A-Za-z0-9]", problem))
            assert flags.flag_for(way) in named <= every, (way, value, problem)
            assert "\n" not in problem
    assert refused > 20


def test_the_flag_at_fault_is_found_among_several():
    arguments = ["--capacity.tops", "0", "--z-loss.network.width", "0", "--seed", "3"]
    with pytest.raises(Problem) as first:
        flags.parse(EXPERIMENTS["moe_design"], arguments)
    assert str(first.value) == (
        "--z-loss.network.width: width must be a finite number above zero, not 0."
    )
    with pytest.raises(Problem) as second:
        flags.parse(EXPERIMENTS["moe_design"], arguments[:2])
    assert str(second.value) == ("--capacity.tops: top must be a finite number above zero, not 0.")


def test_a_refusal_that_names_its_flag_is_left_as_it_is():
    with pytest.raises(Problem) as refused:
        flags.parse(TOY, ["--seeds", "0"])
    assert str(refused.value) == "--seeds must be a finite number above zero, not 0."


def test_rates_that_would_share_the_name_of_a_curve_are_refused():
    flag = "--training.mlp.shared-rates"
    with pytest.raises(Problem, match=f"{flag} must differ"):
        flags.parse(EXPERIMENTS["forward_grad"], [flag, "0.1", "0.10000001"])
    config, _ = flags.parse(EXPERIMENTS["forward_grad"], [flag, "0.1", "0.100001"])
    assert config.training.mlp.shared_rates == (0.1, 0.100001)


# --- presets -------------------------------------------------------------------------------------


def test_a_config_is_called_by_its_preset_and_by_what_differs_from_it():
    config, _ = flags.parse(TOY, ["--seeds", "5", "--studies", "training"])
    changed = TOY.changes("default", config)
    assert changed == {
        "studies": {"preset": [], "run": ["training"]},
        "seeds": {"preset": 3, "run": 5},
    }
    shown = "default with studies training and seeds 5"
    assert record.preset_in_words("default", changed) == shown
    assert TOY.changes("default", TOY.presets["default"]) == {}
    assert record.preset_in_words("default", {}) == "default"


def test_nested_settings_count_too():
    found = EXPERIMENTS["forward_grad"]
    config, _ = flags.parse(found, ["--training.mlp.steps", "100", "--training.mlp.log-every", "5"])
    assert found.changes("default", config) == {
        "training.mlp.steps": {"preset": found.presets["default"].training.mlp.steps, "run": 100},
        "training.mlp.log_every": {
            "preset": found.presets["default"].training.mlp.log_every,
            "run": 5,
        },
    }


def test_a_record_called_by_another_preset_says_what_ran(tmp_path):
    config = dataclasses.replace(TOY.presets["smoke"], studies=("counting",))
    options = flags.Options(preset="default", output=str(tmp_path / "run"), wandb="disabled")
    started = command.Command((), (), "main")
    experiment.run(TOY, config, options, started, Quiet(""), {"mine": print}, Processes())
    done = record.read(tmp_path / "run")
    assert set(done["changed"]) == {"studies", "seeds", "steps"}
    assert done["own_methods"] == ["mine"]
    assert record.title(done) == (
        "toy, preset default with studies counting, seeds 1, steps 20 and methods of its "
        "user's own (mine)"
    )
    assert "steps 20" in record.publishable(done)

"""Flags: what they refuse and how, which change a result, and configs read back from records."""

from __future__ import annotations

import dataclasses
import math
import re
import typing

import pytest

from jaxtrends import command, experiment, flags, golden, record, running
from jaxtrends.distributed import Processes
from jaxtrends.errors import Problem
from jaxtrends.flags import Options
from jaxtrends.terminal import Quiet
from tests import toy_experiment

EXPERIMENTS = experiment.discover()
TOY = toy_experiment.EXPERIMENT
RECORDS = sorted((record.ROOT / "results").glob("*/*/record.json"))


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
    assert running.main(TOY, arguments) == 2
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
    assert str(first.value) == "--z-loss.network.width must be above 0, not 0."
    with pytest.raises(Problem) as second:
        flags.parse(EXPERIMENTS["moe_design"], arguments[:2])
    assert str(second.value) == "--capacity.tops must be above 0, not 0."


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
    running.run(TOY, config, options, started, Quiet(""), {"mine": print}, Processes())
    done = record.read(tmp_path / "run")
    assert set(done["changed"]) == {"studies", "seeds", "steps"}
    assert done["own_methods"] == ["mine"]
    assert record.title(done) == (
        "toy, preset default with studies counting, seeds 1, steps 20 and methods of its "
        "user's own (mine)"
    )
    assert "steps 20" in record.publishable(done)


# --- what changes a result -----------------------------------------------------------------------


def test_each_flag_says_whether_it_changes_a_result():
    """A new one is marked, or named here."""
    hints = typing.get_type_hints(Options, include_extras=True)
    unmarked = {n for n, hint in hints.items() if flags.NO_RESULT not in typing.get_args(hint)}
    assert unmarked == {"preset", "block", "mesh"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("--seeds 5 --output a/b --steps 40", "--seeds 5 --steps 40"),
        ("--output=a/b --seeds=5", "--seeds=5"),
        ("--resume --seeds 5", "--seeds 5"),
        ("--no-compilation-cache --seeds 5", "--seeds 5"),
        ("--blocks-in-flight 3 --blocks_in_flight 3 --data-dir x", ""),
        ("--block 4 --mesh data=2 --preset full", "--block 4 --mesh data=2 --preset full"),
        ("--network.devices 4", "--network.devices 4"),
    ],
)
def test_a_command_keeps_what_changes_a_result(given, kept):
    started = command.Command(("python", "-m", "it"), tuple(given.split()), "main")
    assert started.recorded(flags.PLACES) == f"python -m it {kept}".strip()


def test_every_marked_flag_is_left_out_of_a_command():
    hints = typing.get_type_hints(Options)
    for field in dataclasses.fields(Options):
        given = [flags.flag_for([field.name])]
        given += [] if hints[field.name] is bool else ["1"]
        started = command.Command(("python", "-m", "it"), (*given, "--seeds", "5"), "main")
        kept = given if field.name in ("preset", "block", "mesh") else []
        said = " ".join(["python -m it", *kept, "--seeds 5"])
        assert started.recorded(flags.PLACES) == said


# --- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["0", "-1"])
def test_a_block_without_a_lane_is_refused(block):
    with pytest.raises(Problem, match=f"--block must be auto or at least 1, not {block}"):
        flags.parse(TOY, ["--block", block])


@pytest.mark.parametrize("block", ["two", "1.5", ""])
def test_a_block_that_is_no_number_is_refused(block, capsys):
    with pytest.raises(SystemExit) as stop:
        flags.parse(TOY, ["--block", block])
    assert stop.value.code == 2
    assert "--block" in capsys.readouterr().err


def test_auto_is_the_default_and_can_be_said():
    for given, block in (([], "auto"), (["--block", "auto"], "auto"), (["--block", "3"], 3)):
        assert flags.parse(TOY, given)[1].block == block


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_committed_records_are_read_back_but_for_blocks_of_one_lane(path):
    done = record.read(path)
    if golden.stale_studies(done):
        pytest.skip("it is of older settings, and marked stale")
    kind = type(next(iter(EXPERIMENTS[done["experiment"]].presets.values())))
    config = record.numbers(done["results"]["config"])
    again = record.plain(flags.rebuild(kind, config))
    assert shared(record.plain(config), again) == again


def shared(old, new):
    """What was recorded, without the blocks that all records had; fields since have defaults."""
    if isinstance(old, dict):
        assert {n for n in old if n not in new} <= {"block"}
        return {n: shared(old[n], v) if n in old else v for n, v in new.items()}
    return old


@dataclasses.dataclass(frozen=True)
class Part:
    """A config of today."""

    steps: int = 3


def test_only_a_block_of_one_lane_is_dropped():
    assert flags.rebuild(Part, {"steps": 5, "block": 1}) == Part(5)
    for other in ({"block": 2}, {"width": 1}):
        with pytest.raises(KeyError):
            flags.rebuild(Part, {"steps": 5, **other})

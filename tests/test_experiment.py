"""The driver as its users meet it: flags, bad input, signals, kill -9 and resume."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxtrends import experiment, flags, plot_queue, plotting, record, running
from jaxtrends.charts import headline
from jaxtrends.claims import Claim, Control, Evidence
from jaxtrends.errors import Problem
from jaxtrends.study import Series
from tests import toy_experiment
from tests.toy_run import TOY, finish, start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: its record, and what it said."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    status, out, _ = finish("--output", folder)
    assert status == 0
    return record.read(folder), out


def test_a_run_ends_with_verdicts_and_says_where_all_lies(whole):
    done, out = whole
    verdicts = {e["claim"]["id"]: e["verdict"]["verdict"] for e in record.entries(done)}
    assert verdicts == {"T1": "reproduced", "T2": "not reproduced"}
    assert "reproduced" in out
    assert "record.json" in out
    assert "figures" in out
    assert f"Page:    {sys.executable} -m scripts.webpage" in out
    assert done["provenance"]["command"] == "python toy_experiment.py"
    assert done["results"]["data"]["digits"]["digest"]


def test_a_run_says_a_line_a_study_where_no_terminal_is(whole):
    _, out = whole
    told, _, ending = out.partition("\n\n")
    opening, machine, output, *studies = told.splitlines()
    assert opening == "toy, preset default: 2 studies on digits."
    assert re.fullmatch(r"Here \d+ x cpu, \d+ cores\.", machine)
    assert output.startswith("Output: ")
    assert [line.partition(": done in ")[0] for line in studies] == ["1/2 training", "2/2 counting"]
    assert "\x1b" not in out
    assert ending.lstrip().startswith("ID")  # the toy has no answer


def test_a_run_that_is_done_shows_all_claims_when_asked(tmp_path, capsys):
    (claim,) = toy_experiment.EXPERIMENT.studies["counting"].claims
    headline = dataclasses.replace(claim, headline=True)
    other = dataclasses.replace(headline, id="T3", headline=False)
    found = counting(headline, other, answer=lambda found: f"It counts to {found['T2'].estimate}.")
    status, _ = run_of(found, tmp_path / "run")
    out = capsys.readouterr().out
    assert status == 0
    assert "\n\nIt counts to 2.0.\n\n" in out
    assert "T2 " in out
    assert "T3 " not in out
    again = ["--output", str(tmp_path / "run"), "--wandb", "disabled", "--claims", "--resume"]
    assert f"All 2 claims:\n  experiments.toy.main({again})\n" in out
    assert run_of(found, tmp_path / "run", "--resume", "--claims")[0] == 0
    assert "T3 " in capsys.readouterr().out


def test_judging_again_from_the_record_alone_gives_the_same(whole):
    done, _ = whole
    for entry in record.entries(done):
        assert record.judge_again(entry) == entry["verdict"]


def wait_for_points(folder, count, process):
    """Wait until the run has streamed some log points."""
    stream = folder / "studies" / "training" / "metrics" / "digits.jsonl"
    for _ in range(2000):
        if stream.exists() and len(stream.read_text().splitlines()) >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the run never got that far")


def test_killed_again_and_again_the_results_are_the_same_bits(whole, tmp_path):
    folder, resume = tmp_path / "run", []
    for points in (3, 60, 110):
        process = start("--output", folder, *resume)
        wait_for_points(folder, points, process)
        process.kill()
        process.communicate()
        resume = ["--resume"]
    status, _, _ = finish("--output", folder, "--resume")
    assert status == 0
    resumed = record.read(folder)
    assert json.dumps(resumed["results"]) == json.dumps(whole[0]["results"])
    made = resumed["provenance"]
    assert len(made["resumed"]) == 3
    times = [made["started"], *made["resumed"], made["finished"]]
    assert times == sorted(times)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_says_how_to_go_on(number, tmp_path, whole):
    folder = tmp_path / "run"
    process = start("--output", folder)
    wait_for_points(folder, 2, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert f"--output {folder} --resume" in out
    assert list((folder / "studies" / "training" / "checkpoints").rglob("*")) or list(
        (folder / "studies" / "training" / "blocks").iterdir()
    )
    status, _, _ = finish("--output", folder, "--resume")
    assert status == 0
    assert record.read(folder)["results"] == whole[0]["results"]


def test_a_finished_run_resumed_is_kept_as_it_is(tmp_path):
    folder = tmp_path / "run"
    first, _, _ = finish("--output", folder, "--preset", "smoke")
    before = record.read(folder)["results"]
    again, out, _ = finish("--output", folder, "--preset", "smoke", "--resume")
    assert (first, again) == (0, 0)
    assert out.count("done before, kept") == 2
    assert record.read(folder)["results"] == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "smok"], "There is no preset 'smok': choose from smoke, default. Did you"),
        (["--studies", "trainin"], "There is no study 'trainin'"),
        (["--dataset", "digit"], "Did you mean 'digits'?"),
        (["--seeds", "0"], "--seeds must be a finite number above zero, not 0"),
        (["--wandb", "onlin"], "Did you mean 'online'?"),
        (["--devices", "0"], "--devices must be at least 1"),
        (["--dataset", "mnist"], "import_mnist"),
        (["--resume"], "There is no unfinished"),
        (["--resume", "--output", "nowhere"], "There is no run to resume"),
        (["--output", "/dev/null/x"], "is not writable (/dev/null is not a folder)"),
        (["--profile", "/dev/null/x"], "choose another with --profile"),
    ],
)
def test_a_mistake_gets_one_sentence_and_status_2(arguments, message, tmp_path):
    status, out, err = finish(*arguments, cwd=tmp_path)
    assert status == 2
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "reproduced" not in out


@pytest.mark.parametrize("arguments", [["--stepz", "3"], ["--steps", "many"]])
def test_a_malformed_flag_ends_with_status_2(arguments, tmp_path):
    process = start(*arguments, cwd=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert arguments[0] in out + err


def test_a_folder_of_another_run_is_refused_with_the_field_that_differs(tmp_path):
    folder = tmp_path / "run"
    assert finish("--output", folder, "--preset", "smoke")[0] == 0
    status, _, err = finish("--output", folder, "--preset", "smoke", "--steps", "40", "--resume")
    assert status == 2
    assert "config.steps is 20 there but 40 now" in err
    status, _, err = finish("--output", folder, "--preset", "smoke")
    assert status == 2
    assert "add --resume" in err


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    folder = tmp_path / "run"
    long = ("--output", folder, "--steps", 40_000)
    process = start(*long)
    wait_for_points(folder, 1, process)
    status, _, err = finish(*long, "--resume")
    process.kill()
    process.communicate()
    assert status == 2
    assert "Another run is writing" in err


def test_a_study_made_by_other_code_is_made_again(tmp_path):
    folder = tmp_path / "run"
    assert finish("--output", folder, "--preset", "smoke")[0] == 0
    (folder / "studies" / "counting" / "code.json").write_text('{"digest": "another"}')
    status, out, _ = finish("--output", folder, "--preset", "smoke", "--resume")
    assert status == 0
    assert "training: done before, kept" in out
    assert "counting: done in" in out


def test_one_device_and_two_give_the_same_results(tmp_path):
    done = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        assert finish("--output", folder, "--devices", count)[0] == 0
        done.append(record.read(folder))
        assert done[-1]["provenance"]["device"]["count"] == count
    assert done[0]["results"] == done[1]["results"]


def test_a_profile_is_written(tmp_path):
    trace = tmp_path / "trace"
    status, out, _ = finish("--preset", "smoke", "--output", tmp_path / "run", "--profile", trace)
    assert status == 0
    assert list(trace.rglob("perfetto_trace.json.gz"))
    assert list(trace.rglob("*.xplane.pb"))
    assert f"Profile: {trace}" in out
    assert str(tmp_path) not in (tmp_path / "run" / "record.json").read_text()


HOMELESS = """
import pwd

def nobody(_):
    raise KeyError("no entry")

pwd.getpwuid = nobody
"""


def test_a_run_needs_no_home_no_backend_no_cache_no_alphabet_and_no_input(tmp_path):
    """All that a container, a notebook or a cron job may lack, at once."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HOMELESS)
    folder = tmp_path / "of mine, größer"
    environment = {name: text for name, text in os.environ.items() if name != "HOME"} | {
        "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{record.ROOT}",
        "PYTHONIOENCODING": "ascii",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "JAX_COMPILATION_CACHE_DIR": "/dev/null/programs",
    }
    status, out, err = finish(
        *("--preset", "smoke", "--output", folder, "--wandb", "offline"), env=environment
    )
    assert status == 0
    assert record.read(folder)["preset"] == "smoke"
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png"}
    warnings = err.splitlines()
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: Compiled programs are not cached: /dev/null/programs")
    shown = str(folder).encode("ascii", "backslashreplace").decode()
    assert f"Output: {shown}\n" in out
    assert f"wandb sync '{shown}/wandb'/offline-*" in out


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_a_run_whose_streams_are_closed_ends_with_its_record(tmp_path, closed):
    command = [sys.executable, str(TOY), "--preset", "smoke", "--output", str(tmp_path / "run")]
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert record.read(tmp_path / "run")
    assert len(list((tmp_path / "run" / "figures").iterdir())) == 2


def test_a_figure_that_cannot_be_drawn_costs_a_warning_and_no_record(tmp_path, monkeypatch, capsys):
    def fail(figure, directory):
        raise MemoryError("no room for a picture.")

    folder = tmp_path / "of mine"
    arguments = ["--preset", "smoke", "--output", str(folder)]
    with monkeypatch.context() as broken:
        broken.setattr(plot_queue.sys, "executable", "/nowhere/python")
        broken.setattr(plot_queue.plotting, "draw", fail)
        assert running.main(toy_experiment.EXPERIMENT, arguments) == 0
    out, err = capsys.readouterr()
    assert record.read(folder)["results"]["claims"]
    (warning,) = err.splitlines()
    assert "toy.svg could not be drawn (no room for a picture); the record is whole" in warning
    assert "Figures:" not in out
    again = warning.partition("To draw again: ")[2]
    assert again == f"experiments.{toy_experiment.EXPERIMENT.name}.main({[*arguments, '--resume']})"
    assert running.main(toy_experiment.EXPERIMENT, [*arguments, "--resume"]) == 0
    assert len(list((folder / "figures").iterdir())) == 2


def test_a_run_on_a_platform_that_is_not_here_is_one_sentence(tmp_path):
    status, _, err = finish(
        *("--preset", "smoke", "--output", tmp_path / "run"),
        env=os.environ | {"JAX_PLATFORMS": "nonsense"},
    )
    assert status == 2
    assert err.startswith("error: JAX_PLATFORMS=nonsense is not available here")
    assert not (tmp_path / "run").exists()


def test_smoke_writes_no_wandb_and_default_writes_offline(tmp_path, whole):
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}
    assert finish("--preset", "smoke", "--output", tmp_path / "a", env=environment)[0] == 0
    assert not (tmp_path / "a" / "wandb").exists()
    assert finish("--output", tmp_path / "b", env=environment)[0] == 0
    assert list((tmp_path / "b" / "wandb").glob("offline-run-*"))


def test_a_config_survives_its_record():
    config = toy_experiment.Config(studies=("training",), seeds=4)
    plain = json.loads(json.dumps(record.plain(config)))
    assert flags.rebuild(toy_experiment.Config, plain) == config
    with pytest.raises(KeyError):
        flags.rebuild(toy_experiment.Config, {**plain, "unknown": 1})


def test_flags_fill_in_over_the_preset():
    config, options = flags.parse(toy_experiment.EXPERIMENT, ["--preset", "smoke", "--seeds", "2"])
    assert (config.seeds, config.steps, options.preset) == (2, 20, "smoke")
    with pytest.raises(Problem):
        flags.parse(toy_experiment.EXPERIMENT, ["--preset=nothing"])


def test_experiments_are_discovered():
    assert "forward_grad" in experiment.discover()


# --- what a claim may do, and what a record says of what ran -------------------------------------


def claim(name, evidence, **changed):
    """A claim of the toy's counting study."""
    return Claim(
        **{
            **{"id": name, "study": "counting", "statement": "A toy.", "source": "paper"},
            **{"reported": "7", "where": "Table 1", "quantity": "numbers", "statistic": "mean"},
            **{"region": (10.0, 20.0), "reason": "a toy", "evidence": evidence, **changed},
        }
    )


def numbers(values, factor=1.0):
    return {"values": [factor * number for number in values["numbers"]]}


def counting(*claims, **changed):
    """The toy with its counting study alone, and claims of one's own."""
    study = dataclasses.replace(toy_experiment.EXPERIMENT.studies["counting"], claims=claims)
    return dataclasses.replace(
        toy_experiment.EXPERIMENT,
        studies={"counting": study},
        datasets=lambda config: (),
        **changed,
    )


def run_of(found, folder, *flags):
    """The exit status of a run in this process, and its record."""
    status = running.main(found, ["--output", str(folder), "--wandb", "disabled", *flags])
    return status, record.read(folder)


FAILING = {
    "division": lambda values: 1 / 0,
    "index": lambda values: values["numbers"][99],
    "value": lambda values: np.zeros(0).min(),
    "type": lambda values: values["numbers"] + 1,
    "no part": lambda values: Evidence({}),
    "no samples": lambda values: Evidence({"": {"values": []}}),
    "not the statistic's": lambda values: Evidence({"": {"treatment": [1.0]}}),
}


@pytest.mark.parametrize("kind", FAILING)
def test_what_a_claim_raises_costs_neither_the_record_nor_another_claim(kind, tmp_path, capsys):
    good = claim("T2", lambda values: Evidence({"": numbers(values)}))
    found = counting(claim("T1", FAILING[kind]), good)
    for flags_ in ([], ["--resume"]):
        status, done = run_of(found, tmp_path / "run", *flags_)
        assert status == running.UNJUDGED == 3
        bad, fine = record.entries(done)
        assert bad["verdict"]["verdict"] == "not testable here"
        assert "Error" in bad["claim"]["not_testable"]
        assert record.judge_again(bad) == bad["verdict"]
        assert fine["verdict"]["verdict"] == "not reproduced"
        assert "warning: T1 could not be judged (" in capsys.readouterr().err


def test_an_answer_that_fails_costs_no_record(tmp_path, capsys):
    good = claim("T1", lambda values: Evidence({"": numbers(values)}))
    found = counting(good, answer=lambda found: f"{found['T1'].low / 0:.2f}")
    status, done = run_of(found, tmp_path / "run")
    assert (status, done["answer"]) == (running.UNJUDGED, "")
    assert "The answer could not be judged (ZeroDivisionError" in capsys.readouterr().err


def toy_headline(done, curves):
    numbers = done["results"]["studies"]["counting"]["values"]["numbers"]
    series = Series("an arm", [*range(len(numbers))], numbers)
    return headline("It counts", "", "step (1)", "number (1)", [series])


def test_a_headline_figure_is_kept_in_the_record_and_drawn(tmp_path):
    good = claim("T1", lambda values: Evidence({"": numbers(values)}))
    status, done = run_of(counting(good, headline_figure=toy_headline), tmp_path / "run")
    assert status == 0
    assert done["figure"] == record.plain(toy_headline(done, {}))
    drawn = tmp_path / "run/figures/headline.svg"
    assert plotting.drawn_from(drawn) == plotting.data_digest(done["figure"])


def test_a_headline_figure_that_fails_costs_no_record(tmp_path, capsys):
    good = claim("T1", lambda values: Evidence({"": numbers(values)}))
    for name, wrong in {"raises": lambda *_: 1 / 0, "no figure": lambda *_: object()}.items():
        found = counting(good, headline_figure=wrong, answer=lambda found: "It counts.")
        status, done = run_of(found, tmp_path / name)
        assert status == running.UNJUDGED
        assert "figure" not in done
        assert done["answer"] == "It counts."
        assert "warning: The headline figure could not be made (" in capsys.readouterr().err


def test_a_run_that_lacks_what_the_figure_shows_has_none(tmp_path):
    found = counting(headline_figure=lambda done, curves: done["results"]["studies"]["training"])
    status, done = run_of(found, tmp_path / "run")
    assert status == 0
    assert "figure" not in done


def test_what_a_run_lacks_is_no_failure(tmp_path):
    def bare(values):
        raise KeyError

    found = counting(claim("T1", lambda values: values["more"]), claim("T2", bare))
    status, done = run_of(found, tmp_path / "run")
    assert status == 0
    assert [missing["id"] for missing in done["results"]["not_run"]] == ["T1", "T2"]


WRONG_CONTROL = {
    "evidence": lambda values: Evidence(
        {"": numbers(values)}, {"ten": {"values": [15.0, 15.0, 15.1]}}
    ),
    "controls": (Control("ten", "fail", "a toy"),),
}


def test_a_control_that_comes_out_wrong_on_other_data_is_not_for_them(tmp_path):
    usual = counting(claim("T1", **WRONG_CONTROL))
    other = dataclasses.replace(usual, other_data=lambda config, data: "the digits of a friend")
    status, done = run_of(usual, tmp_path / "usual")
    (entry,) = record.entries(done)
    assert (status, entry["verdict"]["verdict"]) == (0, "invalid")
    assert entry["claim"]["reported"] == "7"
    status, done = run_of(other, tmp_path / "other")
    (entry,) = record.entries(done)
    assert (status, entry["verdict"]["verdict"]) == (0, "not testable here")
    assert (
        "cannot do their work on the digits of a friend: ten must fail"
        in (entry["claim"]["not_testable"])
    )


def test_no_reported_figure_stands_beside_other_data(tmp_path):
    judged = claim("T1", lambda values: Evidence({"": numbers(values)}))
    untestable = claim("T2", None, not_testable="Its table is of other data.")
    found = counting(judged, untestable, other_data=lambda config, data: "others")
    _, done = run_of(found, tmp_path / "run")
    (entry,) = record.entries(done)
    assert entry["claim"]["reported"] == ""
    assert entry["verdict"]["verdict"] == "not reproduced"
    (missing,) = done["results"]["not_run"]
    assert missing["reason"] == "it is about the paper's own data, and these are others"


def test_a_record_tells_what_ran(tmp_path):
    found = counting(
        claim("T1", lambda values: Evidence({"": numbers(values)})),
        scale=lambda config, data: f"{config.seeds} seeds.",
        departures=lambda config, data: (f"{config.steps} steps.",),
    )
    _, done = run_of(found, tmp_path / "usual")
    assert (done["scale"], done["departures"]) == ("3 seeds.", ["400 steps."])
    _, done = run_of(found, tmp_path / "other", "--seeds", "2", "--studies", "counting")
    assert done["scale"] == "2 seeds."
    assert set(done["changed"]) == {"seeds", "studies"}

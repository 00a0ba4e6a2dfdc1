"""What every experiment must be and do; a new one is found by itself."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import subprocess
import sys

import pytest

from jaxtrends import flags, golden, plotting, record
from jaxtrends.claims import NO, PARTLY, UNDECIDED, VERDICTS, YES, Answers, control_of
from jaxtrends.experiment import discover

EXPERIMENTS = discover()


@pytest.fixture(params=sorted(EXPERIMENTS))
def experiment(request):
    return EXPERIMENTS[request.param]


@pytest.fixture(scope="module", params=sorted(EXPERIMENTS))
def smoke(request, tmp_path_factory):
    """A smoke run from outside the repository: the folder and what was said."""
    folder = tmp_path_factory.mktemp(request.param)
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", f"experiments.{request.param}"),
            *("--preset", "smoke", "--output", str(folder / "run")),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return folder / "run", done


def test_it_has_the_three_presets_of_one_kind(experiment):
    assert {"smoke", "default", "full"} <= set(experiment.presets)
    assert len({type(config) for config in experiment.presets.values()}) == 1
    for config in experiment.presets.values():
        experiment.check(config, ())


def test_a_config_survives_its_record(experiment):
    for config in experiment.presets.values():
        plain = json.loads(json.dumps(record.plain(config)))
        assert flags.rebuild(type(config), plain) == config


def test_the_configs_of_its_committed_records_fit(experiment):
    """Or `scripts.verify` could not make them again; those that are stale it cannot anyway."""
    kind = type(experiment.presets["default"])
    for path in (record.ROOT / "results" / experiment.name).glob("*/record.json"):
        done = record.read(path)
        if golden.stale_studies(done):
            continue
        config = record.numbers(done["results"]["config"])
        experiment.check(flags.rebuild(kind, config), ())


def test_its_claims_are_whole(experiment):
    claims = [claim for study in experiment.studies.values() for claim in study.claims]
    assert claims
    identifiers = [claim.id for claim in claims]
    assert len(set(identifiers)) == len(identifiers)
    for name, study in experiment.studies.items():
        for claim in study.claims:
            assert claim.study == name
            assert claim.statement.endswith(".")
            assert claim.reason
            assert claim.quantity
            assert claim.evidence or claim.not_testable


def test_its_answers_are_short_and_start_with_a_word(experiment):
    ids = {claim.id for study in experiment.studies.values() for claim in study.claims}
    for path in (record.ROOT / "results" / experiment.name).glob("*/record.json"):
        said = experiment.answer(Answers(record.entries(record.read(path))))
        assert said.partition(":")[0] in (YES, NO, PARTLY, UNDECIDED)
        assert said.endswith(".")
        assert len(said) < 500
        assert not ids & set(re.findall(r"\w+", said))


def undocumented(kind):
    """The fields of a config, and of the configs in it, without a docstring below them."""
    body = ast.parse(inspect.getsource(kind)).body[0].body
    for line, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign):
            text = getattr(getattr(following, "value", None), "value", None)
            if not isinstance(text, str):
                yield f"{kind.__name__}.{line.target.id}"
    for field in dataclasses.fields(kind):
        if field.default_factory is not dataclasses.MISSING:
            yield from undocumented(type(field.default_factory()))


def test_every_flag_has_its_help(experiment):
    assert list(undocumented(type(experiment.presets["default"]))) == []


def test_smoke_gives_a_valid_record_that_judges_the_same(smoke):
    folder, done = smoke
    found = record.read(folder)
    assert found["preset"] == "smoke"
    assert record.publishable(found) == "it is a smoke run"
    entries = record.entries(found)
    assert entries
    for entry in entries:
        assert entry["verdict"]["verdict"] in VERDICTS
        assert record.judge_again(entry) == entry["verdict"]
    assert "verdict" in done.stdout.lower()
    assert not golden.stale_studies(found)


def test_every_part_of_a_claim_has_a_control_of_its_own(smoke):
    """A fault in one part need not trip a control of several parts together."""
    assert {
        (entry["claim"]["id"], part)
        for entry in record.entries(record.read(smoke[0]))
        for part in uncontrolled(entry)
    } == set()


def uncontrolled(entry):
    """The parts of a judged claim without a control that is theirs alone."""
    parts, controls = entry["verdict"]["parts"], entry["verdict"]["controls"]
    names = [control["name"] for control in entry["claim"]["controls"]]
    for part in parts:
        own = {control_of(name, part) for name in names} | (
            set(names) if len(parts) == 1 else set()
        )
        if not own & set(controls):
            yield part


def test_smoke_gives_the_golden_values(smoke):
    """Where it does not, behaviour has changed: CONTRIBUTING.md says what to do then."""
    found = record.read(smoke[0])
    studies = EXPERIMENTS[found["experiment"]].studies
    assert golden.faults(found, list(studies)) == []
    assert golden.editions_of(found).items() <= golden.editions(found["experiment"]).items()


def test_a_study_that_measures_times_says_so(smoke):
    """So that neither figures nor W&B are at work beside it."""
    folder, _ = smoke
    found = record.read(folder)
    studies = EXPERIMENTS[found["experiment"]].studies
    for name, study in found["measurements"]["studies"].items():
        assert studies[name].timed or not study["values"]
        timed = any(claim.about == "measurements" for claim in studies[name].claims)
        assert studies[name].timed or not timed


def test_smoke_draws_its_figures(smoke):
    folder, _ = smoke
    names = {path.suffix for path in (folder / "figures").iterdir()}
    assert names == {".svg", ".png"}
    found = record.read(folder)
    ran = any(entry["claim"]["id"] == found["lead"] for entry in record.entries(found))
    assert ran <= ("figure" in found)  # a figure of the claim that leads, if it ran
    assert (folder / "figures" / "headline.svg").is_file() == ("figure" in found)


COMMITTED = sorted(path.parent for path in (record.ROOT / "results").glob("*/*/record.json"))


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_its_committed_records_give_a_headline_figure_that_needs_no_caption(folder):
    done = record.read(folder)
    curves = record.read_curves(folder, done)
    figure = EXPERIMENTS[done["experiment"]].headline_figure(done, curves)
    (panel,) = figure.panels
    assert (figure.name, figure.standalone) == ("headline", True)
    assert 20 < len(figure.title) <= 2 * plotting.TITLE_WIDTH
    names = {series.label for series in panel.series}
    assert 1 <= len(names) <= 5
    assert all(len(series.x) for series in panel.series)
    assert all(name == name.strip() and not re.search("_|^$", name) for name in names)
    for label in (panel.x_label, panel.y_label):
        assert re.fullmatch(r"[^()]+ \([^()]+\)", label), f"{label} has no unit"
    drawing = plotting.compose(record.plain(figure))
    written = {text.get_text().replace("\n", " ") for text in drawing.axes[0].texts}
    assert names <= written


def test_smoke_writes_nothing_else_into_its_working_directory(smoke):
    folder, _ = smoke
    assert [path.name for path in folder.parent.iterdir()] == ["run"]

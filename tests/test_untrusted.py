"""Records, run folders and tables from others are data: they run nothing, reach nowhere, harm none.

And what is the user's own secret stays in the environment that it came in.
"""

from __future__ import annotations

import ast
import copy
import io
import json
import os
import pickle
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments import compute_trends
from jaxtrends import citing, conclusion, overview, paper_page, publish, record
from jaxtrends.errors import Problem
from jaxtrends.formats import UNSHOWABLE, showable
from jaxtrends.rundir import RunDirectory
from scripts import cite, compare, render_results, verify, webpage
from tests import toy_experiment
from tests.example_record import write_example

ESCAPE = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture
def run(tmp_path):
    """A run's folder with a whole record, and the record."""
    return tmp_path / "run", write_example(tmp_path / "run")


def commands(folder, scratch):
    """Every command that reads a record, as (main, arguments)."""
    return [
        (cite.main, [str(folder), "--results", str(scratch)]),
        (verify.main, [str(folder), "--judge-only"]),
        (compare.main, [str(folder), str(folder)]),
        (
            webpage.main,
            [str(folder), "--results", str(scratch), "--output", str(scratch / "site")],
        ),
    ]


def refused_by_all(folder, scratch, capsys):
    """Run every command on what must be refused; the one sentence that each of them says."""
    said = []
    for main, arguments in commands(folder, scratch):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert main is webpage.main or out == ""  # which makes the rest of the site
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not UNSHOWABLE.search(err)
        assert len(err) < 1000
        said.append(err)
    return said


def nested(depth):
    return "[" * depth + "]" * depth


# --- JSON --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"seeds": 5', f'"seeds": {nested(60)}', "nested more than 40 deep"),
        ('"seeds": 5', f'"seeds": {nested(200_000)}', "nested more than 40 deep"),
        ('"seeds": 5', '"seeds": NaN', "NaN is no number"),
        ('"seeds": 5', '"seeds": -Infinity', "-Infinity is no number"),
        ('"seeds": 5', '"seeds": 1e999', "1e999 is no number"),
        ('"seeds": 5', '"seeds": ' + "9" * 400, "is no number"),
        ('"seeds": 5', '"seeds": ' + "9" * 100_000, "is no number"),
        ('"seeds": 5', r'"seeds": "\u001b]0;owned\u0007"', "control character"),
        ('"seeds": 5', r'"\u009bseeds": 5', "control character"),
        ('"seeds": 5', r'"seeds": "\ud800"', "control character"),
        ('"seeds": 5', '"seeds": "\u202e"', "control character"),
    ],
    ids=lambda text: text[:24],
)
def test_json_that_does_harm_is_refused_in_one_sentence(run, tmp_path, capsys, old, new, message):
    folder, done = run
    done["results"]["config"] = {"seeds": 5}
    text = json.dumps(done, ensure_ascii=False)
    assert text.count(old) == 1
    (folder / "record.json").write_text(text.replace(old, new), encoding="utf-8")
    assert all(message in sentence for sentence in refused_by_all(folder, tmp_path, capsys))


def test_a_huge_file_is_refused_before_it_is_read(run, tmp_path, capsys):
    folder, _ = run
    with (folder / "record.json").open("wb") as file:
        file.truncate(record.MOST_BYTES + 1)  # takes no room on the disk
    assert all("larger than 64 MiB" in said for said in refused_by_all(folder, tmp_path, capsys))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_and_nobody_waits_for_it(run, tmp_path, capsys, kind):
    path = run[0] / "record.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    said = refused_by_all(run[0], tmp_path, capsys)
    assert ["is no file" in sentence for sentence in said] == [True, True, False, True]
    assert "is not a run" in said[2]  # W&B's runs would do for that command


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (("experiment",), "../outside"),
        (("experiment",), "/outside"),
        (("preset",), ".."),
        (("preset",), "default\n"),
        (("preset",), "n" * 300),
        (("results", "studies", "training", "figures", 0, "name"), "../../outside"),
        (("results", "studies", "training", "figures", 0, "name"), "/outside"),
        (("results", "studies", "estimators", "tables", 0, "name"), "../outside"),
        (("results", "studies", "../outside"), None),
        (("provenance", "code", "../outside"), None),
    ],
)
def test_a_name_that_would_be_a_path_is_refused(run, tmp_path, capsys, where, name):
    folder, done = run
    *way, last = where
    inner = done
    for key in way:
        inner = inner[key]
    inner[last] = name if name is not None else inner["training"]
    (folder / "record.json").write_text(json.dumps(done))
    assert all("not a valid record" in said for said in refused_by_all(folder, tmp_path, capsys))


# What a mutation puts in the place of some value.
NASTY = (
    *("", "x", "../../x", "/etc/passwd", ESCAPE, "[bold red]x[/]", "nan", "inf", "-inf", "💥"),
    *(0, -1, 1, 1e308, -1e308, 5e-324, 10**30, None, True, [], {}, [[]], {"a": {}}, ["nan"]),
    *([1, 2, 3], "a" * 3000, "\\input{x}", "<script>"),
)


def ways(value, way=()):
    """The way to every value in nested plain data, of lists to the first few."""
    yield way
    pairs = value.items() if isinstance(value, dict) else ()
    for key, item in pairs or (enumerate(value[:4]) if isinstance(value, list) else ()):
        yield from ways(item, (*way, key))


def mutated(done, chance):
    """A record of which one thing was changed, removed, doubled or called another name."""
    made = copy.deepcopy(done)
    *way, last = chance.choice([way for way in ways(made) if way])
    inner = made
    for key in way:
        inner = inner[key]
    act = chance.random()
    if act < 0.3:
        del inner[last]
    elif act < 0.4 and isinstance(inner, list):
        inner.append(inner[last])
    elif act < 0.45 and isinstance(inner, dict):
        inner[chance.choice(["x", "../y", ESCAPE])] = inner[last]
    else:
        inner[last] = chance.choice(NASTY)
    return made


def test_a_changed_record_is_refused_or_read_and_never_a_traceback(run, tmp_path, capsys):
    folder, done = run
    chance, outcomes = random.Random(0), {0: 0, 1: 0, 2: 0}
    for number in range(40):
        made = mutated(done, chance)
        (folder / "record.json").write_text(json.dumps(made))
        try:
            read = record.read(folder)
        except Problem:
            outcomes[2] += 1
            continue
        publish.texts(read)
        overview.index([read])
        paper_page.page([read], {})
        citing.headlines_latex([read])
        conclusion.show(read, Console(file=io.StringIO()), every=True, command="it")
        for main, arguments in commands(folder, tmp_path)[: 3 + (number % 4 == 0)]:
            outcomes[main(arguments)] += 1
            out, err = capsys.readouterr()
            assert not UNSHOWABLE.search(out + err)
    # The test would see nothing if all were refused, or none.
    assert outcomes[2] > 10
    assert outcomes[0] > 10


# --- what a terminal is shown ------------------------------------------------------------------


def test_markup_in_a_record_is_shown_as_text(run, capsys):
    folder, done = run
    statement = "[bold red]claim[/] [link=file:///etc/passwd]x[/link]"
    done["results"]["claims"][0]["claim"].update(statement=statement, id="[red]T1[/]")
    done["results"]["not_run"] = [
        {"id": "[red]T0[/]", "study": "training", "statement": "s", "reason": "[blink]r[/]"}
    ]
    record.write_json(folder / "record.json", done)
    read = record.read(folder)
    shown = io.StringIO()
    console = Console(file=shown, width=200, force_terminal=True, color_system=None)
    conclusion.show(read, console, every=True, command="[red]it[/]")
    for text in ("[bold red]", "[red]T1[/]", "[red]T0[/]", "[blink]r[/]"):
        assert text in shown.getvalue()
    assert "\x1b]8" not in shown.getvalue()  # a link of the terminal's own
    assert compare.main([str(folder), str(folder)]) == 0
    assert "[red]T1[/]" in capsys.readouterr().out


def test_control_characters_are_shown_escaped():
    assert showable(ESCAPE) == r"\x1b[2J\x1b]0;owned\x07"
    assert showable("a\tb\nc é 💥") == "a\tb\nc é 💥"
    assert showable("\u202eevil\ud800\x9b") == r"\u202eevil\ud800\x9b"


def test_a_path_with_control_characters_is_escaped_in_the_error(tmp_path, capsys):
    assert verify.main([str(tmp_path / ESCAPE)]) == 2
    err = capsys.readouterr().err
    assert r"\x1b[2J" in err
    assert "\x1b" not in err


def test_folders_and_wandb_lanes_are_shown_escaped(run, tmp_path, capsys):
    run[0].rename(tmp_path / ESCAPE)
    assert compare.main([str(tmp_path / ESCAPE)] * 2) == 0
    out = capsys.readouterr().out
    assert "x1b" in out
    assert "\x1b" not in out
    shown = compare._table("title", [ESCAPE], [[ESCAPE]])
    assert "\x1b" not in "".join(str(cell) for column in shown.columns for cell in column.cells)


def test_an_argument_with_control_characters_is_refused(capsys):
    from jaxtrends.running import main

    assert main(toy_experiment.EXPERIMENT, ["--dataset", ESCAPE]) == 2
    assert r"'\\x1b" in capsys.readouterr().err


# --- arrays ------------------------------------------------------------------------------------


class Bomb:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_objects_among_curves_are_refused_and_not_loaded(run, tmp_path, capsys):
    folder, _ = run
    trap = tmp_path / "sprung"
    np.savez(folder / "curves.npz", x=np.array([Bomb(trap)], dtype=object))
    for main, arguments in commands(folder, tmp_path)[2:]:
        assert main(arguments) == 2
        assert "cannot be read as curves (Object arrays cannot be loaded" in capsys.readouterr().err
    assert not trap.exists()
    np.load(folder / "curves.npz", allow_pickle=True)["x"]  # the control: it would have gone off
    assert trap.exists()


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps({}), b"\x93NUMPY\x01\x00v\x00{}"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "curves.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        record.read_arrays(tmp_path / "curves.npz")


def test_arrays_that_unpack_to_too_much_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(record.MOST_BYTES + 1))
    assert (tmp_path / "a.npz").stat().st_size < 100_000
    with pytest.raises(ValueError, match="unpacks to more than 64 MiB"):
        record.read_arrays(tmp_path / "a.npz")


def test_curves_of_another_record_are_refused(run, tmp_path, capsys):
    folder, _ = run
    record.write_arrays(folder / "curves.npz", {"training/loss": np.zeros((2, 3))})
    for main, arguments in commands(folder, tmp_path)[2:]:
        assert main(arguments) == 2
        assert "are not those of the record" in capsys.readouterr().err


# --- folders -----------------------------------------------------------------------------------


def test_nothing_is_rendered_through_a_link(tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.svg").write_text("mine")
    made = write_example(tmp_path / "results" / "slopes" / "default")
    assert (made["experiment"], made["preset"]) == ("slopes", "default")
    (tmp_path / "results" / "slopes" / "default" / "figures").symlink_to(outside)
    assert render_results.main(["--results", str(tmp_path / "results")]) == 2
    assert "is a link" in capsys.readouterr().err
    assert [path.name for path in outside.iterdir()] == ["mine.svg"]


def test_nothing_is_resumed_through_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine").write_text("mine")
    folder = RunDirectory(tmp_path / "run", {}, resume=False)
    (tmp_path / "run" / "studies").mkdir()
    (tmp_path / "run" / "studies" / "training").symlink_to(tmp_path / "outside")
    with pytest.raises(Problem, match="leads out of"):
        folder.study("training", "code")
    folder.close()
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["mine"]


def test_a_table_of_systems_with_control_characters_is_refused(tmp_path):
    table = tmp_path / "systems.csv"
    rows = [f"System {n}{ESCAPE * (n == 5)},{2000 + n}-01-01,1e{10 + n}" for n in range(20)]
    head = "system,publication_date,training_compute_flop"
    table.write_text("\n".join([head, *rows]) + "\n")
    experiment = compute_trends.EXPERIMENT
    config = type(experiment.presets["smoke"])(table=str(table))
    with pytest.raises(Problem, match=r"System 5.*control character"):
        experiment.load(config, "systems", None)
    table.write_text(table.read_text().replace(ESCAPE, ""))
    assert len(experiment.load(config, "systems", None).names) == 20


# --- code --------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[1]
OURS = [p for n in ("jaxtrends", "experiments", "scripts") for p in (ROOT / n).rglob("*.py")]
LOADERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}


def dangers(source):
    """What in some code could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [module] if module else [alias.name for alias in node.names]
            yield from (name for name in names if name.partition(".")[0] in LOADERS)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"):
                yield called
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called.endswith("np.load") and keywords.get("allow_pickle") != "False":
                yield called
            if keywords.get("shell", "False") != "False" or keywords.get("allow_pickle") == "True":
                yield called


def test_no_code_of_ours_runs_what_it_reads():
    assert len(OURS) > 80
    assert {p: d for p in OURS if (d := list(dangers(p.read_text(encoding="utf-8"))))} == {}


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from yaml import load", "eval('1')", "np.load(p)"),
        *("np.load(p, allow_pickle=True)", "subprocess.run('ls', shell=True)"),
    ],
)
def test_the_search_for_such_code_finds_it(source):
    assert list(dangers(source))


# --- secrets -----------------------------------------------------------------------------------


def test_no_secret_of_the_environment_reaches_a_file_or_a_stream(tmp_path):
    """Of a run with W&B offline, and of all that is made of it afterwards."""
    marker = "5ec2e7" * 7
    kept = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}
    secrets = ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "HF_TOKEN", "MY_PASSWORD")
    environment = kept | dict.fromkeys(secrets, marker[:40])
    folder = tmp_path / "run"
    toy = [sys.executable, toy_experiment.__file__, "--preset", "smoke"]
    page_of = [
        sys.executable,
        "-m",
        "scripts.webpage",
        str(folder),
        "--output",
        tmp_path / "site",
    ]
    said = b""
    for command in ([*toy, "--wandb", "offline", "--output", folder], page_of):
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        said += done.stdout + done.stderr
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    leaks = [str(path) for path in files if re.search(marker[:16].encode(), path.read_bytes())]
    assert leaks == []
    assert marker[:16].encode() not in said

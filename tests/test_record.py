"""Records: plain data and back, whole files, telling digests, verdicts judged again."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import subprocess

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxtrends import claims, record
from jaxtrends.errors import Problem
from tests.example_record import claim, example, write_example

# --- plain data --------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
leaf = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | st.text(max_size=5)
nested = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(nested)
def test_plain_data_pass_through_json_unchanged(value):
    assert json.loads(record.dumps(value)) == record.plain(value) == value


@dataclasses.dataclass
class Shape:
    sides: tuple[int, ...]
    area: np.float32


def test_numpy_tuples_and_dataclasses_become_plain():
    value = {
        1: Shape((3, 4), np.float32(0.5)),
        "a": np.arange(4).reshape(2, 2),
        "b": np.bool_(True),
    }
    assert record.plain(value) == {
        "1": {"sides": [3, 4], "area": 0.5},
        "a": [[0, 1], [2, 3]],
        "b": True,
    }


@given(st.lists(st.floats()))
def test_numbers_that_are_not_finite_survive_standard_json(values):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = record.dumps({"values": np.array(values)})
    back = record.numbers(json.loads(text, parse_constant=refuse))["values"]
    assert np.array_equal(np.array(back, dtype=float), np.array(values), equal_nan=True)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), 1j])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(TypeError, match="a record cannot hold"):
        record.plain({"deep": [value]})


def test_a_list_of_numbers_is_one_line():
    text = record.dumps({"a": {"losses": [1.0, 2.5, math.inf]}, "rows": [[1, 2], [3, 4]]})
    assert '  "losses": [1.0, 2.5, "inf"]\n' in text
    assert "  [3, 4]\n" in text


# --- digests -----------------------------------------------------------------------------------


def test_a_digest_is_that_of_canonical_json():
    assert record.digest({"b": (1, 2.0), "a": None}) == record.digest({"a": None, "b": [1, 2.0]})
    assert record.digest({}) == (
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of the text {}
    )


@given(nested, nested)
def test_equal_digests_mean_equal_data(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (record.digest(one) == record.digest(other)) == same


def test_the_digest_of_arrays_sees_names_types_shapes_and_values():
    base = {"a": np.arange(4, dtype=np.float32), "b": np.zeros(2)}
    changed = [
        {"c": base["a"], "b": base["b"]},
        {**base, "a": base["a"].astype(np.float64)},
        {**base, "a": base["a"].reshape(2, 2)},
        {**base, "a": np.nextafter(base["a"], np.float32(9), dtype=np.float32)},
        {"a": base["a"]},
    ]
    digests = {record.array_digest(arrays) for arrays in [base, *changed]}
    assert len(digests) == 6
    again = {"b": base["b"].copy(), "a": np.arange(8, dtype=np.float32)[::2] / 2}
    assert record.array_digest(again) == record.array_digest(base)


# --- files -------------------------------------------------------------------------------------


def test_arrays_come_back_with_their_bits(tmp_path):
    arrays = {"a/loss": np.array([1.5, np.nan], dtype=np.float32), "n": np.arange(3)}
    record.write_arrays(tmp_path / "curves.npz", arrays)
    back = record.read_arrays(tmp_path / "curves.npz")
    assert record.array_digest(back) == record.array_digest(arrays)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    record.write_json(path, {"version": "old"})

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(Problem, match="no space"):
        record.write_json(path, {"version": "new"})
    assert json.loads(path.read_text()) == {"version": "old"}
    assert list(tmp_path.iterdir()) == [path]


# --- provenance --------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "jaxtrends").mkdir()
    (tmp_path / "jaxtrends" / "record.py").write_text("x = 1\n")
    (tmp_path / "README.md").write_text("x\n")

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "dirty"),
    [
        (None, False),
        ("README.md", False),
        ("jaxtrends/record.py", True),
        ("jaxtrends/new.py", True),
    ],
)
def test_a_tree_is_dirty_where_code_is_not_what_was_committed(checkout, file, dirty):
    if file:
        (checkout / file).write_text("y = 2\n")
    head, found = record.commit()
    assert len(head) == 40
    assert found is dirty


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record.commit() == ("", None)


def test_an_installed_copy_does_not_claim_the_commit_of_the_project_around_it(
    checkout, monkeypatch
):
    installed = checkout / "venv"
    (installed / "jaxtrends").mkdir(parents=True)
    (installed / "jaxtrends" / "record.py").write_text("x = 1\n")
    monkeypatch.setattr(record, "ROOT", installed)
    assert record.commit() == ("", None)


@pytest.mark.parametrize(
    ("changed", "own", "shown"),
    [
        ({"seeds": {"preset": 10, "run": 3}}, [], "with seeds 3"),
        ({"studies": {"preset": ["a"], "run": []}}, [], "with studies none"),
        (
            {"studies": {"preset": [], "run": ["a", "b"]}, "mlp.steps": {"preset": 9, "run": 8}},
            [],
            "with studies a b and mlp.steps 8",
        ),
        (
            {f"field{n}": {"preset": n, "run": n + 1} for n in range(9)},
            [],
            "with field0 1, field1 2 and other settings",
        ),
        ({}, ["mine", "甲"], "with methods of its user's own (mine, 甲)"),
    ],
)
def test_a_run_of_other_settings_than_its_presets_does_not_pass_for_it(
    tmp_path, changed, own, shown
):
    made = {**example(), "changed": changed, "own_methods": own}
    record.write_json(tmp_path / "record.json", made)
    kept = record.read(tmp_path)
    assert record.title(kept) == f"slopes, preset default {shown}"
    assert record.edition(kept) == "default-changed"
    assert record.publishable(kept) == f"it is not its preset, but default {shown}"
    same = {**kept, "changed": {}, "own_methods": []}
    for plain in (same, example()):
        assert record.title(plain) == "slopes, preset default"
        assert record.edition(plain) == "default"
        assert record.publishable(plain) == ""


def test_two_figures_of_one_name_are_refused_whatever_a_file_system_makes_of_case(tmp_path):
    made = example()
    studies = made["results"]["studies"]
    (first,), (second,) = (studies[name]["figures"] for name in ("estimators", "training"))
    second["name"] = first["name"].upper()
    record.write_json(tmp_path / "record.json", made)
    with pytest.raises(Problem, match="have the same name"):
        record.read(tmp_path)


def test_a_headline_figure_is_held_to_what_all_figures_are(tmp_path):
    made = example()
    (other,) = made["results"]["studies"]["training"]["figures"]
    good = {**other, "name": "headline", "standalone": True}
    record.write_json(tmp_path / "record.json", {**made, "figure": good})
    assert record.read(tmp_path)["figure"]["name"] == "headline"
    first = good["panels"][0]
    shorter = {**first["series"][0], "y": [1.0]}
    for wrong, said in (
        ({**good, "name": other["name"]}, "have the same name"),
        ({**good, "panels": [{**first, "series": [shorter]}]}, "coordinates of different lengths"),
        ({**good, "standalone": "yes"}, "not a valid record"),
    ):
        record.write_json(tmp_path / "record.json", {**made, "figure": wrong})
        with pytest.raises(Problem, match=said):
            record.read(tmp_path)


@pytest.mark.parametrize(
    ("preset", "dirty", "reason"),
    [
        ("default", False, ""),
        ("smoke", False, "smoke"),
        ("default", True, "not a commit"),
        ("full", None, "not a commit"),
    ],
)
def test_a_smoke_run_or_a_dirty_tree_is_not_published(preset, dirty, reason):
    made = example(preset)
    made["provenance"]["dirty"] = dirty
    assert reason in record.publishable(made)
    assert bool(record.publishable(made)) == bool(reason)


# --- judging again -----------------------------------------------------------------------------


def test_every_verdict_can_be_judged_again_from_the_file(tmp_path):
    write_example(tmp_path / "run")
    made = record.read(tmp_path / "run")
    found = record.entries(made)
    assert {entry["verdict"]["verdict"] for entry in found} >= {
        claims.REPRODUCED,
        claims.NOT_REPRODUCED,
        claims.INCONCLUSIVE,
        claims.INVALID,
        claims.NOT_TESTABLE,
    }
    for entry in found:
        assert record.judge_again(entry) == entry["verdict"]


samples = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=2, max_size=15)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), samples, min_size=1, max_size=2),
    st.sampled_from([(0.0, math.inf), (-math.inf, 3.0), (-1.0, 1.0)]),
    st.sampled_from(["mean", "median"]),
)
def test_a_verdict_survives_the_way_through_json(parts, region, statistic):
    declared = claim("H1", statistic=statistic, region=region)
    evidence = claims.Evidence({name: {"values": values} for name, values in parts.items()})
    verdict = claims.judge(declared, evidence)
    entry = json.loads(record.dumps(record.claim_entry(declared, evidence, verdict)))
    assert record.judge_again(entry) == entry["verdict"] == record.plain(verdict)


def test_a_verdict_or_a_sample_that_was_changed_by_hand_is_found():
    entry = next(e for e in record.entries(example()) if e["claim"]["id"] == "T4")
    forged = copy.deepcopy(entry)
    forged["verdict"]["verdict"] = claims.NOT_REPRODUCED
    assert record.judge_again(forged) != forged["verdict"]
    forged = copy.deepcopy(entry)
    forged["evidence"]["parts"]["mlp"]["treatment"][0] *= 1.001
    assert record.judge_again(forged) != forged["verdict"]
    forged = copy.deepcopy(entry)
    forged["claim"]["region"] = [100.0, "inf"]
    assert record.judge_again(forged)["verdict"] == claims.NOT_REPRODUCED


# --- reading -----------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_written(tmp_path):
    made = write_example(tmp_path / "run")
    assert record.read(tmp_path / "run") == record.read(tmp_path / "run" / "record.json") == made


def test_the_schema_is_a_schema():
    schema = json.loads(record.SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    described = schema["$defs"]["claim_entry"]["properties"]["claim"]["properties"]
    declared = {field.name for field in dataclasses.fields(claims.Claim)} - {"evidence"}
    assert set(described) == declared
    assert schema["$defs"]["verdict"]["enum"] == list(claims.VERDICTS)
    finding = schema["$defs"]["finding"]["properties"]
    assert list(finding) == [field.name for field in dataclasses.fields(claims.Finding)]


def set_at(value, path, new):
    *way, last = path
    for key in way:
        value = value[key]
    value[last] = new


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (["schema"], 2, "record version 2; this release reads version 1"),
        (["extra"], 1, "'extra' was unexpected"),
        (["experiment"], "../escape", "experiment"),
        (["results", "config_digest"], "abc", "config_digest"),
        (["results", "claims", 0, "claim", "source"], "rumour", "source"),
        (["results", "claims", 0, "claim", "region"], [0.0], "region"),
        (["results", "claims", 2, "claim", "where"], "", "where"),
        (["results", "claims", 0, "verdict", "verdict"], "proved", "verdict"),
        (["results", "claims", 0, "evidence", "parts", "d = 16"], {"treatment": [1]}, "parts"),
        (["results", "claims", 0, "evidence", "parts", "d = 16", "values"], ["1.0"], "values"),
        (["results", "claims", 0, "verdict", "parts", "d = 16", "low"], "Infinity", "low"),
        (
            ["results", "studies", "training", "figures", 0, "panels", 0, "y_scale"],
            "sqrt",
            "y_scale",
        ),
        (["measurements", "peak_memory_bytes"], 1.5, "peak_memory_bytes"),
        (["provenance", "commit"], "main", "commit"),
        (["provenance", "started"], "yesterday", "started"),
        (["provenance", "device"], {}, "device"),
    ],
)
def test_a_file_that_is_no_record_is_refused_and_the_place_named(tmp_path, path, new, message):
    made = example()
    set_at(made, path, new)
    record.write_json(tmp_path / "record.json", made)
    with pytest.raises(Problem, match=r"record\.json") as raised:
        record.read(tmp_path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no record"),
        (b"{", "cannot be read"),
        (b"[]", "version None"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_missing_or_damaged_file_is_a_clear_mistake(tmp_path, content, message):
    if content is not None:
        (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(Problem, match=message):
        record.read(tmp_path / "record.json")

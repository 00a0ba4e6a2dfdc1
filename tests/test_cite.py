"""BibTeX of the paper, of the suite and of a record."""

from __future__ import annotations

import copy
import re

import pytest

from jaxtrends import citing, publish, record
from scripts import cite
from tests.example_record import example, write_example


@pytest.fixture
def results(tmp_path):
    write_example(tmp_path / "results" / "slopes" / "default")
    write_example(tmp_path / "results" / "slopes" / "full", "full")
    return tmp_path / "results"


def fields(text):
    """Entries of simple BibTeX: key -> (kind, {field: value}); braces must balance."""
    assert text.count("{") == text.count("}")
    found = {}
    for kind, key, body in re.findall(r"@(\w+)\{([^,\s]+),\n(.*?)\n\}", text, re.DOTALL):
        rows = re.findall(r"^  (\w+) = \{(.*)\},?$", body, re.MULTILINE)
        found[key] = (kind, dict(rows))
    return found


def test_paper_suite_and_record_are_cited(results, capsys):
    assert cite.main(["slopes/default", "--results", str(results)]) == 0
    found = fields(capsys.readouterr().out)
    assert list(found) == ["doe2022slopes", "jaxtrends", "jaxtrends-slopes-default"]
    kind, own = found["jaxtrends-slopes-default"]
    assert kind == "misc"
    assert own["title"] == (
        "jaxtrends on ``Slopes without Hills \\& Other Shortcuts'': slopes, default"
    )
    assert own["year"] == "2026"
    assert "c0ffee" * 6 + "c0ff" in own["note"]
    assert record.digest(example()["results"]) in own["note"]
    assert found["jaxtrends"][1]["note"] == "Commit c0ffeec0ffee"


def test_an_experiment_alone_means_its_largest_preset(results, capsys):
    assert cite.main(["slopes", "--results", str(results)]) == 0
    assert "slopes-full" in capsys.readouterr().out


def test_the_digest_tells_results_apart_and_no_times():
    one, other, later = example(), example(), example()
    other["results"]["config"]["seeds"] = 11
    later["measurements"]["seconds"] = 1.0
    assert publish.citation(one) != publish.citation(other)
    assert publish.citation(one) == publish.citation(later)


def test_a_run_is_cited_by_its_folder(results, tmp_path, capsys):
    write_example(tmp_path / "mine", "smoke")
    for path in (tmp_path / "mine", tmp_path / "mine" / "record.json"):
        assert cite.main([str(path), "--results", str(results)]) == 0
        assert "slopes-smoke" in capsys.readouterr().out


def test_what_bibtex_would_trip_over_is_escaped():
    made = copy.deepcopy(example())
    made["experiment"] = "forward_grad"
    made["paper"]["title"] = "50% of {x_1} & $y$ # ~"
    text = publish.citation(made)
    entry = text[text.index("@misc{jaxtrends-forward-grad") :]
    assert r"50\% of \{x\_1\} \& \$y\$ \# \~{}" in entry
    assert r"forward\_grad" in entry


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slope", "There is no committed experiment 'slope': choose from slopes. Did you mean"),
        ("slopes/fall", "There is no committed preset 'fall': choose from full, default."),
    ],
)
def test_a_wrong_name_is_one_sentence(results, capsys, name, message):
    assert cite.main([name, "--results", str(results)]) == 2
    assert message in capsys.readouterr().err


def test_a_headline_is_a_sentence_in_plain_text_or_latex(results, capsys):
    assert cite.main(["slopes", "--sentence", "--results", str(results)]) == 0
    assert capsys.readouterr().out == citing.sentence(example("full")) + "\n"
    assert cite.main(["slopes/default", "--sentence", "--latex", "--results", str(results)]) == 0
    assert capsys.readouterr().out == citing.sentence_latex(example()) + "\n"


def test_the_headlines_of_all_papers_are_one_latex_table(results, capsys):
    assert cite.main(["--headlines", "--results", str(results)]) == 0
    assert capsys.readouterr().out == citing.headlines_latex([example("full")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give the name of an experiment or the folder of a run, or --headlines by itself."),
        (["slopes", "--headlines"], "or --headlines by itself."),
        (["--sentence"], "Give the name of an experiment"),
        (["--headlines", "--sentence"], "or --headlines by itself."),
        (["slopes", "--latex"], "--latex is for a sentence: give --sentence too"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(results, capsys, arguments, message):
    assert cite.main([*arguments, "--results", str(results)]) == 2
    assert message in capsys.readouterr().err


def test_a_table_needs_results(tmp_path, capsys):
    assert cite.main(["--headlines", "--results", str(tmp_path)]) == 2
    assert "There are no committed results in" in capsys.readouterr().err


def test_a_damaged_record_of_another_paper_is_in_nobodys_way(results, capsys):
    (results / "hills" / "full").mkdir(parents=True)
    (results / "hills" / "full" / "record.json").write_text("{")
    assert cite.main(["slopes", "--results", str(results)]) == 0
    assert cite.main(["hills", "--results", str(results)]) == 2
    assert "cannot be read as a record" in capsys.readouterr().err

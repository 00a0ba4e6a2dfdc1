"""Committed records: their order and places, the tables beside each, and BibTeX of them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from jaxtrends import citing, golden, overview, publish, record
from tests.example_record import example, write_example


@pytest.fixture(scope="module")
def made():
    return example()


def test_the_largest_preset_comes_first_and_a_cpu_before_others(made):
    gpu = example()
    for code in gpu["provenance"]["code"].values():
        code["device"] |= {"platform": "gpu"}
    records = [gpu, made, example("smoke"), example("full"), example("large")]
    found = [publish.folder(done) for done in publish.in_order(records)]
    assert found == [
        *("slopes/large", "slopes/full", "slopes/default", "slopes/default-gpu", "slopes/smoke"),
    ]


def test_a_stale_record_does_not_stand_before_one_that_is_not(monkeypatch):
    records = [example(preset) for preset in ("default", "full")]
    assert [done["preset"] for done in publish.in_order(records)] == ["full", "default"]
    monkeypatch.setattr(golden, "stale_studies", lambda done: ["cost"] * (done["preset"] == "full"))
    assert [done["preset"] for done in publish.in_order(records)] == ["default", "full"]


def test_sound_records_are_read_and_the_others_named(tmp_path):
    """Damaged, of another schema, misplaced: a sentence each, and the rest is read."""
    for preset in ("full", "large", "default", "other"):
        write_example(tmp_path / "slopes" / preset, preset)
    (tmp_path / "slopes/large/record.json").write_text("{")
    old = example("default") | {"schema": 0}
    record.write_json(tmp_path / "slopes/default/record.json", old)
    (tmp_path / "slopes/other").rename(tmp_path / "slopes/moved")
    records, faults = publish.sound_records(tmp_path)
    assert [done["preset"] for done in records] == ["full"]
    assert len(faults) == 3
    for place, why in {
        "slopes/default/record.json": "has record version 0; this release reads version 1.",
        "slopes/large/record.json": "cannot be read as a record",
        "slopes/moved/record.json": "is a record of slopes/other: move it to that folder.",
    }.items():
        assert [fault for fault in faults if place in fault and why in fault], (place, faults)


def test_every_part_of_a_family_stands_in_the_page_of_tables(made):
    text = publish.tables_markdown(made)
    for part in ("gaussian, k = 1", "sphere, k = 4", "batch 1024", "**Steps to a loss of 1e-3.**"):
        assert part in text


def test_the_bibliography_has_each_paper_once_and_this_suite(made):
    text = publish.bibliography([made, example("full")])
    assert text.count("@misc{doe2022slopes,") == 1
    assert text.count("@software{jaxtrends,") == 1
    assert "version = {0.1.0}" in text
    assert "Commit c0ffeec0ffee" in text
    assert text.count("{") == text.count("}")
    assert "@software{jaxtrends," in publish.bibliography([])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_compiles_in_a_minimal_document(made, tmp_path):
    answering = overview.answering(publish.read_records(record.ROOT / "results"))
    tables = {
        "made": publish.tables_latex(made),
        "headlines": citing.headlines_latex([made, *answering]),
        "sentences": "\n\n".join(map(citing.sentence_latex, answering)),
    }
    for path in (record.ROOT / "results").glob("*/*/table.tex"):
        tables["-".join(path.parts[-3:-1])] = path.read_text(encoding="utf-8")
    for name, text in tables.items():
        (tmp_path / f"{name}.tex").write_text(
            "\\documentclass{article}\n\\usepackage{array,booktabs,graphicx,longtable}\n"
            f"\\begin{{document}}\n{text}\\end{{document}}\n",
            encoding="utf-8",
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0, said[-2000:]
        # A letter or two in the margin is nothing that a reader sees.
        over = re.findall(r"Overfull \\hbox \(([\d.]+)pt", said)
        assert [width for width in over if float(width) > 8] == [], name

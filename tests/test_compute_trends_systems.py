"""Tables of systems: what is read, what is counted, what is refused and how it is said."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from experiments import compute_trends
from experiments.compute_trends import EXPERIMENT, main, systems
from jaxtrends import record
from jaxtrends.errors import Problem

HEADING = "system,publication_date,training_compute_flop,domain"
ROWS = ("A,2010-01-01,1e15,Vision", "B,2012-06-01,2e17,Games", "C,2014-06-01,3e19,")


def write(tmp_path, *rows, heading=HEADING, encoding="utf-8", newline="\n"):
    path = tmp_path / "table.csv"
    path.write_bytes((newline.join([heading, *rows]) + newline).encode(encoding))
    return path


def refusal(path):
    """The sentence with which a table is refused: one sentence, whole."""
    with pytest.raises(Problem) as refused:
        systems.read(path)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_the_papers_table_is_as_the_paper_used_it():
    found = systems.read()
    assert found.of_the_paper
    assert len(found.names) == len(found.dates) == len(found.log_compute) == 123
    assert (found.without_compute, found.without_date) == (0, 0)
    assert (found.names[0], found.names[-1]) == ("Theseus", "LaMDA")
    assert systems.iso(found.dates[0]) == "1952-01-01"
    assert systems.iso(found.dates[-1]) == "2022-01-20"
    assert 10 ** found.log_compute[-1] == pytest.approx(3.55e23)
    assert (np.diff(found.dates) >= 0).all()
    assert found.dates.dtype == found.log_compute.dtype == np.float64
    assert found.digest == hashlib.sha256(systems.PAPER.read_bytes()).hexdigest()
    assert "Sevilla" in found.origin
    assert found.licence == "CC BY 4.0"


def test_a_newer_export_is_read(tmp_path):
    """Other headings and order, more columns, blanks, every spelling, a BOM, CRLF."""
    path = write(
        tmp_path,
        'Vision,"1,000,000",Old,01/02/1990,"a, b"',
        ",,No compute,2011-01-01,",
        "",
        ",3e10,Undated,,",
        "Games,1e21,Newest,2023-04,x",
        "Language,  4.5E+18 ,In between,2015,",
        "Language,120,Short,2013-07-01T00:00:00",
        heading="Domain,Training compute (FLOP),Model,Publication date,Notes",
        encoding="utf-8-sig",
        newline="\r\n",
    )
    found = systems.read(path)
    assert found.names == ("Old", "Short", "In between", "Newest")
    assert [systems.iso(when) for when in found.dates] == [
        *("1990-02-01", "2013-07-01", "2015-01-01", "2023-04-01")
    ]
    np.testing.assert_allclose(10**found.log_compute, [1e6, 120, 4.5e18, 1e21])
    assert found.domains == ("Vision", "Language", "Language", "Games")
    assert (found.without_compute, found.without_date) == (1, 1)
    assert "4 systems" in found.origin
    assert "1 rows without compute and 1 without a date" in found.origin
    assert not found.of_the_paper
    assert found.version == "table.csv"
    assert found.licence == "not known"


def test_a_table_needs_no_domain(tmp_path):
    rows = [row.rpartition(",")[0] for row in ROWS]
    assert systems.read(write(tmp_path, *rows, heading=HEADING.rpartition(",")[0])).domains == (
        *("", "", ""),
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("D,2015-02-30,1e20,", ("row 5", "publication_date", "2015-02-30")),
        ("D,31/02/2015,1e20,", ("row 5", "publication_date", "day first")),
        ("D,02/31/2015,1e20,", ("row 5", "publication_date")),
        ("D,soon,1e20,", ("row 5", "publication_date", "'soon'")),
        ("D,20155,1e20,", ("row 5", "publication_date")),
        ("D,0201-01-01,1e20,", ("row 5", "publication_date", "1900 to 2100")),
        ("D,2015-03-01,-1e20,", ("row 5", "training_compute_flop", "above zero")),
        ("D,2015-03-01,0,", ("row 5", "training_compute_flop", "above zero")),
        ("D,2015-03-01,1e-400,", ("row 5", "training_compute_flop", "above zero")),
        ("D,2015-03-01,1e400,", ("row 5", "training_compute_flop", "not a number")),
        ("D,2015-03-01,nan,", ("row 5", "training_compute_flop", "leave the cell blank")),
        ("D,2015-03-01,N/A,", ("row 5", "training_compute_flop", "leave the cell blank")),
        ("D,N/A,1e20,", ("row 5", "publication_date", "leave the cell blank")),
        ("D,2015-03-01,1e61,", ("row 5", "training_compute_flop", "1 to 10^60")),
        ("D,2015-03-01,0.001,", ("row 5", "training_compute_flop", "in FLOP")),
        ("D\x07,2015-03-01,1e20,", ("row 5", "system", "'D\\x07'", "control character")),
        ("D,2015-03-01,1e20,\x00", ("row 5", "domain", "control character")),
        ("D,2015-03-01,many,", ("row 5", "training_compute_flop", "'many'")),
        ('D,2015-03-01,"1,5e20",', ("row 5", "training_compute_flop", "'1,5e20'")),
        ("D,2015-03-01,1,000,000,", ("row 5", "6 cells", "double quotes")),
        (" ,2015-03-01,1e20,", ("row 5", "system", "blank")),
        ("a,2010-01-01,5e15,", ("row 5", "system", "row 2")),
        ('D,2015-03-01,1e20,"open', ("not a CSV table", "line 5")),
    ],
)
def test_a_bad_row_is_refused_by_its_place(tmp_path, row, said):
    sentence = refusal(write(tmp_path, *ROWS, row))
    assert all(part in sentence for part in said), sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("system;publication_date;training_compute_flop\nA;2012;1,5e3\n", "semicolons"),
        ('"system";"training compute, FLOP";"date"\n"A";"1";"2012"\n', "semicolons"),
        ("\n\nsystem\tdate\ttraining_compute\nA\t2012\t1e3\n", "tabs"),
    ],
)
def test_another_separator_than_the_comma_is_named(tmp_path, content, said):
    path = tmp_path / "table.csv"
    path.write_text(content)
    assert f"has {said} between its columns" in refusal(path)


def test_commas_at_the_end_of_rows_and_blank_rows_do_no_harm(tmp_path):
    plain = systems.read(write(tmp_path, *ROWS))
    for heading, end in ((HEADING, ","), (HEADING + ",", ","), (HEADING, ", ,")):
        rows = [row + end for row in ROWS]
        found = systems.read(write(tmp_path, *rows, ",,,", " , ", heading=heading))
        assert (found.names, found.domains) == (plain.names, plain.domains)
        assert (found.without_compute, found.without_date) == (0, 0)


def test_a_cell_of_two_lines_is_one_of_words(tmp_path):
    found = systems.read(write(tmp_path, *ROWS, '"D,\r\n  or E",2015-03-01,1e20,'))
    assert found.names[-1] == "D, or E"


@pytest.mark.parametrize(
    ("dates", "first", "said"),
    [
        (("01/02/2010", "03/04/2012", "2014"), "2010-02-01", "01/02/2010 are read day first"),
        (("01/02/2010", "24/03/2012", "2014"), "2010-02-01", "01/02/2010 are read day first"),
        (("01/02/2010", "03/24/2012", "2014"), "2010-01-02", "01/02/2010 are read month first"),
        (("24/03/2010", "25/03/2012", "2014"), "2010-03-24", ""),
        (("03/03/2010", "2012-06-01", "2014"), "2010-03-03", ""),
    ],
)
def test_which_of_day_and_month_stands_first_is_said_where_it_matters(tmp_path, dates, first, said):
    found = systems.read(write(tmp_path, *[f"S{d},{d},1e{n}," for n, d in enumerate(dates)]))
    assert systems.iso(found.dates[0]) == first
    assert found.origin.endswith(f"; dates such as {said}." if said else "without compute.")


def test_a_column_with_either_first_is_refused(tmp_path):
    sentence = refusal(write(tmp_path, *ROWS, "D,24/03/2012,1e20,", "E,03/24/2012,1e20,"))
    assert "row 6, column publication_date: 03/24/2012 has its month first" in sentence
    assert "24/03/2012 in row 5 its day" in sentence


def test_a_missing_column_is_named(tmp_path):
    path = write(tmp_path, *ROWS, heading="system,publication_date,compute,domain")
    sentence = refusal(path)
    assert "no column training_compute_flop" in sentence
    assert "'compute'" in sentence


def test_a_column_that_stands_twice_is_refused(tmp_path):
    path = write(tmp_path, *ROWS, heading="System,system,publication_date,training_compute_flop")
    assert "system twice" in refusal(path)


def test_too_few_systems_are_refused_and_those_left_out_are_counted(tmp_path):
    sentence = refusal(write(tmp_path, *ROWS[:2], "C,2014-06-01,,", "D,,1e20,"))
    assert "too few systems with a date and a compute: 2," in sentence
    assert "1 rows without compute and 1 without a date" in sentence


def test_everything_in_one_month_is_refused(tmp_path):
    rows = [f"S{day},2015-03-{day},1e{day}," for day in ("01", "12", "20", "31")]
    assert "more than a month" in refusal(write(tmp_path, *rows))


def test_compute_that_is_the_same_throughout_is_refused(tmp_path):
    rows = [f"System {year},{year},1e20," for year in range(2001, 2009)]
    assert "same compute" in refusal(write(tmp_path, *rows))


def test_other_encodings_are_refused(tmp_path):
    sentence = refusal(write(tmp_path, *ROWS, "Café,2015-03-01,1e20,", encoding="latin-1"))
    assert "line 5" in sentence
    assert "UTF-8" in sentence


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "table.csv"
    path.touch()
    os.truncate(path, 100_000_000)  # a hole: no byte of it is on the disk
    assert "100 MB" in refusal(path)


def test_too_many_systems_are_refused(tmp_path):
    rows = [f"S{n},{1950 + n % 70},1e15," for n in range(systems.MOST_SYSTEMS + 1)]
    assert "5001 systems" in refusal(write(tmp_path, *rows))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_refused(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert "is empty" in refusal(path)


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_what_is_no_file_is_refused(tmp_path, name):
    assert "There is no file" in refusal(tmp_path / name)


def test_days_and_years():
    assert systems.day("1970-01-01") == 0
    assert systems.day("2000") == systems.day("1/1/2000") == 10957
    assert systems.iso(systems.day("2015-09-01")) == "2015-09-01"
    assert systems.year(systems.day("2015-07-02")) == pytest.approx(2015.5, abs=2e-3)


def test_a_refused_table_leaves_nothing_behind(tmp_path, capsys):
    path = write(tmp_path, *ROWS, "D,2015-02-30,1e20,")
    output = tmp_path / "run"
    flags = ["--preset", "smoke", "--table", str(path), "--output", str(output)]
    assert main(flags) == 2
    assert "error: table.csv, row 5, column publication_date" in capsys.readouterr().err
    assert not output.exists()


def test_systems_that_the_rules_leave_out_are_counted_and_said(tmp_path, capsys):
    path = write(tmp_path, *ROWS, "D,2023-06-01,1e24,", "E,1949-06-01,1e2,")
    flags = ["--preset", "smoke", "--studies", "tables", "--table", str(path)]
    assert main([*flags, "--output", str(tmp_path / "run")]) == 0
    said = "2 of the systems do not lie between --rules.start 1950-01-01 and --rules.end 2022-02-20"
    assert said in " ".join(capsys.readouterr().out.split())
    assert said in record.read(tmp_path / "run")["results"]["data"][systems.DATASET]["origin"]


@pytest.mark.parametrize("inside", [0, 2])
def test_a_table_that_the_rules_leave_out_is_refused_with_the_way_out(tmp_path, capsys, inside):
    rows = [f"S{year},{year}-05-01,1e{year - 2000}," for year in (2023, 2024, 2025)]
    path = write(tmp_path, *ROWS[:inside], *rows)
    flags = ["--preset", "smoke", "--table", str(path), "--output", str(tmp_path / "run")]
    assert main(flags) == 2
    said = capsys.readouterr().err
    assert f"{inside} lie between" in said
    assert "--rules.end 2025-05-02 say" in said
    assert main([*flags, "--studies", "tables", "--rules.end", "2025-05-02"]) == 0


def test_what_the_rules_leave_may_not_be_of_one_month(tmp_path):
    rows = [f"S{day},2015-03-{day},1e{day}," for day in ("01", "12", "20", "31")]
    chosen = compute_trends.Config(table=str(write(tmp_path, *rows, "D,2023-05-01,1e24,")))
    with pytest.raises(Problem, match=r"between --rules.start .* more than a month"):
        compute_trends.load(chosen, systems.DATASET, None)


def test_the_config_brings_its_table(tmp_path):
    path = write(tmp_path, *ROWS)
    chosen = compute_trends.Config(table=str(path))
    (name,) = EXPERIMENT.datasets(chosen)
    assert EXPERIMENT.load(chosen, name, None).names == ("A", "B", "C")
    assert EXPERIMENT.load(compute_trends.Config(), name, None).of_the_paper


def test_a_run_records_its_table_and_is_not_resumed_with_another(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_bytes(systems.PAPER.read_bytes() + b"Unknown,2021-01-01,,Language\n")
    flags = ["--preset", "smoke", "--studies", "bootstrap", "--table", str(path)]
    flags += ["--output", str(tmp_path / "run")]
    assert main(flags) == 0
    assert "1 rows without compute" in " ".join(capsys.readouterr().out.split())
    data = record.read(tmp_path / "run")["results"]["data"]
    assert list(data) == [systems.DATASET]
    assert data[systems.DATASET]["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert data[systems.DATASET]["version"] == "mine.csv"
    assert "1 rows without compute" in data[systems.DATASET]["origin"]
    (tmp_path / "run" / "record.json").unlink()
    path.write_bytes(systems.PAPER.read_bytes())
    assert main([*flags, "--resume"]) == 2
    assert "data.milestone_systems" in capsys.readouterr().err

"""Tables of systems: what is read, what is counted, what is refused and how it is said."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from experiments import compute_trends
from experiments.compute_trends import main, systems
from jaxtrends import record
from jaxtrends.errors import Problem

HEADING = "system,publication_date,training_compute_flop"
ROWS = ("A,2010-01-01,1e15", "B,2012-06-01,2e17", "C,2014-06-01,3e19")


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
        'Vision,"1,000,000",Old,1/02/1990,"a, b"',
        ",,No compute,2011-01-01,",
        "",
        ",3e10,Undated,,",
        "Games,1e21,Newest,2023-04,x",
        'Language,  4.5E+18 ,"In\r\n between",2015,,, ,',
        "Language,120,Short,2013-07-01T00:00:00",
        ",,,",
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
    assert (found.without_compute, found.without_date) == (1, 1)
    assert "4 systems" in found.origin
    assert "1 rows without compute and 1 without a date" in found.origin
    assert not found.of_the_paper
    assert found.version == "table.csv"
    assert found.licence == "unknown"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("D,2015-02-30,1e20", ("row 5", "publication_date", "2015-02-30")),
        ("D,31/02/2015,1e20", ("row 5", "publication_date", "30/09/2015 (day first)")),
        ("D,02/31/2015,1e20", ("row 5", "publication_date", "09/30/2015 (month first)")),
        ("D,01/02/0201,1e20", ("row 5", "publication_date", "'01/02/0201'", "1900 to 2100")),
        ("D,soon,1e20", ("row 5", "publication_date", "'soon'")),
        ("D,20155,1e20", ("row 5", "publication_date")),
        ("D,0201-01-01,1e20", ("row 5", "publication_date", "1900 to 2100")),
        ("D,N/A,1e20", ("row 5", "publication_date", "leave the cell empty")),
        ("D,2015-03-01,-1e20", ("row 5", "training_compute_flop", "1 to 10^60")),
        ("D,2015-03-01,0", ("row 5", "training_compute_flop", "1 to 10^60")),
        ("D,2015-03-01,1e400", ("row 5", "training_compute_flop", "1 to 10^60")),
        ("D,2015-03-01,nan", ("row 5", "training_compute_flop", "leave the cell empty")),
        ("D,2015-03-01,1e61", ("row 5", "training_compute_flop", "1 to 10^60")),
        ("D,2015-03-01,0.001", ("row 5", "training_compute_flop", "FLOP")),
        ("D,2015-03-01,many", ("row 5", "training_compute_flop", "'many'")),
        ("D,2015-03-01,.", ("row 5", "training_compute_flop", "'.'")),
        ("D,2015-03-01,1_000", ("row 5", "training_compute_flop", "'1_000'")),
        ('D,2015-03-01,"1,5e20"', ("row 5", "training_compute_flop", "'1,5e20'")),
        ("D,2015-03-01,1,000,000", ("row 5", "5 cells", "double quotes")),
        ("D\x07,2015-03-01,1e20", ("row 5", "system", "'D\\x07'", "control character")),
        (" ,2015-03-01,1e20", ("row 5", "system", "empty")),
        ("a,2010-01-01,5e15", ("row 5", "system", "row 2")),
        ('D,2015-03-01,"open', ("not a CSV table", "line 5")),
    ],
)
def test_a_bad_row_is_refused_by_its_place(tmp_path, row, said):
    sentence = refusal(write(tmp_path, *ROWS, row))
    assert all(part in sentence for part in said), sentence


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
    found = systems.read(write(tmp_path, *[f"S{d},{d},1e{n}" for n, d in enumerate(dates)]))
    assert systems.iso(found.dates[0]) == first
    assert found.origin.endswith(f"; dates such as {said}." if said else "without compute.")


def test_a_column_with_either_first_is_refused(tmp_path):
    sentence = refusal(write(tmp_path, *ROWS, "D,24/03/2012,1e20", "E,03/24/2012,1e20"))
    assert "row 6, column publication_date: 03/24/2012 has the month first" in sentence
    assert "24/03/2012 in row 5 has the day first" in sentence


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            "system,publication_date,compute\n",
            ("no column training_compute_flop", "it has 'system', 'publication_date', 'compute'"),
        ),
        ("system;publication_date;training_compute_flop\n", ("no column", "separated by commas")),
        ("System,system,publication_date,training_compute_flop\n", ("system twice",)),
        (
            "\n".join([HEADING, *ROWS[:2], "C,2014-06-01,", "D,,1e20"]),
            (
                "too few systems with a date and a compute: 2,",
                "1 rows without compute and 1 without a date",
            ),
        ),
        (
            "\n".join([HEADING, *(f"S{n},2015-03-{n},1e{n}" for n in (10, 12, 20, 31))]),
            ("more than a month",),
        ),
        ("\n".join([HEADING, *(f"S{n},{n},1e20" for n in range(2001, 2009))]), ("same compute",)),
        (
            "\n".join([HEADING, *(f"S{n},{1950 + n % 70},1e15" for n in range(5001))]),
            ("5001 systems",),
        ),
        ("\n\n", ("is empty",)),
        ("", ("is empty",)),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, table, said):
    path = tmp_path / "table.csv"
    path.write_text(table)
    sentence = refusal(path)
    assert all(part in sentence for part in said), sentence


def test_other_encodings_are_refused(tmp_path):
    sentence = refusal(write(tmp_path, *ROWS, "Café,2015-03-01,1e20", encoding="latin-1"))
    assert "line 5" in sentence
    assert "UTF-8" in sentence


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "table.csv"
    path.touch()
    os.truncate(path, 100_000_000)  # a hole: no byte of it is on the disk
    assert "100 MB" in refusal(path)


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_what_is_no_file_is_refused(tmp_path, name):
    assert "There is no file" in refusal(tmp_path / name)


def test_days_and_years():
    assert systems.day("1970-01-01") == 0
    assert systems.day("2000") == systems.day("2000-01") == systems.day("2000-01-01") == 10957
    assert systems.iso(systems.day("2015-09-01")) == "2015-09-01"
    assert systems.year(systems.day("2015-07-02")) == pytest.approx(2015.5, abs=2e-3)


# --- tables and rules ----------------------------------------------------------------------------


def test_systems_that_the_rules_leave_out_are_counted_and_said(tmp_path):
    path = write(tmp_path, *ROWS, "D,2023-06-01,1e24", "E,1949-06-01,1e2")
    found = compute_trends.load(compute_trends.Config(table=str(path)), systems.DATASET, None)
    assert found.origin.endswith(
        "2 of the systems are not between --rules.start 1950-01-01 and --rules.end 2022-02-20."
    )


@pytest.mark.parametrize("inside", [0, 2])
def test_a_table_that_the_rules_leave_out_is_refused_with_the_way_out(tmp_path, capsys, inside):
    rows = [f"S{year},{year}-05-01,1e{year - 2000}" for year in (2023, 2024, 2025)]
    path = write(tmp_path, *ROWS[:inside], *rows)
    output = tmp_path / "run"
    flags = ["--preset", "smoke", "--table", str(path), "--output", str(output)]
    assert main(flags) == 2
    said = capsys.readouterr().err
    assert f"has too few systems with a date and a compute: {inside}" in said
    assert "change these dates: the table covers" in said
    assert "to 2025-05-01)" in said
    assert not output.exists()
    assert main([*flags, "--studies", "tables", "--rules.end", "2025-05-02"]) == 0


def test_what_the_rules_leave_may_not_be_of_one_month(tmp_path):
    rows = [f"S{day},2015-03-{day},1e{day}" for day in ("01", "12", "20", "31")]
    chosen = compute_trends.Config(table=str(write(tmp_path, *rows, "D,2023-05-01,1e24")))
    with pytest.raises(Problem, match=r"between --rules.start .* more than a month"):
        compute_trends.load(chosen, systems.DATASET, None)


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

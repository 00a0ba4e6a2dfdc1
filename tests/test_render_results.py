"""Publishing: what is rendered passes the check, and whatever is wrong is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from jaxtrends import golden, plot_queue, record
from scripts import cite, render_results
from tests.example_record import write_example, write_golden


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    results = tmp_path_factory.mktemp("project") / "results"
    write_example(results / "slopes" / "default")
    assert render_results.main(["--results", str(results)]) == 0
    return results


@pytest.fixture
def results(rendered, tmp_path):
    copied = tmp_path / "project" / "results"
    shutil.copytree(rendered, copied)
    return copied


def check(results):
    return render_results.main(["--check", "--results", str(results)])


def edit(path, change):
    made = json.loads(path.read_text(encoding="utf-8"))
    change(made)
    record.write_json(path, made)


def test_what_is_rendered_passes_the_check(rendered, capsys):
    assert check(rendered) == 0
    assert capsys.readouterr().out == "1 records checked, 0 faults.\n"
    names = {p.relative_to(rendered).as_posix() for p in rendered.rglob("*") if p.is_file()}
    inside = ("record.json", "curves.npz", "table.md", "table.csv", "table.tex")
    drawings = [f"figures/{n}.{kind}" for n in ("loss", "error", "cost") for kind in ("svg", "png")]
    assert names == {
        *("README.md", "headlines.tex", "references.bib", "slopes/README.md"),
        *("index.html", "compare.html", "slopes/index.html"),
        *("assets/site.css", "assets/site.js", "assets/data/slopes-default.js"),
        *(f"slopes/default/{name}" for name in (*inside, *drawings)),
    }


def test_rendering_again_changes_no_byte(results):
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert render_results.main(["--results", str(results)]) == 0
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


def append(path):
    path.write_text(path.read_text(encoding="utf-8") + "one more word\n", encoding="utf-8")


def swap_figures(path):
    shutil.copy(path, path.with_name("loss" + path.suffix))


def other_curves(path):
    arrays = record.read_arrays(path)
    arrays["cost/loss"] = arrays["cost/loss"] + np.float32(1e-6)
    record.write_arrays(path, arrays)


def forge_verdict(path):
    edit(path, lambda r: r["results"]["claims"][0]["verdict"].update(verdict="inconclusive"))


def forge_number(path):
    def change(made):
        made["results"]["claims"][1]["verdict"]["parts"]["gaussian, k = 1"]["estimate"] += 0.001

    edit(path, change)


def make_dirty(path):
    edit(path, lambda r: r["provenance"].update(dirty=True))


@pytest.mark.parametrize(
    ("name", "damage", "fault"),
    [
        ("index.html", append, "index.html is not what the records give"),
        ("index.html", lambda path: path.unlink(), "index.html is missing"),
        ("slopes/index.html", append, "slopes/index.html is not what the records give"),
        ("assets/data/slopes-default.js", append, "slopes-default.js is not what the records give"),
        (
            "assets/data/slopes-default.js",
            lambda path: shutil.copy(path, path.with_name("slopes-old.js")),
            "assets/data/slopes-old.js is of no record",
        ),
        ("README.md", append, "README.md is not what the records give"),
        ("slopes/README.md", append, "slopes/README.md is not what the records give"),
        ("slopes/README.md", lambda path: path.unlink(), "slopes/README.md is missing"),
        ("headlines.tex", lambda path: path.write_bytes(b"\xff"), "headlines.tex is not what"),
        ("references.bib", append, "references.bib is not what"),
        ("slopes/default/table.csv", append, "table.csv is not what"),
        ("slopes/default/table.md", append, "table.md is not what"),
        ("slopes/default/table.tex", lambda path: path.unlink(), "table.tex is missing"),
        ("slopes/default/figures/error.svg", swap_figures, "loss.svg was drawn from other data"),
        ("slopes/default/figures/error.png", swap_figures, "loss.png was drawn from other data"),
        ("slopes/default/figures/error.png", lambda path: path.unlink(), "error.png is missing"),
        (
            "slopes/default/figures/cost.png",
            lambda path: shutil.copy(path, path.with_name("old.png")),
            "old.png is no figure of the record",
        ),
        ("slopes/default/curves.npz", other_curves, "the curves of cost are not those"),
        ("slopes/default/curves.npz", lambda path: path.unlink(), "curves.npz is missing"),
        (
            "slopes/default/record.json",
            forge_verdict,
            "claim T1 says inconclusive; judged again from its raw samples it is reproduced.",
        ),
        (
            "slopes/default/record.json",
            forge_number,
            "claim T2 says reproduced; judged again from its raw samples it is reproduced, "
            "with other numbers",
        ),
        ("slopes/default/record.json", make_dirty, "may not be published: it was made from code"),
    ],
)
def test_the_check_names_every_fault(results, capsys, name, damage, fault):
    damage(results / name)
    assert check(results) == 1
    assert fault in capsys.readouterr().err


def test_the_check_writes_nothing(results):
    append(results / "README.md")
    before = (results / "README.md").read_bytes()
    check(results)
    assert (results / "README.md").read_bytes() == before


def test_a_forged_record_is_not_mended_by_rendering(results):
    forge_verdict(results / "slopes" / "default" / "record.json")
    assert render_results.main(["--results", str(results)]) == 1


def test_rendering_mends_what_can_be_made_again(results):
    append(results / "README.md")
    figures = results / "slopes" / "default" / "figures"
    shutil.copy(figures / "error.svg", figures / "loss.svg")
    (figures / "error.png").rename(figures / "old.png")
    shutil.copy(results / "assets/data/slopes-default.js", results / "assets/data/slopes-old.js")
    assert render_results.main(["--results", str(results)]) == 0
    assert check(results) == 0


def test_a_stale_record_is_a_warning_and_a_mark_and_no_fault(results, monkeypatch, capsys):
    monkeypatch.setattr(golden, "RESULTS", results)
    write_golden(results, cost=2)
    assert check(results) == 0
    assert "warning: slopes/default is stale: cost changed behaviour" in capsys.readouterr().out
    paper = results / "slopes" / "README.md"
    assert "Stale" not in paper.read_text()
    assert render_results.main(["--results", str(results)]) == 0
    assert "> **Stale.** The behaviour of cost" in paper.read_text()
    for page in ("index.html", "slopes/index.html"):
        assert "<b>Stale.</b> The behaviour of cost" in (results / page).read_text()
    assert check(results) == 0


def test_the_projects_readme_gets_a_summary_between_its_marks(results, capsys):
    readme = results.parent / "README.md"
    readme.write_text("# Us\n\n<!-- results -->\nold\n<!-- end of results -->\n\nThe end.\n")
    assert check(results) == 1
    assert render_results.main(["--results", str(results)]) == 0
    text = readme.read_text()
    assert text.startswith("# Us\n\n<!-- results -->\n\n| Paper and its headline claim |")
    assert "](results/slopes/README.md) <sub>slopes</sub><br>A step takes little" in text
    assert text.endswith("\n<!-- end of results -->\n\nThe end.\n")
    assert "old" not in text.splitlines()
    assert check(results) == 0


def test_a_readme_without_marks_is_left_alone(results):
    readme = results.parent / "README.md"
    readme.write_text("# Us\n")
    assert render_results.main(["--results", str(results)]) == 0
    assert readme.read_text() == "# Us\n"


def test_no_records_are_no_fault(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    assert render_results.main(["--results", str(results)]) == 0
    assert check(results) == 0


def test_a_folder_that_is_not_there_is_not_made(tmp_path, capsys):
    results = tmp_path / "results"
    assert render_results.main(["--results", str(results)]) == 2
    assert check(results) == 2
    assert capsys.readouterr().err.count(f"error: There is no folder {results}") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_cannot_be_drawn_is_a_problem(results, capsys, monkeypatch):
    def fail(figure, directory):
        raise ValueError("no ink")

    monkeypatch.setattr(plot_queue.sys, "executable", "/nowhere/python")
    monkeypatch.setattr(plot_queue.plotting, "draw", fail)
    for path in results.rglob("*.svg"):
        path.unlink()
    assert render_results.main(["--results", str(results)]) == 2
    assert "could not be drawn (no ink): mend that, and render again" in capsys.readouterr().err


def unjudgeable(folder):
    def change(made):
        made["results"]["claims"][2]["evidence"]["parts"]["mlp"]["reference"].pop()

    edit(folder / "record.json", change)


@pytest.mark.parametrize(
    ("damage", "message", "left_out"),
    [
        (lambda folder: folder.rename(folder.with_name("moved")), "move it to that folder", True),
        (lambda folder: (folder / "record.json").write_text("{}"), "record version None", True),
        (lambda folder: (folder / "record.json").write_bytes(b"\xff"), "cannot be read as", True),
        (
            lambda folder: edit(folder / "record.json", lambda r: r.pop("about")),
            "not a valid",
            True,
        ),
        (lambda folder: (folder / "curves.npz").write_bytes(b"PK"), "cannot be read as", False),
        (unjudgeable, "claim T3 cannot be judged from its samples", False),
    ],
)
def test_what_is_damaged_is_named_in_a_sentence_and_the_rest_is_made(
    results, capsys, damage, message, left_out
):
    write_example(results / "slopes" / "full", "full")
    assert render_results.main(["--results", str(results)]) == 0
    capsys.readouterr()
    damage(results / "slopes" / "default")
    assert check(results) == 1
    first, *_ = capsys.readouterr().err.splitlines()
    assert message.casefold() in first.casefold()
    for path in (results / "README.md", results / "slopes" / "README.md", results / "index.html"):
        path.unlink()
    assert render_results.main(["--results", str(results)]) == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert err[0].startswith("fault: ")
    assert message.casefold() in err[0].casefold()
    for path in (results / "README.md", results / "slopes" / "README.md"):
        assert "slopes-preset-full" in path.read_text(encoding="utf-8")
        assert ("slopes-preset-default" in path.read_text(encoding="utf-8")) != left_out
    assert 'id="slopes-full"' in (results / "index.html").read_text(encoding="utf-8")


def test_golden_values_that_are_damaged_are_named_once_and_the_rest_is_made(
    results, monkeypatch, capsys
):
    monkeypatch.setattr(golden, "RESULTS", results)
    write_example(results / "slopes" / "full", "full")
    (results / "slopes" / "golden.json").write_text("[]")
    assert render_results.main(["--results", str(results)]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "golden.json cannot be read as golden values" in said
    assert "There are none yet." in (results / "README.md").read_text(encoding="utf-8")


def test_a_record_without_a_headline_is_named_and_no_fault(results, capsys):
    def unmark(made):
        for part in ("results", "measurements"):
            for entry in made[part]["claims"]:
                del entry["claim"]["headline"]

    edit(results / "slopes" / "default" / "record.json", unmark)
    assert render_results.main(["--results", str(results)]) == 0
    assert "warning: slopes/default has no headline" in capsys.readouterr().out
    assert "no claim is marked as a headline |" in (results / "README.md").read_text()
    assert check(results) == 0


def test_nothing_is_written_through_a_link(results, tmp_path, capsys):
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("mine")
    for name in ("slopes/README.md", "headlines.tex"):
        (results / name).unlink()
        (results / name).symlink_to(elsewhere)
        assert render_results.main(["--results", str(results)]) == 2
        assert "is a link, through which nothing is written" in capsys.readouterr().err
        (results / name).unlink()
    assert elsewhere.read_text() == "mine"


def test_a_record_made_on_an_accelerator_stands_beside_that_of_a_cpu(results, capsys):
    """It is named by the devices of its studies, wherever it was judged since."""
    made = results / "slopes" / "default-gpu"
    shutil.copytree(results / "slopes" / "default", made)
    assert check(results) == 1
    assert "move it to that folder" in capsys.readouterr().err

    def on_a_gpu(done):
        for code in done["provenance"]["code"].values():
            code["device"] |= {"platform": "gpu", "kind": "Difference Engine"}

    edit(made / "record.json", on_a_gpu)
    assert render_results.main(["--results", str(results)]) == 0
    assert check(results) == 0
    index = (results / "README.md").read_text(encoding="utf-8")
    assert '<a id="slopes-preset-default-gpu"></a>[slopes, preset default, GPU]' in index
    paper = (results / "slopes" / "README.md").read_text(encoding="utf-8")
    assert "\n### Preset default, GPU\n" in paper
    assert "Difference Engine" in paper.partition("## Other records")[2]
    page = (results / "slopes/index.html").read_text(encoding="utf-8")
    assert 'id="slopes-default-gpu"' in page
    assert "slopes, default, GPU" in page
    assert record.device(cite.named("slopes/default-gpu", results))["kind"] == "Difference Engine"
    assert record.device(cite.named("slopes", results))["kind"] == "cpu"

"""A saved view of a project: what W&B is sent, and one sentence for what keeps it from that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxtrends import results_view, tracking
from scripts import wandb_view
from tests import free_port
from tests.test_tracking import CLAIMS, KEY, RECORD
from tests.wandb_server import Protocol, Refusing, serving


@pytest.fixture
def server(monkeypatch):
    with serving(Protocol) as found:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{found.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield found


@pytest.mark.parametrize(("project", "entity"), [("jaxtrends", "me"), ("team/jaxtrends", "team")])
def test_the_view_shows_the_runs_as_a_table_of_results(
    server, capsys, monkeypatch, project, entity
):
    monkeypatch.setenv("WANDB_MODE", "offline")  # of the runs, and not meant for this
    assert wandb_view.main([project, "--name", "What held"]) == 0
    out = capsys.readouterr().out
    assert out == f"Saved: http://127.0.0.1:{server.server_port}/{entity}/jaxtrends?nw=table\n"
    ((_, sent),) = [query for query in server.asked if query[0] == "UpsertView2"]
    assert (sent["entityName"], sent["projectName"]) == (entity, "jaxtrends")
    assert (sent["displayName"], sent["type"]) == ("What held", "project-view")
    (runs,) = json.loads(sent["spec"])["section"]["runSets"]
    shown = ["run:displayName", *results_view.COLUMNS]
    assert runs["runFeed"]["columnOrder"] == shown
    assert runs["runFeed"]["columnPinned"] == dict.fromkeys(shown, True)
    (only,) = runs["filters"]["filters"]
    assert (only["key"], only["op"], only["value"]) == (
        {"section": "run", "name": "jobType"},
        "=",
        "claims",
    )
    assert [key["key"] for key in runs["sort"]["keys"]] == [
        {"section": "config", "name": "experiment"},
        {"section": "config", "name": "preset"},
    ]


def test_a_run_holds_every_column_of_the_view():
    run = tracking._claims_run("g", RECORD, Path("record.json"), CLAIMS, "It held.")
    held = {f"config:{name}" for name in run["config"]}
    held |= {f"summary:{name}" for name in run["summary"]}
    assert set(results_view.COLUMNS) <= held
    assert run["job_type"] == "claims"


def refused(capsys, project="jaxtrends"):
    """The one sentence that the command ends with."""
    assert wandb_view.main([project]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert KEY not in err
    return err


def test_a_project_that_is_not_there_is_named(server, capsys):
    assert "no project me/nowhere that you may see" in refused(capsys, "nowhere")
    assert all(name != "UpsertView2" for name, _ in server.asked)


@pytest.mark.parametrize("project", ["", "a/", "a/b/c"])
def test_what_is_no_name_of_a_project_asks_nobody(capsys, monkeypatch, project):
    monkeypatch.setattr(results_view.subprocess, "run", None)
    assert "PROJECT or ENTITY/PROJECT" in refused(capsys, project)


def test_the_package_may_be_missing(capsys, monkeypatch):
    monkeypatch.setattr(results_view.importlib.util, "find_spec", lambda name: None)
    assert "pip install wandb-workspaces" in refused(capsys)


def test_nobody_is_asked_for_an_account(capsys):
    assert "run wandb login" in refused(capsys)


@pytest.mark.parametrize("status", [401, 500])
def test_a_server_that_refuses_is_one_sentence(capsys, monkeypatch, status):
    monkeypatch.setattr(results_view, "SECONDS", 8.0)
    with serving(Refusing, status) as found:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{found.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        refused(capsys)


def test_a_server_out_of_reach_costs_a_bounded_wait(capsys, monkeypatch):
    monkeypatch.setattr(results_view, "SECONDS", 4.0)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with free_port.held() as port:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        assert "did not answer within 4 s" in refused(capsys)

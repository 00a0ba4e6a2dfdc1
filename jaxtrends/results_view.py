"""A saved view of a W&B project, in which its runs stand as a table of results.

It is made by the package wandb-workspaces, in a process of its own that is cut off from the
terminal, since W&B would ask there for an account and wait.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

from jaxtrends.errors import Problem

SECONDS = 60.0  # for all answers of the server together
COLUMNS = (
    *("config:experiment", "config:preset", "summary:headline/claim", "summary:headline/reported"),
    *("summary:headline/estimate", "summary:headline/low", "summary:headline/high"),
    *("summary:headline/verdict", "summary:answer", "summary:caveat"),
)
"""What the view shows of a run, in order: a part of `jaxtrends.tracking`'s config and summary."""


def save(project: str, name: str) -> str:
    """Save the view, beside those that there are, and return its address.

    Args:
        project: a project of the user's own, or ``ENTITY/PROJECT``.
        name:    what the view is called.

    Raises:
        Problem: the package is missing, W&B does not know the user or the project, or it does not
            answer.
    """
    entity, _, own = project.rpartition("/")
    if not own or "/" in entity:
        raise Problem(f"A project is called PROJECT or ENTITY/PROJECT, not {project!r:.80}.")
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise Problem(
            "The package wandb-workspaces is not installed: pip install wandb-workspaces."
        )
    environment = {key: text for key, text in os.environ.items() if key != "WANDB_MODE"}
    environment |= {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "jaxtrends.results_view", entity, own, name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Problem(f"W&B did not answer within {SECONDS:.0f} s: try again later.") from None
    lines = [line for line in (*done.stderr.splitlines(), *done.stdout.splitlines()) if line]
    try:
        answer = json.loads(lines[-1])
        problem, address = answer["problem"], answer["address"]
    except (LookupError, TypeError, ValueError):
        problem, address = f"The view was not saved ({(lines or ['no reason'])[-1]:.200}).", ""
    if problem:
        raise Problem(problem)
    return address


def _save(entity: str, project: str, name: str) -> dict[str, str]:
    """Save the view: its address, or the problem."""
    import wandb
    from wandb_workspaces import expr, workspaces

    try:
        api = wandb.Api(timeout=int(SECONDS / 4))
        entity = entity or api.default_entity or ""
    except wandb.errors.UsageError:
        return _problem("W&B has no account of yours on this machine: run wandb login first.")
    except wandb.errors.CommError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        return _problem(
            f"W&B does not let you in ({reason}): check the network, or run wandb login again."
        )
    try:
        _ = api.project(project, entity).id  # asks the server
    except ValueError:
        return _problem(
            f"W&B has no project {entity}/{project} that you may see: runs with --wandb online "
            "make the project jaxtrends."
        )
    view = workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        auto_generate_panels=True,
        runset_settings=workspaces.RunsetSettings(
            filters=[expr.Metric("JobType") == "claims"],
            order=[
                expr.Ordering(expr.Config("experiment"), ascending=True),
                expr.Ordering(expr.Config("preset"), ascending=True),
            ],
            pinned_columns=list(COLUMNS),
        ),
    )
    view.save()
    return {"problem": "", "address": view.url}


def _problem(sentence: str) -> dict[str, str]:
    return {"problem": sentence, "address": ""}


if __name__ == "__main__":
    print(json.dumps(_save(*sys.argv[1:])))

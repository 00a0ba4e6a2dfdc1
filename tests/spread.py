"""How the tests are spread over processes: file by file, and paper by paper where all are run.

xdist's own groups (``--dist=loadgroup``) would do; but xdist 3.8 writes them into an attribute that
pytest 9.2 reads no node id from, and each test goes anywhere.
"""

from __future__ import annotations

from typing import Any

PAPER_BY_PAPER = ("test_conformance.py", "test_fuzz.py")  # each test has a paper for its parameter


def scope_of(nodeid: str) -> str:
    """What one process takes as a whole: a file, whose fixtures it makes once, or a paper of it."""
    file, _, test = nodeid.partition("::")
    return f"{file}[{test.partition('[')[2]}" if file.endswith(PAPER_BY_PAPER) else file


def scheduler(config: Any, log: Any) -> Any:
    """A scheduler for ``--dist=loadfile`` that goes by `scope_of`; None for any other."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class PaperByPaper(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return PaperByPaper(config, log)

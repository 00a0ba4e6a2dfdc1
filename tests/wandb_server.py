"""As much of W&B's server as its client needs, keeping what it is sent."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROJECT = {
    **{"__typename": "Project", "id": "p", "name": "jaxtrends", "entityName": "me"},
    **{"createdAt": "2026-01-01", "isBenchmark": False, "user": None},
}


class Protocol(BaseHTTPRequestHandler):
    """As much of W&B's server as ``wandb sync`` needs, keeping what it is sent."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_PUT(self):
        self.read()
        self.answer({})

    def do_POST(self):
        body = self.read()
        if not self.path.endswith("graphql"):
            self.server.streams.append((self.path, body))
            return self.answer({})
        query = json.loads(body)
        asked = (
            query.get("operationName") or re.search(r"(?:query|mutation) (\w+)", query["query"])[1]
        )
        given = query.get("variables") or {}
        self.server.asked.append((asked, given))
        port = self.server.server_port
        answers = {
            "Viewer": {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}"}},
            "GetDefaultEntity": {"viewer": {"id": "u", "entity": "me"}},
            "GetProject": {"project": PROJECT if given.get("name") == "jaxtrends" else None},
            "UpsertView2": {"upsertView": {"view": {"id": "v", "name": "nw-table-v"}}},
            "UpsertBucket": {
                "upsertBucket": {
                    "bucket": {
                        "id": "r",
                        "name": given.get("name"),
                        "displayName": given.get("displayName"),
                        "project": {"id": "p", "name": "jaxtrends", "entity": {"name": "me"}},
                    },
                    "inserted": True,
                }
            },
            "CreateRunFiles": {
                "createRunFiles": {
                    "runID": "r",
                    "uploadHeaders": [],
                    "files": [
                        {"name": name, "uploadUrl": f"http://127.0.0.1:{port}/{name}"}
                        for name in given.get("files", [])
                    ],
                }
            },
        }
        self.answer({"data": answers.get(asked, {})})

    def read(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Refusing(Protocol):
    """It answers whatever it is asked with one status."""

    def do_POST(self):
        self.read()
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextlib.contextmanager
def serving(handler, status=200):
    """A server on a free port: ``streams`` has uploads, ``asked`` queries and their variables."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.status = True, status
    server.streams, server.asked = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()

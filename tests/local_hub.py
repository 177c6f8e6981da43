"""A hub of one dataset on this machine: what `huggingface_hub` and `datasets` ask of the real one, and no more."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789" * 4


class Hub(ThreadingHTTPServer):
    """Serves `files` (path -> bytes) as the dataset `name`."""

    daemon_threads = True

    def __init__(self, name, files):
        super().__init__(("127.0.0.1", 0), Answer)
        self.name, self.files = name, files

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        api, page = f"/api/datasets/{self.server.name}", f"/datasets/{self.server.name}/resolve/"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            self.reply(json.dumps({"id": self.server.name, "sha": COMMIT, "siblings": []}).encode())
        elif path.startswith(f"{api}/revision/"):
            self.reply(status=404, X_Error_Code="RevisionNotFound")
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            self.reply(json.dumps(self.entries(path.removeprefix(f"{api}/tree/{COMMIT}").strip("/"))).encode())
        elif path.startswith(page):
            content = self.server.files.get(path.removeprefix(page).partition("/")[2])
            if content is None:
                self.reply(status=404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
            else:
                self.reply(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=COMMIT)
        else:
            self.reply(status=404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET

    def entries(self, folder):
        above = f"{folder}/" if folder else ""
        below = {p.removeprefix(above): c for p, c in self.server.files.items() if p.startswith(above)}
        folders = {p.partition("/")[0] for p in below if "/" in p}
        files = [
            {"type": "file", "path": above + p, "size": len(c), "oid": "0"} for p, c in below.items() if "/" not in p
        ]
        return [*files, *({"type": "directory", "path": above + p, "oid": "0"} for p in folders)]

    def reply(self, body=b"", status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def local_hub(name, files):
    """The running server."""
    with Hub(name, files) as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()

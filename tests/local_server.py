"""A file server on this machine, which can cut connections, redirect, and refuse ranges."""

import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class LocalServer(ThreadingHTTPServer):
    """Serves `files`, name to bytes; `requests` lists what was requested."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}  # name to name
        self.requests: list[tuple[str, str | None]] = []  # of GET: name, Range
        self.ranges = True
        self.cut: int | None = None  # bytes after which the next response breaks off

    def handle_error(self, request, client_address):
        """A client that closes its connection early is no error of the server."""

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.respond(body=False)

    def do_GET(self):
        self.respond(body=True)

    def respond(self, body):
        server, name = self.server, self.path[1:]
        wanted = self.headers["Range"]
        if body:
            server.requests.append((name, wanted))
        if name in server.moved:
            self.send_response(302)
            self.send_header("Location", server.url(server.moved[name]))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if name not in server.files:
            return self.send_error(404)
        content = server.files[name]
        tag, start = f'"{hash(content)}"', 0
        if wanted and server.ranges and self.headers["If-Range"] in (None, tag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", tag)
        self.send_header("Connection", "close")
        self.send_header("X-Repo-Commit", "0" * 40)  # the Hub's
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            content = content[start:]
            if server.cut is not None:
                content, server.cut = content[: server.cut], None
            self.wfile.write(content)
        self.close_connection = True


@contextmanager
def serve():
    """A running LocalServer."""
    with LocalServer() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()

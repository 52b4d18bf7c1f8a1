"""A server of files on this machine, with the manners and the vices of those out there."""

import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class LocalServer(ThreadingHTTPServer):
    """Serves `files`, name to bytes; what it was asked for is in `asked`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}  # name to name
        self.asked: list[tuple[str, str | None]] = []  # name, Range
        self.ranges = True
        self.tags = True
        self.lengths = True
        self.cut: int | None = None  # bytes after which the next answer breaks off

    def handle_error(self, request, client_address):
        """A client that goes away early is no error of the server."""

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server, name = self.server, self.path[1:]
        wanted = self.headers["Range"]
        server.asked.append((name, wanted))
        if name in server.moved:
            self.send_response(302)
            self.send_header("Location", server.url(server.moved[name]))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if name not in server.files:
            return self.send_error(404)
        content = server.files[name]
        tag = f'"{hash(content)}"'
        start = 0
        if wanted and server.ranges and self.headers["If-Range"] in (None, tag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.tags:
            self.send_header("ETag", tag)
        body = content[start:]
        whole = len(body)
        if server.cut is not None:
            body, server.cut = body[: server.cut], None
        if server.lengths:
            self.send_header("Content-Length", str(whole))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            if len(body) == whole:
                self.wfile.write(b"0\r\n\r\n")
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

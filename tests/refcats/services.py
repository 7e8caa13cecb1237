"""Services of the network, played by a server of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

Answer = Callable[[dict[str, str]], tuple[int, bytes]]
"""Parameters of a request -> status and body."""

OFFLINE = "http://127.0.0.1:9/"
"""An address at which nobody answers."""


class Service:
    """A server, and what it was asked.

    Parameters
    ----------
    answer
        Called for each request; may be exchanged while the server runs.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[dict[str, str]] = []
        self.url = ""


@contextmanager
def serving(answer: Answer) -> Iterator[Service]:
    """Run a server on the loopback address for as long as the block lasts."""
    service = Service(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(urlsplit(self.path).query)

        def do_POST(self) -> None:
            # VizieR is sent its parameters one on a line.
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._reply("&".join(body.splitlines()))

        def _reply(self, query: str) -> None:
            asked = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
            service.asked.append(asked)
            status, content = service.answer(asked)
            with suppress(ConnectionError):  # who asked may have given up
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep the terminal clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        service.url = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()

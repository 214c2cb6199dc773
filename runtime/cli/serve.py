"""recblr-serve: answer HTTP requests from a bundle."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from recblr.cli.common import Command, require_extra, version_option
from recblr.cli.parameters import THREADS
from recblr.errors import RecblrError
from recblr.runtime.backends.base import BackendName
from recblr.runtime.batching.settings import Batching
from recblr.runtime.cli.batching_options import batching_options
from recblr.runtime.cli.engine_options import BACKEND_OPTION, DEVICE_OPTION, ENGINE_OPTION

if TYPE_CHECKING:
    from recblr.runtime import Engine

_GRACE_SECONDS = 30


@click.command(cls=Command)
@ENGINE_OPTION
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 for any free one.",
)
@click.option("--threads", type=THREADS, default=1, show_default=True, help="CPU threads for one batch.")
@DEVICE_OPTION
@BACKEND_OPTION
@batching_options
@version_option
def main(
    engine: Path,
    host: str,
    port: int,
    threads: int,
    device: Literal["cpu", "cuda"],
    backend: BackendName,
    **batching: Any,
) -> None:
    """Serve a bundle's recommendations over HTTP.

    POST /v1/recommend answers, GET /v2/health/ready tells when, and GET /docs shows the whole API. SIGTERM or
    Ctrl-C ends it, once requests under way are answered.
    """
    require_extra("recblr-serve", "serve", "fastapi", "uvicorn", "swagger_ui_bundle")
    from recblr.runtime import load

    listener = _bind(host, port)  # before the engine loads, so that a wrong port shows at once
    with listener, load(engine, threads, device, batching=Batching(**batching), backend=backend) as loaded:
        _serve(loaded, listener)


def _serve(engine: Engine, listener: socket.socket) -> None:
    """Answer until a signal.

    Raises:
        RecblrError: it did not begin to.
        OSError: nothing can be printed.
    """
    import uvicorn

    from recblr.runtime.server.app import create_app

    url = _url(listener)
    greeting = f"Serving {engine.n_items:,} items at {url} (API page: {url}/docs), {engine.description}"

    class Server(uvicorn.Server):
        silenced: OSError | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                try:
                    click.echo(greeting)
                except OSError as error:  # of which uvicorn would print a traceback
                    self.silenced, self.should_exit = error, True

    server = Server(
        uvicorn.Config(
            create_app(engine),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    # Uvicorn raises the signal again at its end, for the handlers of before: with these the status is 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    server.run(sockets=[listener])
    if server.silenced is not None:
        raise server.silenced
    if not server.started:
        raise RecblrError("the server did not start: see the messages above")


def _bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address.

    Raises:
        RecblrError: no such address, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise RecblrError(f"cannot listen on {host or repr(host)}: {error}; check --host") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # a second process that tries the port from here on is told
    except OSError as error:
        listener.close()
        raise RecblrError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


if __name__ == "__main__":
    main()

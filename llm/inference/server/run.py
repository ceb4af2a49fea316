"""The server as a program: it listens, says where, and ends cleanly at Ctrl-C."""

from __future__ import annotations

import logging
import os
import socket
from types import FrameType
from typing import Any

import uvicorn

from llm.console import say
from llm.inference.model_choice import LoadedModel
from llm.inference.sampling import Sampling
from llm.inference.server.app import create_app
from llm.inference.server.connections import ImpatientProtocol
from llm.inference.server.guard import is_loopback
from llm.inference.server.options import API_KEY_VARIABLE, ServerOptions
from llm.inference.server.service import Service

ENDING_SECONDS = 5  # for answers that are being sent when the server ends


class Server(uvicorn.Server):
    """Ends the texts that are being written as soon as it is asked to end, so that nobody waits for them."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.service.worker.close()


def serve(loaded: LoadedModel, sampling: Sampling, options: ServerOptions) -> int:
    """Answer requests until Ctrl-C; returns the exit status. `sampling`: where a request does not say how.

    Raises OSError if the address cannot be listened on.
    """
    listener = listen(options.host, options.port)
    api_key = options.api_key or os.environ.get(API_KEY_VARIABLE) or None
    service = Service(loaded, sampling, options)
    announce(service, listener, api_key)
    logging.getLogger("llm").addHandler(logging.StreamHandler())
    try:
        Server(configuration(service, api_key), service).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn sends the signal again after it has ended
        pass
    finally:
        service.close()
    say("ended")
    return 0


def configuration(service: Service, api_key: str | None, **others: Any) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service, api_key),
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",  # `serve` closes the service, also where a second Ctrl-C makes uvicorn leave in the middle
        log_level="error",  # its warnings are about requests of clients
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=ENDING_SECONDS,
        **others,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address. Raises OSError with a sentence."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise OSError(f"cannot listen at {host} port {port} ({reason}); choose others with --host and --port") from None


def announce(service: Service, listener: socket.socket, api_key: str | None) -> None:
    host, port = listener.getsockname()[:2]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    say(f"{service.name} answers at http://{place}/ and http://{place}/v1; Ctrl-C ends it")
    asked = service.options.context
    if asked is not None and asked > service.context:
        say(f"the model reads at most {service.context:,} tokens, so --context {asked} is {service.context}")
    if not is_loopback(host) and api_key is None:
        say("everybody who can reach this address can use it; --api-key limits that, and --host 127.0.0.1")

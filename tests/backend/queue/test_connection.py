"""A Redis with a password, and one behind TLS: real servers, the password never shown."""

import socket
import ssl
import subprocess
import threading
from contextlib import closing, suppress

import pytest
import trustme

from backend.errors import QueueUnavailableError
from backend.queue.connection import connect
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from tests.support.processes import eventually, free_port
from tests.support.tasks import request_of, task

pytestmark = pytest.mark.process

PASSWORD = "hush"


@pytest.fixture
def redis_port():
    """Port of a Redis that asks for a password."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "", "--logfile", ""]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as server:
        eventually(lambda: is_open(port), 30)
        yield port
        server.terminate()


def is_open(port):
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def tls(redis_port):
    """A TLS server in front of it, since the binary at hand has none built in: its port and its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener, context, redis_port), daemon=True).start()
        yield listener.getsockname()[1], authority


def accept(listener, context, port):
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=relay, args=(client, context, port), daemon=True).start()


def relay(client, context, port):
    """Both ways in one thread, as an SSL socket asks for."""
    with (
        suppress(OSError),
        client,
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(client, server_side=True) as secure,
    ):
        secure.settimeout(0.02)
        plain.settimeout(0.02)
        while True:
            for source, target in ((secure, plain), (plain, secure)):
                with suppress(TimeoutError):
                    if not (data := source.recv(65536)):
                        return
                    target.sendall(data)


def submitted(settings):
    with closing(connect(settings)) as connection:
        shared = SharedState.over(connection, settings)
        shared.jobs.submit([request_of(task(1, "left"), settings)], Priority.BATCH)
        return shared.backlog.depths()["batch"]["waiting"]


def test_a_password(configure, redis_port):
    assert submitted(configure(REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{redis_port}/0")) == 1


@pytest.mark.parametrize("credentials", ["", ":hush-hush@"])
def test_a_wrong_password_is_said_and_not_shown(configure, redis_port, credentials):
    with pytest.raises(QueueUnavailableError, match="Authentication") as caught:
        connect(configure(REDIS_URL=f"redis://{credentials}127.0.0.1:{redis_port}/0"))
    assert "hush" not in str(caught.value)


def test_tls(configure, tls, tmp_path):
    port, authority = tls
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    url = f"rediss://:{PASSWORD}@localhost:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
    assert submitted(configure(REDIS_URL=url)) == 1


def test_a_certificate_of_nobody_known_is_refused(configure, tls):
    with pytest.raises(QueueUnavailableError, match="REDIS_URL") as caught:
        connect(configure(REDIS_URL=f"rediss://:{PASSWORD}@localhost:{tls[0]}/0"))
    assert "hush" not in str(caught.value)

"""Joining a cluster: one sentence, soon, where there is none."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from raymaskdp.distributed.connect import require_answer
from raymaskdp.errors import UserError


@pytest.fixture
def listening() -> Iterator[Callable[[bytes | None], int]]:
    """Starts a server that answers everyone with some bytes, or never; gives its port."""
    sockets: list[socket.socket] = []

    def start(answer: bytes | None) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                sockets.append(peer)
                if answer is not None:
                    peer.recv(1000)
                    peer.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for one in sockets:
        one.close()


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:8265", "https://head", "head", "head:port", "head:99999", "a b:1", "/tmp/x:1"],
)
def test_what_is_no_address_is_said_at_once(address: str) -> None:
    with pytest.raises(UserError, match="HOST:PORT"):
        require_answer(address, f"address={address}")


def test_nobody_and_others_who_listen_are_said(
    listening: Callable[[bytes | None], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymaskdp.distributed.connect.ANSWER_S", 1.0)
    for answer in (None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b""):
        with pytest.raises(UserError, match="another server listens there"):
            require_answer(f"127.0.0.1:{listening(answer)}", "RAY_ADDRESS=x")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=r"No Ray cluster responds at RAY_ADDRESS=x.*refused"):
        require_answer(f"127.0.0.1:{port}", "RAY_ADDRESS=x")


def test_who_speaks_grpc_is_one_and_a_proxy_is_none() -> None:
    """Some networks answer for every address, with HTTP/2, so that Ray would wait for half a minute."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    require_answer(f"127.0.0.1:{port}", "RAY_ADDRESS=x")
    server.stop(None)

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        threading.Thread(target=not_found, args=(proxy,), daemon=True).start()
        for scheme in ("", "ray://"):
            with pytest.raises(UserError, match="another server listens there"):
                require_answer(f"{scheme}127.0.0.1:{proxy.getsockname()[1]}", "RAY_ADDRESS=x")


def not_found(proxy: socket.socket) -> None:
    """Answers as HTTP/2 does: its settings, then "404" (entry 13 of HPACK's table) to the first question."""
    while True:
        try:
            peer, _ = proxy.accept()
        except OSError:
            return
        with peer:
            while heard := peer.recv(4096):
                if heard.startswith(b"PRI"):
                    peer.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]))
                if b"Health" in heard:
                    peer.sendall(bytes([0, 0, 1, 1, 5, 0, 0, 0, 1, 0x8D]))


MUCH_SOONER_S = 200.0
"""However busy the machine is, the commands end long before Ray would."""


@pytest.mark.slow
@pytest.mark.parametrize("answer", [None, "nobody"])
def test_nobody_is_waited_for_for_long(
    listening: Callable[[bytes | None], int], answer: bytes | str | None
) -> None:
    """Neither for a port that is closed nor for a server that never says a word. Ray waits for 901 s."""
    port = 1 if answer == "nobody" else listening(None)
    began = time.monotonic()
    with pytest.raises(UserError):
        require_answer(f"127.0.0.1:{port}", "RAY_ADDRESS=x")
    assert time.monotonic() - began < MUCH_SOONER_S


@pytest.mark.slow
@pytest.mark.parametrize("named", ["RAY_ADDRESS", "address"])
@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "10.255.255.1:6379", "ray://10.255.255.1:10001", "http://127.0.0.1:8265"]
)
def test_a_command_says_so_in_a_sentence(address: str, named: str, tmp_path: Path) -> None:
    """Ray waits for 901 seconds; also for an address that leads nowhere, or to a proxy."""
    (tmp_path / "x.mp4").write_bytes(b"no video")
    command = [sys.executable, "-m", "raymaskdp", "anonymize", tmp_path / "x.mp4", "--out", tmp_path / "out"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    if named == "RAY_ADDRESS":
        environment[named] = address
    else:
        command.append(f"{named}={address}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=MUCH_SOONER_S, env=environment)
    assert done.returncode == 2
    assert f"{named}={address}" in done.stderr
    assert "Traceback" not in done.stderr
    said = [
        line for line in done.stderr.splitlines() if line and "video/s" not in line and "0/1 [" not in line
    ]
    assert len(said) == 1, done.stderr


@pytest.mark.slow
@pytest.mark.cluster
def test_a_cluster_that_runs_is_found(ray_session: None) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    require_answer(address, "address")
    require_answer(f"ray://{address}", "address")

"""Is it ready? Small questions to the servers, each with a deadline of its own."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

_TIMEOUT_S = 2.0
_MAX_ANSWER = 64 * 1024


async def http_ok(port: int, path: str, host: str = "127.0.0.1") -> bool:
    """Whether `GET path` answers 200."""
    answer = await _get(port, path, host)
    return answer.split(b" ", 2)[1:2] == [b"200"]


async def http_json(port: int, path: str, host: str = "127.0.0.1") -> dict[str, Any] | None:
    """The object that `GET path` answers with, whatever its status; None when there is none."""
    try:
        found = json.loads((await _get(port, path, host)).partition(b"\r\n\r\n")[2])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


async def _get(port: int, path: str, host: str) -> bytes:
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    return await _ask(host, port, request.encode())


async def redis_ok(port: int, password: str) -> bool:
    """Whether the server lets us in, has read its data and answers PING."""
    return b"+PONG" in await _ask("127.0.0.1", port, f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())


async def sip_ok(port: int, host: str = "127.0.0.1") -> bool:
    """Whether OPTIONS is answered with 200."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Answer(answer), remote_addr=(host, port))
    try:
        local = transport.get_extra_info("sockname")[1]
        transport.sendto(_options(host, port, local))
        async with asyncio.timeout(_TIMEOUT_S):
            return (await answer).startswith(b"SIP/2.0 200")
    except (TimeoutError, OSError):
        return False
    finally:
        transport.close()


def _options(host: str, port: int, local: int) -> bytes:
    lines = (
        f"OPTIONS sip:{host}:{port} SIP/2.0",
        f"Via: SIP/2.0/UDP {host}:{local};branch=z9hG4bK-ready-{local};rport",
        "Max-Forwards: 70",
        f"From: <sip:ready@{host}:{local}>;tag={local}",
        f"To: <sip:{host}:{port}>",
        f"Call-ID: ready-{local}@{host}",
        "CSeq: 1 OPTIONS",
        f"Contact: <sip:ready@{host}:{local}>",
        "Content-Length: 0",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self._answer = answer

    def datagram_received(self, data: bytes, _addr: object) -> None:
        if not self._answer.done() and not data.startswith(b"SIP/2.0 1"):
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


async def _ask(host: str, port: int, request: bytes) -> bytes:
    """What the server says until it closes; nothing when it cannot be reached in time."""
    try:
        async with asyncio.timeout(_TIMEOUT_S), _connection(host, port) as (reader, writer):
            writer.write(request)
            await writer.drain()
            answer = b""
            while len(answer) < _MAX_ANSWER and (more := await reader.read(_MAX_ANSWER)):
                answer += more
            return answer
    except (OSError, TimeoutError):
        return b""


@contextlib.asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()

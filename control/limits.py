"""Bodies of requests beyond one MiB are refused before they are held in memory."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control.errors import TooLarge, answer

MAX_BYTES = 1024 * 1024
DROP_BYTES = 16 * MAX_BYTES
DROP_S = 5.0
_MESSAGE = "The body is larger than 1 MiB."


class BodyLimit:
    """Counts what comes, whatever the request says of its length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _announced(scope) > MAX_BYTES:
            await _drop_rest(receive, more=True)
            await answer(413, _MESSAGE, {"Connection": "close"})(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BYTES:
                await _drop_rest(receive, more=message.get("more_body", False))
                raise TooLarge(_MESSAGE)
            return message

        await self._app(scope, counted, send)


async def _drop_rest(receive: Receive, *, more: bool) -> None:
    """Reads on for a while: a client that is still sending would lose the answer with its connection."""
    dropped = 0
    try:
        async with asyncio.timeout(DROP_S):
            while more and dropped < DROP_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        return


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0

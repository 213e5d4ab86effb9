"""A task that was cancelled ends, whatever it was waiting for."""

import asyncio
from collections.abc import Iterable

from redis.asyncio.connection import AbstractConnection


def cancellations() -> int:
    """How often the running task was asked to end: more than before a call means that the call must not go on."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


class _Cancellable(AbstractConnection):
    """Ends a command whose task was cancelled while it was sent.

    redis-py sends within `asyncio.wait_for`, which in Python 3.11 forgets a cancellation that comes in the very
    step in which the sending ends (python/cpython#86296): the task would go on as if nobody had ended it.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        before = cancellations()
        await super().send_packed_command(command, check_health=check_health)
        if cancellations() > before:
            # The answer will come, and nobody waits for it.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError


def cancellable(connection: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same kind of connection (TCP, TLS, socket), but one that never loses a cancellation."""
    return type(f"Cancellable{connection.__name__}", (_Cancellable, connection), {})

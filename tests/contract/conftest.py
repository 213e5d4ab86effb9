"""Servers that contract tests share by name; each test that asks for one has its own."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.livekit_server import LiveKitServer, livekit_server
from tests.redis_server import RedisServer, redis_server


@pytest_asyncio.fixture
async def livekit() -> AsyncIterator[LiveKitServer]:
    async with livekit_server() as server:
        yield server


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server

"""The models servers as processes, for tests that ask them over HTTP."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from local.ports import free_port

READY_S = 20.0


@asynccontextmanager
async def running(module: str) -> AsyncIterator[str]:
    """`python -m module` on a free port; its URL once /health answers. Ended afterwards."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(READY_S):
            await _healthy(url, process)
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(10):
            await process.wait()


async def _healthy(url: str, process: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession() as http:
        while process.returncode is None:
            try:
                async with http.get(url + "/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(f"the process ended with status {process.returncode}")

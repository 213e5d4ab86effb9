"""A call that is over leaves no room behind."""

import pytest
from aiohttp import web
from livekit import api

from agent import call
from local.ports import free_port

KEY = "a-key-of-the-test"


@pytest.mark.parametrize(
    ("statuses", "asked"),
    [([200], 1), ([503, 503, 200], 3), ([404], 1)],
    ids=["at once", "when the server is back", "gone already"],
)
async def test_a_room_is_asked_to_go_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, statuses: list[int], asked: int
) -> None:
    monkeypatch.setattr(call, "DELETE_PAUSE_S", 0.01)
    rooms: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        rooms.append(request.path)
        status = statuses.pop(0)
        if status == 200:
            return web.Response(content_type="application/protobuf")
        code = "not_found" if status == 404 else "unavailable"
        return web.json_response({"code": code, "msg": "no"}, status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with api.LiveKitAPI(f"http://127.0.0.1:{port}", KEY, KEY * 3) as server:
            await call.delete_room(server.room, "room")
    finally:
        await runner.cleanup()
    assert len(rooms) == asked


async def test_a_server_that_stays_away_is_asked_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "DELETE_PAUSE_S", 0.01)
    monkeypatch.setattr(call, "DELETE_FOR_S", 0.1)
    async with api.LiveKitAPI(f"http://127.0.0.1:{free_port()}", KEY, KEY * 3) as server:
        await call.delete_room(server.room, "room")

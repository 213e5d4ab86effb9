"""A caller's leg into a room of a real LiveKit server."""

import asyncio

from livekit import api

from local.phone.attributes import Parties
from local.phone.leg import Leg
from local.phone.media import Bridge
from local.phone.rtp import RtpPort
from switchboard.settings import Settings
from tests.livekit_server import LiveKitServer, livekit_server
from tests.promises import promise


async def _is_there(server: LiveKitServer, leg: Leg) -> bool:
    async with server.client() as client:
        found = await client.room.list_participants(api.ListParticipantsRequest(room=leg.room_name))
    return bool(found.participants)


@promise("phone.sip.cancel")
async def test_a_join_that_is_no_longer_wanted_ends_with_nobody_in_the_room() -> None:
    async with livekit_server() as server:
        leg = Leg(Settings(_env_file=None, **server.environment()), Parties("1", "2", "localhost"), {})  # type: ignore[arg-type]
        bridge = Bridge(RtpPort(lambda *_: None, lambda _: None), leg.source)
        joining = asyncio.create_task(leg.join(bridge, lambda: None))
        while not await _is_there(server, leg):
            assert not joining.done()
        joining.cancel()
        await asyncio.wait([joining])
        await leg.leave()
        assert not await _is_there(server, leg)

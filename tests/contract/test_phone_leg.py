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
from tests.room_guest import guests


def _leg(server: LiveKitServer) -> Leg:
    settings = Settings(_env_file=None, **server.environment())  # type: ignore[arg-type]
    return Leg(settings, Parties("1", "2", "localhost"), {}, Bridge(RtpPort(lambda *_: None, lambda _: None)))


async def _is_there(server: LiveKitServer, leg: Leg) -> bool:
    async with server.client() as client:
        found = await client.room.list_participants(api.ListParticipantsRequest(room=leg.room_name))
    return bool(found.participants)


@promise("phone.sip.cancel")
async def test_a_join_that_is_no_longer_wanted_ends_with_nobody_in_the_room() -> None:
    async with livekit_server() as server:
        leg = _leg(server)
        joining = asyncio.create_task(leg.join(lambda: None))
        while not await _is_there(server, leg):
            assert not joining.done()
        joining.cancel()
        await asyncio.wait([joining])
        await leg.leave()
        assert not await _is_there(server, leg)


@promise("phone.bye")
async def test_who_hangs_up_takes_their_sound_back_and_stays_until_the_others_have_too() -> None:
    async with livekit_server() as server, guests(server) as party:
        leg = _leg(server)
        await leg.join(lambda: None)
        await leg.heard.wait()
        await leg.hang_up()
        async with server.client() as client:
            found = await client.room.list_participants(api.ListParticipantsRequest(room=leg.room_name))
        await leg.leave()
        assert {one.identity: len(one.tracks) for one in found.participants} == {leg.identity: 0, "agent-guest": 0}
        assert (await party.first()).statuses[-1] == "hangup"

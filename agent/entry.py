"""What the library calls in a job process: once before it has a call, and then with its call.

The worker itself imports this too, and none of what a call needs: that is loaded where job processes are forked from.
"""

from livekit.agents import JobContext, JobProcess

from agent import ticket
from switchboard import logs
from switchboard.settings import Settings


def prepare(_process: JobProcess) -> None:
    from switchboard import media_stack

    settings = Settings.read()
    logs.configure("agent", level=settings.log_level, json=settings.log_json)
    media_stack.mute_log(settings.log_level)
    ticket.default_persona()


async def answer(ctx: JobContext) -> None:
    from agent import join

    await join.answer(ctx)

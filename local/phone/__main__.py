"""`python -m local.phone`: the SIP line of one machine, until it is interrupted."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys

import structlog

from local.phone.health import serve_health
from local.phone.line import Line
from switchboard import logs, media_stack
from switchboard.settings import Settings, SettingsError

PRIORITY = -10
SWEEP_S = 5.0


async def sweep() -> None:
    """Collects garbage here and nowhere else.

    A collection may release handles of livekit's library. On one of the library's own threads, where an automatic
    one may happen to run, that can lock up the process or abort it.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    while True:
        await asyncio.sleep(SWEEP_S)
        gc.collect()


async def serve(settings: Settings) -> None:
    """Runs line and health until SIGINT or SIGTERM. Raises OSError when a port is taken."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Line(settings) as line, asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(sweep())
        runner = await serve_health(line, settings)
        # Not before: a process that ends for a port that is taken has no native part, which could abort it.
        media_stack.mute_log(settings.log_level)
        try:
            api = runner.addresses[0]
            structlog.get_logger().info(
                "phone line is ready",
                sip=f"{line.address[0]}:{line.address[1]}",
                health=f"http://{api[0]}:{api[1]}/health",
            )
            await stop.wait()
        finally:
            await runner.cleanup()
            sweeping.cancel()


def main() -> int:
    try:
        settings = Settings.read()
        settings.need("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure("phone", level=settings.log_level, json=settings.log_json)
    # They write a line for each broken packet; the line counts them.
    for library in ("aiosipua", "aiortp"):
        logging.getLogger(library).setLevel(logging.ERROR)
    # Late audio is broken audio: where the system allows it, the line goes before everything else.
    with contextlib.suppress(OSError):
        os.nice(PRIORITY)
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        taken = f"SIP_PORT {settings.sip_port} or SIP_API_PORT {settings.sip_api_port} on {settings.sip_host}"
        print(f"{taken} cannot be opened ({error.strerror}): free it, or set another one.", file=sys.stderr)
        return 2
    finish()
    return 0


def finish() -> None:
    """Ends the process at once: livekit's native threads abort one that is being taken down in the usual way."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

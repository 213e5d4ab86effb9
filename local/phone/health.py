"""HTTP beside the line: whether it takes calls."""

from aiohttp import web

from local.phone.line import Line
from switchboard.settings import Settings


async def serve_health(line: Line, settings: Settings) -> web.AppRunner:
    """Serves GET /health on `sip_api_port`. The caller cleans the runner up. Raises OSError when it is taken."""

    async def health(_request: web.Request) -> web.Response:
        return web.json_response(
            {"status": "ok", "sip_port": line.address[1], "calls": line.calls, "dropped": line.dropped}
        )

    app = web.Application()
    app.router.add_get("/health", health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.sip_host, settings.sip_api_port).start()
    return runner

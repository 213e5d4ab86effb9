"""A slash at the end of an address changes nothing."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TrailingSlash:
    """Serves `/calls/` as `/calls`, without a redirect, behind which some clients leave the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and len(path) > 1 and path.endswith("/"):
            scope = {**scope, "path": path[:-1], "raw_path": scope.get("raw_path", b"").removesuffix(b"/")}
        await self._app(scope, receive, send)

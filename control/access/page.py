"""The page behind a sign-in link. Looking at it changes nothing, so that previews of links use none up."""

import base64
import hashlib
import re
from pathlib import Path

HTML = (Path(__file__).parent / "sign_in.html").read_text(encoding="utf-8")


def _source(element: str) -> str:
    """The page's one script or style as a source of its content security policy."""
    text = re.findall(rf"<{element}>(.*?)</{element}>", HTML, re.DOTALL)[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source('script')}",
            f"style-src {_source('style')}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

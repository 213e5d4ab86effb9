"""A server that speaks S3's protocol on loopback; what is put lies in a folder, for a test to look at."""

import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from localbucket import S3Handler

from local.ports import free_port

_SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class _Handler(S3Handler):
    """With DeleteObjects, which the server lacks."""

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _post_request(self, bucket: str, key: str) -> None:
        if "delete" not in self.query:
            super()._post_request(bucket, key)
            return
        answer = ET.Element("DeleteResult")
        for name in ET.fromstring(self._read_body()).iter(f"{_SPACE}Key"):  # noqa: S314 (our own client's)
            (self.data_root / bucket / str(name.text)).unlink(missing_ok=True)
            ET.SubElement(ET.SubElement(answer, "Deleted"), "Key").text = name.text
        body = ET.tostring(answer)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@dataclass
class S3Server:
    folder: Path
    port: int

    @property
    def settings(self) -> dict[str, str]:
        """What has recordings lie there."""
        return {
            "SWITCHBOARD_RECORDINGS_S3_BUCKET": "calls",
            "SWITCHBOARD_RECORDINGS_S3_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "SWITCHBOARD_RECORDINGS_S3_KEY": "key-of-tests",
            "SWITCHBOARD_RECORDINGS_S3_SECRET": "secret-of-tests",
        }

    def names(self) -> list[str]:
        bucket = self.folder / "calls"
        return sorted(path.relative_to(bucket).as_posix() for path in bucket.rglob("*") if path.is_file())

    @contextmanager
    def running(self) -> Iterator[None]:
        (self.folder / "calls").mkdir(exist_ok=True)
        handler = type("_Here", (_Handler,), {"data_root": self.folder})
        server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def s3_server(folder: Path) -> S3Server:
    """One with an empty bucket that is not running yet."""
    return S3Server(folder, free_port())

"""Where recordings are kept: files below SWITCHBOARD_HOME, or a bucket of S3 or of a service with its protocol."""

import asyncio
import contextlib
import io
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

import av
import numpy as np
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from switchboard.recordings import FRAME_BYTES, RATE, Piece
from switchboard.settings import Settings, SettingsError

FOLDER = "recordings"
# One request, and all tries of one: longer than a piece of a minute takes on a slow line.
REQUEST_S = 15.0
GIVE_UP_S = 20.0
_DELETED_AT_ONCE = 500
_MARKS = "installations"


class StoreAway(Exception):
    """What keeps recordings cannot be reached or does not work now; the text says what it said."""


class NoSuchPiece(Exception):
    """The piece is not there (any more)."""


class DamagedPiece(Exception):
    """The piece is there, and is no sound; the text says what is wrong with it."""


class Kept(NamedTuple):
    """What is there of a recording: when the newest was put, where it ends, and its size there."""

    put_at: datetime
    until: datetime
    bytes: int

    def and_also(self, other: Self) -> Self:
        return self._replace(
            put_at=max(self.put_at, other.put_at),
            until=max(self.until, other.until),
            bytes=self.bytes + other.bytes,
        )


class RecordingStore:
    """Pieces of recordings. All methods raise `StoreAway`."""

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        """`folder`: where the store's files lie, when it is one of files."""
        self._store = store
        self._folder = folder

    @classmethod
    def of(cls, settings: Settings) -> "RecordingStore":
        """The one that the settings name. Raises `SettingsError` for settings that do not go together."""
        if settings.recordings_bucket:
            return cls(_bucket(settings))
        for name, value in _of_a_bucket(settings).items():
            if value:
                raise SettingsError(f"{name} is set without SWITCHBOARD_RECORDINGS_S3_BUCKET: name the bucket.")
        folder = settings.home.absolute() / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(LocalStore(folder, automatic_cleanup=True, mkdir=True), folder)
        except (OSError, BaseError) as error:
            raise SettingsError(
                f"{folder} cannot be made for recordings ({_line(error)}): see to its rights."
            ) from None

    async def put(self, piece: Piece, sound: bytes) -> int:
        """Keeps a piece, whole or not at all, and the same again in its place; how many bytes it takes there."""
        data = await asyncio.to_thread(packed, sound)
        with _named():
            await obstore.put_async(self._store, piece.key, data)
            if self._folder is not None:
                (self._folder / piece.key).chmod(0o600)
        return len(data)

    async def pieces(self, recording: UUID) -> list[Piece]:
        """What is there of a recording, in the order of time."""
        return sorted([piece async for piece, _kept in self._listed(f"{recording}/")])

    async def read(self, piece: Piece) -> bytes:
        """The sound of a piece. Raises `NoSuchPiece` and `DamagedPiece`."""
        try:
            with _named():
                answer = await obstore.get_async(self._store, piece.key)
                data = bytes(await answer.bytes_async())
        except FileNotFoundError:
            raise NoSuchPiece(piece.key) from None
        return await asyncio.to_thread(unpacked, data, piece.samples)

    async def erase(self, recording: UUID) -> int:
        """Deletes all that is there of a recording; how many pieces that were."""
        pieces = await self.pieces(recording)
        for at in range(0, len(pieces), _DELETED_AT_ONCE):
            # Somebody else may delete the same.
            with _named(), contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, [one.key for one in pieces[at : at + _DELETED_AT_ONCE]])
        if self._folder is not None:
            # Also what was left half written.
            await asyncio.to_thread(shutil.rmtree, self._folder / str(recording), ignore_errors=True)
        return len(pieces)

    async def recordings(self) -> dict[UUID, Kept]:
        """All recordings of which something is there."""
        found: dict[UUID, Kept] = {}
        async for piece, one in self._listed(None):
            before = found.get(piece.recording)
            found[piece.recording] = one if before is None else before.and_also(one)
        return found

    async def mark(self, installation: UUID) -> None:
        """Leaves word that this installation keeps recordings here."""
        key = f"{_MARKS}/{installation}"
        with _named():
            await obstore.put_async(self._store, key, b"Switchboard keeps recordings here.\n")
            if self._folder is not None:
                (self._folder / key).chmod(0o600)

    async def marks(self) -> set[UUID]:
        """All installations that have kept recordings here."""
        found = set()
        with _named():
            async for some in obstore.list(self._store, f"{_MARKS}/"):
                for meta in some:
                    with contextlib.suppress(ValueError):
                        found.add(UUID(meta["path"].rpartition("/")[2]))
        return found

    async def _listed(self, prefix: str | None) -> AsyncIterator[tuple[Piece, Kept]]:
        with _named():
            async for some in obstore.list(self._store, prefix):
                for meta in some:
                    piece = Piece.of(meta["path"])
                    if piece is not None:
                        yield piece, Kept(meta["last_modified"], piece.end, meta["size"])


def _of_a_bucket(settings: Settings) -> dict[str, str]:
    return {
        "SWITCHBOARD_RECORDINGS_S3_ENDPOINT": settings.recordings_endpoint,
        "SWITCHBOARD_RECORDINGS_S3_KEY": settings.recordings_key.get_secret_value(),
        "SWITCHBOARD_RECORDINGS_S3_SECRET": settings.recordings_secret.get_secret_value(),
    }


def _bucket(settings: Settings) -> S3Store:
    key, secret = settings.recordings_key.get_secret_value(), settings.recordings_secret.get_secret_value()
    if bool(key) != bool(secret):
        missing = "SECRET" if key else "KEY"
        raise SettingsError(f"SWITCHBOARD_RECORDINGS_S3_{missing} is not set: key and secret go together.")
    given = {"access_key_id": key, "secret_access_key": secret, "endpoint": settings.recordings_endpoint}
    try:
        return S3Store(
            settings.recordings_bucket,
            region=settings.recordings_region,
            client_options={
                "allow_http": settings.recordings_endpoint.startswith("http://"),
                "timeout": timedelta(seconds=REQUEST_S),
                "connect_timeout": timedelta(seconds=5),
            },
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=GIVE_UP_S)},
            **{name: value for name, value in given.items() if value},  # type: ignore[arg-type]
        )
    except BaseError as error:
        raise SettingsError(f"SWITCHBOARD_RECORDINGS_S3_BUCKET: {_line(error)}: mend its settings.") from None


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Gives what goes wrong with a store its one name; that something is not there is no such fault."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError, TimeoutError) as error:
        raise StoreAway(_line(error)) from None


def _line(error: BaseException) -> str:
    """The first line of what a store said: the others are details of requests."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def packed(sound: bytes) -> bytes:
    """16-bit stereo at 16 kHz as FLAC: nothing is lost, in about a third of the room."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.frombuffer(sound, "<i2").reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = RATE, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()


def unpacked(data: bytes, samples: int) -> bytes:
    """The sound in FLAC, of this length whatever is in there. Raises `DamagedPiece`."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            sound = b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in container.decode(audio=0))
    except (av.FFmpegError, ValueError) as error:
        raise DamagedPiece(_line(error)) from None
    return sound[: samples * FRAME_BYTES].ljust(samples * FRAME_BYTES, b"\0")

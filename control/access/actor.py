"""Who asks: a user by a key or a browser session, or one of the installation's own processes."""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from control.errors import Forbidden


class Role(IntEnum):
    """What somebody may; each role may what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> "Role":
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `role` is None for the installation's own processes, which are nobody's.

    `user_id` is the user who signed in, or the owner of the key. `session_id` is there for a browser session alone.
    `may_listen`: to recordings, whatever the role.
    """

    name: str
    role: Role | None
    user_id: UUID | None = None
    may_listen: bool = False
    session_id: UUID | None = None

    @property
    def owner(self) -> UUID:
        """Whose what this actor makes is. Raises `Forbidden` for the installation's own processes."""
        if self.user_id is None:
            raise Forbidden("The internal token is nobody's; use an API key.")
        return self.user_id

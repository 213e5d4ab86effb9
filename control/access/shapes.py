"""What the routes of users, sessions and the audit log take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from control.access.actor import Actor
from control.access.links import Link
from control.access.sessions import Session
from control.access.trail import Entry
from control.access.users import Change, NewUser, User
from control.fields import Text

RoleWord = Literal["viewer", "operator", "admin"]
Handle = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$",
        description="A short name or an e-mail address, kept in small letters.",
        examples=["ann", "ann@example.com"],
    ),
    AfterValidator(str.lower),
]
Name = Annotated[Text, Field(min_length=1, max_length=100)]


class UserIn(BaseModel):
    """Without `name` the handle is the name."""

    model_config = ConfigDict(extra="forbid")

    handle: Handle
    name: Name | None = None
    role: RoleWord
    may_listen: bool = Field(False, description="May listen to recordings, whatever the role.")

    def new(self) -> NewUser:
        return NewUser(self.handle, self.name or self.handle, self.role, self.may_listen)


class UserChange(BaseModel):
    """What is left out, or null, stays as it is."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    role: RoleWord | None = None
    may_listen: bool | None = None

    def change(self) -> Change:
        return Change(self.name, self.role, self.may_listen)


class UserOut(BaseModel):
    """`joined_at` is null while somebody is invited and has not come."""

    id: UUID
    handle: str
    name: str
    role: RoleWord
    may_listen: bool
    created_at: datetime
    created_by: str
    joined_at: datetime | None
    signed_in_at: datetime | None

    @classmethod
    def of(cls, user: User) -> Self:
        return cls.model_validate(user, from_attributes=True)


class UserPage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    users: list[UserOut]
    next: str | None


class LinkOut(BaseModel):
    """Shown this once. `link` is for a browser; `token` is what POST /sign-in takes."""

    link: str
    token: str
    expires_at: datetime

    @classmethod
    def of(cls, link: Link, base: str) -> Self:
        return cls(link=link.at(base), token=link.token, expires_at=link.expires_at)


class InviteOut(LinkOut):
    user: UserOut


class SignIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(max_length=200, description="What stands behind the # of a sign-in link.")]


class SignedIn(BaseModel):
    """The session is in the cookie. `csrf_token` goes into `X-CSRFToken` with every change."""

    user: UserOut
    csrf_token: str
    expires_at: datetime


class Me(BaseModel):
    """`role` and `may_listen` are what counts for this request: a key may have less than its owner.

    `csrf_token` is null for a key, which needs none.
    """

    user: UserOut
    actor: str
    via: Literal["api_key", "session"]
    role: RoleWord
    may_listen: bool
    csrf_token: str | None


class SessionOut(BaseModel):
    """`browser` is what the browser calls itself; `current` is the session that asks."""

    id: UUID
    user_id: UUID
    browser: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool

    @classmethod
    def of(cls, session: Session, actor: Actor) -> Self:
        return cls(
            id=session.id,
            user_id=session.user_id,
            browser=session.browser,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.expires_at,
            current=session.id == actor.session_id,
        )


class Sessions(BaseModel):
    browser_sessions: list[SessionOut]


class EntryOut(BaseModel):
    """One change. `user_id` is null for what no user did."""

    id: int
    at: datetime
    actor: str
    user_id: UUID | None
    action: str
    subject: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls.model_validate(entry, from_attributes=True)


class AuditPage(BaseModel):
    """`next` is the cursor of the following page; null on the last one."""

    audit: list[EntryOut]
    next: int | None

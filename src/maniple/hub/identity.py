"""Who a token belongs to."""

from __future__ import annotations

from typing import Protocol

import msgspec


class User(msgspec.Struct, frozen=True):
    """Somebody whom tasks and algorithms belong to.

    Attributes:
        uuid: never changes; stands in topics and messages.
        name: for people.
        is_guest: has no account.
    """

    uuid: str
    name: str
    is_guest: bool = False


class Identity(Protocol):
    """Knows the users."""

    def user(self, token: str) -> User | None:
        """Tell whose token that is (empty: none was given); None: it is refused."""
        ...


LOCAL_USER = User("6c6f6361-6c00-4000-8000-000000000001", "local")


class Everyone:
    """Of a loop-back hub: whoever reaches it is the local user."""

    def user(self, token: str) -> User | None:  # noqa: ARG002 - any will do
        """Tell that it is the local user."""
        return LOCAL_USER

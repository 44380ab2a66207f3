"""The sources of answers: the account of a running daemon, or one that a command reads."""

from __future__ import annotations

import sqlite3
from typing import Protocol, TypeVar

from oci_registry.account.account import Account
from oci_registry.account.borrowed import BorrowedAccount
from oci_registry.account.database import AccountOff
from oci_registry.account.queries import Query
from oci_registry.management.problems import NotReady

T = TypeVar("T")


class Index(Protocol):
    """Answers questions to the account of a store. All coroutines may raise `NotReady` and `StoreError`."""

    async def ask(self, query: Query[T]) -> T:
        """Return what *query* finds."""

    async def flush(self) -> None:
        """Wait until all changes of this process until now are in the index."""

    async def catch_up(self, *, entirely: bool = False) -> None:
        """Wait until the changes of others are in the index, if that takes little time.

        *entirely*: wait longer; raise `NotReady` if it takes minutes.
        """

    @property
    def is_shared(self) -> bool:
        """Whether other processes change the store too, without immediate notice."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that is stored is known."""

    @property
    def counts_pulls(self) -> bool:
        """Whether it is known how often images were pulled."""


class DaemonIndex:
    """The account of this daemon; None: it has none."""

    is_shared = False

    def __init__(self, account: Account | None) -> None:
        self._account = account

    async def ask(self, query: Query[T]) -> T:
        """Return what *query* finds."""
        if self._account is None:
            raise NotReady("this daemon keeps no index of its store")
        try:
            return await self._account.ask(query)
        except AccountOff as error:
            raise NotReady(f"the index of the store cannot be used at present: {error}") from None

    async def flush(self) -> None:
        """Wait until everything that has changed until now is known."""
        if self._account is not None:
            await self._account.flush()

    async def catch_up(self, *, entirely: bool = False) -> None:
        """Wait until everything that has changed until now is known."""
        await self.flush()

    @property
    def is_whole(self) -> bool:
        """Whether everything that is stored is known."""
        return self._account is not None and self._account.is_complete

    @property
    def counts_pulls(self) -> bool:
        """Whether it is known how often images were pulled."""
        return True


class CommandIndex:
    """The account that a command reads, in its own thread."""

    is_shared = False

    def __init__(self, account: BorrowedAccount) -> None:
        self._account = account

    async def ask(self, query: Query[T]) -> T:
        """Return what *query* finds."""
        try:
            return self._account.ask(query)
        except sqlite3.Error as error:
            raise NotReady(f"the store cannot be indexed: {error}") from None

    async def flush(self) -> None:
        """Do nothing: changed keys are read before each question."""

    async def catch_up(self, *, entirely: bool = False) -> None:
        """Do nothing: the index was made for this command."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that is stored is known."""
        return True

    @property
    def counts_pulls(self) -> bool:
        """Whether it is known how often images were pulled."""
        return self._account.counts_pulls

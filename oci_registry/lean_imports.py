"""Defers work of the start: modules, and the TLS library."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import RLock
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import twisted

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:
    # The import system asks for the methods only, and importlib.abc imports much.
    Loader = MetaPathFinder = object

LATER = frozenset(
    (
        "asyncio",
        "bz2",
        "calendar",
        "decimal",
        "difflib",
        "email.message",
        "hashlib",
        "hmac",
        "html",
        "http",
        "http.cookiejar",
        "locale",
        "lzma",
        "pdb",
        "prometheus_client",
        "sqlite3",
        "ssl",
        "tempfile",
        "twisted.python.zippath",
        "twisted.spread.pb",
        "twisted.web.util",
        "zipfile",
    )
)
"""Modules that our imports import, but that a daemon does not need at first, or never."""

_TLS = "OpenSSL"
# Endpoint types without TLS, and HOST:PORT, where the first part is not a type.
_PLAIN = re.compile(
    r"(?:haproxy:)?(?:tcp6?|unix|systemd|fd|localhost):.*|[^A-Za-z][^:]*(?::\d+)?|\[.*|:\d+"
)


def all_plain(places: Iterable[str]) -> bool:
    """Whether no endpoint, as operators write them, may need TLS."""
    return all(_PLAIN.fullmatch(place) for text in places for place in text.split())


@contextmanager
def without_tls() -> Iterator[None]:
    """Exclude OpenSSL from imports in this context, unless it is imported already.

    Twisted works without it, but its reactor cannot listen or connect with TLS then. This saves 13 MiB
    and a fifth of the start in a daemon that never uses TLS. Afterwards it can be imported for
    connections with TLS on top of a transport, as in `upstream.tls`.
    """
    if _TLS in sys.modules:
        yield
        return
    # This makes the import of a module fail.
    modules: dict[str, Any] = sys.modules
    modules[_TLS] = None
    try:
        yield
    finally:
        del modules[_TLS]


def elsewhere(part: str) -> Callable[[str, str], object]:
    """Return what finds a name in a *part* of the package, which is then not executed for it."""
    return lambda package, name: getattr(import_module(f"{package}.{part}"), name)


def called(module: str, name: str) -> object:
    """Return a function that calls what has that name in the module, which is executed then."""

    def call(*args: Any, **kwargs: Any) -> Any:
        found = import_module(module)
        if isinstance(found, _Later):
            # It may be called while names are still provided.
            _execute(found)
        return getattr(found, name)(*args, **kwargs)

    return call


def empty_base(_: str, name: str) -> object:
    """Return a class without anything, in place of a base class whose methods nobody calls."""
    return type(name, (), {})


Provided = Mapping[str, Mapping[str, Callable[[str, str], object]]]
"""For names of modules, the function that makes a replacement; it takes the module and the name."""

NAMES: Provided = MappingProxyType(
    {
        # For annotations alone, except the last.
        "asyncio": {
            "AbstractEventLoop": called,
            "Future": called,
            "iscoroutine": elsewhere("coroutines"),
        },
        "email.message": {"EmailMessage": called, "Message": called},
        "hashlib": {"md5": called, "sha1": called},
        "html": {"escape": called},
        "twisted.python.zippath": {"ZipArchive": called},
        # A request of Twisted could be copied to another process with it.
        "twisted.spread.pb": {"Copyable": empty_base, "ViewPoint": called},
    }
)
"""Names that Twisted imports from such modules, and their replacements while it is imported.

Twisted only calls them later, or inherits from them without using what it inherits.
"""

_TESTED = ("25", "26")
"""The major versions of Twisted that `NAMES` was tested with."""


def names_for(version: str) -> Provided:
    """Return `NAMES` if it was tested with this version of Twisted; otherwise nothing is replaced."""
    return NAMES if version.partition(".")[0] in _TESTED else {}


class _Later(ModuleType):
    """A module that is executed at the first access to an attribute that it does not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__"):
            # Attributes that the import system reads of every module.
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        for finder in sys.meta_path:
            if isinstance(finder, _LaterFinder):
                provide = finder.provided.get(self.__name__, {}).get(name)
                if provide is not None:
                    return provide(self.__name__, name)
        if hasattr(self, "__path__") and find_spec(f"{self.__name__}.{name}") is not None:
            # The import of a submodule need not execute its package.
            return import_module(f"{self.__name__}.{name}")
        _execute(self)
        return ModuleType.__getattribute__(self, name)


def _execute(module: _Later) -> None:
    """Execute a module, unless that has been done."""
    loader: Any = module.__loader__
    loader.execute(module)


class _LaterLoader(Loader):
    """Makes a `_Later` for a module, which *loader* executes."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = RLock()
        self._begun = False

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing yet."""

    def execute(self, module: ModuleType) -> None:
        """Execute the module once, in the first thread that needs it; others wait."""
        with self._lock:
            if self._begun:
                return
            self._begun = True
            try:
                self._loader.exec_module(module)
            except BaseException:
                self._begun = False
                raise
            # Without `__getattr__`, it is as fast as any other module.
            module.__class__ = ModuleType


class _LaterFinder(MetaPathFinder):
    """Finds the modules that are executed later."""

    def __init__(self, names: Set[str], provided: Provided) -> None:
        self._names = names
        self.provided = provided

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._names:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, _LaterFinder):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _LaterLoader(spec.loader)
                return spec
        return None


@contextmanager
def executing_later(names: Set[str] = LATER, provided: Provided | None = None) -> Iterator[None]:
    """Defer the execution of some modules that are imported in this context until they are first used.

    That is when ``module.name`` is evaluated, or ``from module import name`` is executed, at any time.
    In this context, an import of a name in *provided* does not execute the module; None: `names_for` the
    installed version of Twisted.
    """
    finder = _LaterFinder(names, names_for(twisted.__version__) if provided is None else provided)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _WithoutGenerated(dict[str, Any]):
    """A cache of `linecache` that keeps nothing of what attrs generates."""

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return what attrs wants to add, as if it was there."""
        if key.startswith("<attrs generated"):
            return default
        return super().setdefault(key, default)


@contextmanager
def without_generated_sources() -> Iterator[None]:
    """Do not keep the source of the methods that attrs generates meanwhile.

    attrs keeps it for tracebacks, in which these lines are then empty. It is nearly a MiB.
    """
    before = linecache.cache
    linecache.cache = _WithoutGenerated(before)
    try:
        yield
    finally:
        linecache.cache = before

"""The upstream file: a YAML list, one entry for each remote registry."""

from __future__ import annotations

import os
from collections.abc import Callable

from oci_registry.config.credentials import make_credentials
from oci_registry.config.documents import Entry, Scalar, read_entries, word
from oci_registry.config.files import check_certificates, read_file
from oci_registry.config.findings import Findings, nearest
from oci_registry.config.names import parse_namespace, parse_registry_host
from oci_registry.config.settings import (
    DEFAULT_INVALIDATION_TIME,
    Credentials,
    HostSettings,
    UpstreamSettings,
)
from oci_registry.spec.durations import parse_duration

_Parser = Callable[[str], str]

#: Every key an entry may have.
KEYS = (
    "namespace",
    "host",
    "tls",
    "accept_invalid_certs",
    "ca_file",
    "user_agent",
    "username",
    "password",
    "password_file",
    "manifest_invalidation_time",
    "blob_invalidation_time",
)


def load_upstreams(path: str, findings: Findings) -> tuple[UpstreamSettings, ...]:
    """The upstreams configured in the file at ``path``, in its order.

    Files named in it are relative to its directory; passwords are read from theirs at once.
    Everything that is wrong becomes a problem that names the file, the entry, the line and the
    key; an entry with a problem may be left out.
    """
    try:
        content = read_file(path)
    except ValueError as error:
        findings.problem(path or "the upstream configuration file", error)
        return ()
    known = len(findings.problems)
    entries = read_entries(content.data, path, findings)
    if not entries and len(findings.problems) == known:
        findings.warning(path, "holds no upstream")
    if content.exposed and any(_has(entry, "password") for entry in entries):
        findings.warning(
            path,
            f"holds a password and is open to others than its owner (mode {content.mode:04o}): "
            "use password_file, or chmod 600",
        )
    upstreams: dict[str, UpstreamSettings] = {}
    first: dict[str, int] = {}
    for entry in entries:
        reader = _EntryReader(entry, path, findings)
        upstream = reader.read()
        if upstream is None:
            continue
        if upstream.namespace in upstreams:
            reader.problem(
                "namespace",
                f"{upstream.namespace} is configured twice, first in line "
                f"{first[upstream.namespace]} (names of one registry count as one)",
            )
            continue
        upstreams[upstream.namespace] = upstream
        first[upstream.namespace] = entry.line
    return tuple(upstreams.values())


def _has(entry: Entry, key: str) -> bool:
    return key in entry.fields and not entry.fields[key].unset


class _EntryReader:
    """Turns one entry into settings and complains about everything in it."""

    def __init__(self, entry: Entry, path: str, findings: Findings) -> None:
        self._entry = entry
        self._path = path
        self._findings = findings
        self._name = ""

    def problem(self, key: str, reason: object, line: int | None = None) -> None:
        """A problem of the value at ``key``."""
        if line is None:
            scalar = self._entry.fields.get(key)
            line = self._entry.line if scalar is None else scalar.line
        self._findings.problem(
            f"{self._path}: entry {self._entry.number}{self._name}, line {line}: {key}",
            reason,
        )

    def read(self) -> UpstreamSettings | None:
        """The upstream; ``None`` if not even its namespace and host are known."""
        namespace = self._parsed("namespace", parse_namespace)
        if namespace is not None:
            self._name = f" ({namespace})"
        for key, scalar in self._entry.fields.items():
            if key not in KEYS:
                self.problem(word(key), f"unknown key; {nearest(key, KEYS)}", scalar.line)
        host = self._parsed("host", parse_registry_host)
        tls = self._boolean("tls", default=True)
        accept_invalid_certs = self._boolean("accept_invalid_certs", default=False)
        ca_file = self._ca_file()
        user_agent = self._user_agent()
        credentials = self._credentials()
        manifest_time = self._duration("manifest_invalidation_time")
        blob_time = self._duration("blob_invalidation_time")
        if namespace is None or host is None:
            return None
        return UpstreamSettings(
            namespace=namespace,
            hosts=(
                HostSettings(
                    host,
                    tls=tls,
                    accept_invalid_certs=accept_invalid_certs,
                    ca_file=ca_file,
                    credentials=credentials,
                ),
            ),
            user_agent=user_agent,
            manifest_invalidation_time=manifest_time,
            blob_invalidation_time=blob_time,
        )

    def _given(self, key: str) -> Scalar | None:
        scalar = self._entry.fields.get(key)
        return None if scalar is None or scalar.unset else scalar

    def _text(self, key: str) -> str | None:
        scalar = self._given(key)
        if scalar is None:
            return None
        if not isinstance(scalar.value, str):
            quotes = "" if scalar.kind in ("a list", "a mapping") else ": put it into quotes"
            self.problem(key, f"must be text, not {scalar.kind}{quotes}")
            return None
        if not scalar.value:
            self.problem(key, "is empty")
            return None
        return scalar.value

    def _parsed(self, key: str, parse: _Parser) -> str | None:
        """A required value that ``parse`` understands."""
        if self._given(key) is None:
            self.problem(key, "is required")
            return None
        text = self._text(key)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.problem(key, error)
            return None

    def _boolean(self, key: str, *, default: bool) -> bool:
        scalar = self._given(key)
        if scalar is None:
            return default
        if not isinstance(scalar.value, bool):
            self.problem(key, f"must be true or false, not {scalar.kind}")
            return default
        return scalar.value

    def _duration(self, key: str) -> float:
        scalar = self._given(key)
        if scalar is None:
            return DEFAULT_INVALIDATION_TIME
        if isinstance(scalar.value, bool) or not isinstance(scalar.value, str | int):
            self.problem(key, f"must be a duration such as 14d, not {scalar.kind}")
            return DEFAULT_INVALIDATION_TIME
        try:
            return parse_duration(scalar.value)
        except ValueError as error:
            self.problem(key, error)
            return DEFAULT_INVALIDATION_TIME

    def _user_agent(self) -> str | None:
        text = self._text("user_agent")
        if text is not None and not (text.isascii() and text.isprintable()):
            # It goes into a header as it is.
            self.problem("user_agent", "must be printable ASCII on one line")
            return None
        return text

    def _resolve(self, name: str) -> str:
        return os.path.join(os.path.dirname(os.path.abspath(self._path)), name)

    def _ca_file(self) -> str | None:
        name = self._text("ca_file")
        if name is None:
            return None
        path = self._resolve(name)
        try:
            check_certificates(path)
        except ValueError as error:
            self.problem("ca_file", f"{path} {error}")
            return None
        return path

    def _credentials(self) -> Credentials | None:
        username = self._text("username")
        password = self._password()
        if self._given("username") is None:
            for key in ("password", "password_file"):
                if self._given(key) is not None:
                    self.problem(key, "is of no use without username")
            return None
        if self._given("password") is None and self._given("password_file") is None:
            self.problem("username", "is of no use without password or password_file")
            return None
        if username is None or password is None:
            return None
        try:
            return make_credentials(username, password)
        except ValueError as error:
            self.problem("username", error)
            return None

    def _password(self) -> str | None:
        text = self._text("password")
        name = self._text("password_file")
        if self._given("password") is not None and self._given("password_file") is not None:
            self.problem("password_file", "is given together with password: keep one of them")
            return None
        if name is None:
            return text
        path = self._resolve(name)
        try:
            password = read_file(path).data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            self.problem("password_file", f"{path} is not UTF-8")
            return None
        except ValueError as error:
            self.problem("password_file", f"{path} {error}")
            return None
        if not password:
            self.problem("password_file", f"{path} is empty")
            return None
        return password

"""Why a place cannot be listened at, in words that say what to do."""

from __future__ import annotations

import errno
import os

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.listen import parse_listen
from oci_registry.config.refusals import explain_refusal


class Refusals(SynchronousTestCase):
    """One place each."""

    def explain(self, place: str, code: int, flag: str = "--listen") -> str:
        cause = OSError(code, os.strerror(code))
        return explain_refusal(CannotListenError("", 0, cause), parse_listen(place), flag)

    def test_in_use(self) -> None:
        """A port in use is named with the flag, another one, and what make takes."""
        for place, shown, other in (
            ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8081"),
            ("8080", "0.0.0.0:8080", "0.0.0.0:8081"),
            (":80", "0.0.0.0:80", "0.0.0.0:8080"),
            ("[::1]:8080", "[::1]:8080", "[::1]:8081"),
            ("127.0.0.1:65535", "127.0.0.1:65535", "127.0.0.1:65534"),
            ("ssl:8443:privateKey=k:certKey=c", "0.0.0.0:8443", "0.0.0.0:8444"),
        ):
            self.assertEqual(
                f"{shown} is in use: choose another address, such as --listen {other} "
                f"(make run LISTEN={other})",
                self.explain(place, errno.EADDRINUSE),
            )
        self.assertEqual(
            "127.0.0.1:9090 is in use: choose another address, such as "
            "--admin-listen 127.0.0.1:9091",
            self.explain("127.0.0.1:9090", errno.EADDRINUSE, "--admin-listen"),
        )

    def test_privileged(self) -> None:
        """A port that takes rights is reported with everything that helps."""
        text = self.explain("0.0.0.0:80", errno.EACCES)
        for words in (
            "0.0.0.0:80: this user may not use ports below 1024",
            "--listen 0.0.0.0:8080",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE",
            "--cap-add NET_BIND_SERVICE",
            "sysctl net.ipv4.ip_unprivileged_port_start=80",
        ):
            self.assertIn(words, text)
        self.assertEqual(
            "cannot listen at 0.0.0.0:8080 (--listen): Permission denied",
            self.explain("8080", errno.EACCES),
        )

    def test_not_here(self) -> None:
        """An address of another machine is reported as such."""
        for place, everywhere in (("192.0.2.1:8080", "0.0.0.0"), ("[2001:db8::1]:8080", "[::]")):
            self.assertEqual(
                f"{place} is not an address of this machine: choose one that is, or all of them "
                f"with --listen {everywhere}:8080",
                self.explain(place, errno.EADDRNOTAVAIL),
            )

    def test_unix(self) -> None:
        """A socket is named by its path."""
        self.assertEqual(
            "cannot listen at unix:/no/where (--listen): No such file or directory",
            self.explain("unix:/no/where", errno.ENOENT),
        )
        taken = CannotListenError(None, "/run/x", "Cannot acquire lock")  # type: ignore[arg-type]
        self.assertEqual(
            "unix:/run/x is in use: choose another path with --listen",
            explain_refusal(taken, "unix:/run/x", "--listen"),
        )

    def test_anything_else(self) -> None:
        """What nothing more can be said of has the system's reason."""
        self.assertEqual(
            "cannot listen at systemd:index=0 (--listen): Bad file descriptor",
            explain_refusal(OSError(9, "Bad file descriptor"), "systemd:index=0", "--listen"),
        )

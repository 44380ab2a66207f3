"""Hundreds of upstreams, each with a certificate authority of its own, cost little."""

from __future__ import annotations

from tests.support.certificates import Certified
from tests.support.daemon import reactor, running, until
from tests.support.process import DaemonProcess, ProcessTestCase

MIB = 1024 * 1024
UPSTREAMS = 500
ALLOWED = 10 * MIB
"""By how much the authorities may make the process larger."""
SLOWER = 5.0
"""Seconds of the processor that a start may take longer for them."""


class ManyAuthorities(ProcessTestCase):
    """The real daemon as a process, with a large upstream file."""

    timeout = 120

    async def cost(self, line: str) -> tuple[int, float]:
        """Return the bytes of memory and the seconds of CPU that a start with so many upstreams takes."""
        lines = "".join(line.format(number=number) for number in range(UPSTREAMS))
        # What both of them have imported is no part of the difference.
        daemon = DaemonProcess(reactor, self.root, f"{lines}\n", forked=True)
        self.addCleanup(daemon.end)
        await daemon.listening
        await until(lambda: b"storing in" in daemon.output)
        seconds = daemon.cpu()
        memory = daemon.memory("VmHWM")
        await daemon.kill("TERM")
        return memory, seconds

    @running
    async def test_start(self) -> None:
        """500 authorities, no two of them the same, cost less than 10 MiB and hardly any time."""
        for number in range(UPSTREAMS):
            authority = Certified(f"authority {number}").certificate
            (self.folder / f"{number}.pem").write_bytes(authority)
        start = "- {{namespace: r{number}.test, host: r{number}.test"
        # One for all of them: TLS itself is not loaded where there is none.
        one, each = (f"{self.folder.absolute()}/{name}.pem" for name in ("0", "{number}"))
        with_one = await self.cost(f'{start}, ca_file: "{one}"}}}}\n')
        memory, seconds = await self.cost(f'{start}, ca_file: "{each}"}}}}\n')
        grown = memory - with_one[0]
        self.assertLess(grown, ALLOWED, f"{grown / MIB:.1f} MiB")
        self.assertLess(seconds - with_one[1], SLOWER)

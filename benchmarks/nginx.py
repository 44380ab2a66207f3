"""nginx as the limit: static files by sendfile for hits, an unverified ``proxy_cache`` for misses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from attrs import frozen

from benchmarks.contenders import MANIFEST, Upstream
from benchmarks.processes import Cores
from benchmarks.servers import Server, free_port, running
from oci_registry.spec.mediatypes import OCI_MANIFEST

PROGRAM = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
"""nginx, if it is installed."""

_PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def config(work: Path, port: int, location: str) -> str:
    """Return a configuration with one worker and an access log."""
    paths = "".join(f"  {name}_temp_path {work}/{name};\n" for name in _PATHS)
    return f"""\
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 4096; }}
http {{
{paths}  access_log {work}/access.log;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 300;
  keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=300s;
  default_type {OCI_MANIFEST};
  proxy_cache_path {work}/cache levels=1:2 keys_zone=cache:8m max_size=100g use_temp_path=off;
  server {{
    listen 127.0.0.1:{port};
    location = /v2/ {{ return 200 "{{}}"; }}
    location / {{
{location}
    }}
  }}
}}
"""


def proxying(upstream: Upstream) -> str:
    """Return the directives for a cache that fetches once what many want."""
    lines = [
        f"proxy_pass {upstream.url};",
        "proxy_http_version 1.1;",
        "proxy_cache cache;",
        "proxy_cache_valid 200 1h;",
        "proxy_cache_lock on;",
        "proxy_cache_lock_age 1h;",
        "proxy_cache_lock_timeout 1h;",
    ]
    if upstream.authority:
        lines += [
            "proxy_ssl_name localhost;",
            "proxy_ssl_verify on;",
            f"proxy_ssl_trusted_certificate {upstream.authority};",
        ]
    return "\n".join(f"      {line}" for line in lines)


@frozen
class Nginx:
    """nginx with one worker."""

    name: str
    cores: Cores
    program: str

    @contextmanager
    def _run(self, work: Path, location: str) -> Iterator[Server]:
        port = free_port()
        (work / "nginx.conf").write_text(config(work, port, location))
        with running(
            self.name,
            [self.program, "-p", str(work), "-c", str(work / "nginx.conf")],
            port,
            cores=self.cores.servers,
            log=work / "log",
        ) as server:
            yield server

    @contextmanager
    def serving(self, work: Path, upstream: Upstream) -> Iterator[Server]:
        """Run it with files that are named as clients ask for them."""
        _download(work / "files", upstream)
        with self._run(work, f"      root {work}/files;") as server:
            yield server

    @contextmanager
    def caching(self, work: Path, upstream: Upstream) -> Iterator[Server]:
        """Run it as a cache."""
        with self._run(work, proxying(upstream)) as server:
            yield server


def _download(files: Path, upstream: Upstream) -> None:
    """Write everything that the upstream has into *files*, unless it is there."""
    by_digest = MANIFEST.replace("/1", "/{}")
    for path in [*upstream.blobs, MANIFEST]:
        target = files / path.lstrip("/")
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with urlopen(upstream.url + path) as response, target.open("wb") as file:
            shutil.copyfileobj(response, file, 1024 * 1024)
            digest = response.headers["Docker-Content-Digest"]
        if path == MANIFEST:
            (files / by_digest.format(digest).lstrip("/")).hardlink_to(target)

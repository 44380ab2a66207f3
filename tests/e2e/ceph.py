"""A Ceph cluster of one monitor and one disk in memory, for the sake of its S3 gateway."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from typing import Any

import boto3
from botocore.config import Config

from tests.e2e.clients import run
from tests.e2e.servers import Processes
from tests.support.ports import free_port

NEEDED = ("ceph", "ceph-mgr", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
_CONFIG = """\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_v2}/0,v1:127.0.0.1:{mon_v1}/0
public_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_warn_on_pool_no_redundancy = false
mon_allow_pool_size_one = true
auth_allow_insecure_global_id_reclaim = false
run_dir = {work}
log_file = {work}/$name.log
admin_socket = {work}/$name.asok
pid_file =
ms_bind_ipv6 = false
[mon]
mon_data = {work}/mon
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[mgr]
mgr_data = {work}/mgr
mgr_initial_modules =
[osd]
osd_data = {work}/osd
osd_objectstore = memstore
memstore_device_bytes = 3221225472
ms_bind_port_min = {ports}
ms_bind_port_max = {ports_end}
[client.rgw]
rgw_data = {work}/rgw
auth_client_required = none
ms_mon_client_mode = crc
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
"""


def missing() -> list[str]:
    """Return the commands that this machine lacks."""
    return [name for name in NEEDED if shutil.which(name) is None]


class Ceph:
    """The cluster; `start` it, and `stop` it before the run ends."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        # Sockets are made in it, whose paths have to be short.
        self._work = processes.work / "ceph"
        self._config = str(self._work / "ceph.conf")
        self.gateway = free_port()
        self.url = f"http://127.0.0.1:{self.gateway}"

    def _ceph(self, *command: str) -> str:
        return run("ceph", "-c", self._config, "--connect-timeout", "20", *command)

    def start(self) -> None:
        """Make the cluster and wait for its gateway."""
        for name in ("mon", "mgr", "osd", "rgw"):
            (self._work / name).mkdir(parents=True)
        fsid, disk = str(uuid.uuid4()), str(uuid.uuid4())
        v1, v2, ports = free_port(), free_port(), free_port()
        (self._work / "ceph.conf").write_text(
            _CONFIG.format(
                fsid=fsid,
                mon_v1=v1,
                mon_v2=v2,
                work=self._work,
                ports=ports,
                ports_end=ports + 100,
                gateway=self.gateway,
            )
        )
        config, start = ("-c", self._config), self._processes.start
        addresses = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
        monitors = str(self._work / "monmap")
        run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, monitors)
        run("ceph-mon", *config, "-i", "a", "--mkfs", "--monmap", monitors)
        start("ceph-mon", "ceph-mon", *config, "-i", "a", "-f", port=v1)
        self._ceph("mon", "stat")
        start("ceph-mgr", "ceph-mgr", *config, "-i", "x", "-f")
        self._ceph("osd", "new", disk)
        run("ceph-osd", *config, "-i", "0", "--mkfs", "--osd-uuid", disk)
        start("ceph-osd", "ceph-osd", *config, "-i", "0", "-f")
        self._wait_for_disk()
        gateway = ("-n", "client.rgw")
        start(
            "radosgw",
            *("radosgw", *config, *gateway, "-f", "--no-mon-config"),
            port=self.gateway,
            # It makes its pools first.
            seconds=180,
        )
        keys = ("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
        names = ("--uid", "e2e", "--display-name", "e2e")
        run("radosgw-admin", *config, *gateway, "user", "create", *names, *keys)

    def _wait_for_disk(self) -> None:
        for _ in range(60):
            if json.loads(self._ceph("osd", "stat", "-f", "json"))["num_up_osds"] == 1:
                return
            time.sleep(0.5)
        raise AssertionError(f"the disk does not come up:\n{self._processes.tail('ceph-osd')}")

    def stop(self) -> None:
        """Stop it; those who depend on others go first."""
        for name in ("radosgw", "ceph-osd", "ceph-mgr", "ceph-mon"):
            self._processes.kill(name)

    def client(self) -> Any:
        """Return a client of the gateway."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def answers(self, method: str, status: int, path: str) -> list[str]:
        """Return the requests to paths with *path* in them that the gateway answered with *status*."""
        lines = (self._work / "client.rgw.log").read_text(errors="replace").splitlines()
        return [
            line
            for line in lines
            if f'"{method} ' in line and f'" {status} ' in line and path in line
        ]

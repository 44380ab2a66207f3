"""``python -m benchmarks.downloads``: boto3's own downloads, the peer of a hit in a bucket.

It fetches the keys that it is told, so many at a time, each by ``download_fileobj`` as it comes, and
throws the bytes away. It prints CPU seconds, seconds and the peak of resident memory in MiB.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import boto3
from botocore.config import Config

from benchmarks.servers import peak_memory


class _Nowhere:
    """A file that is written to and not kept."""

    def write(self, data: bytes) -> int:
        """Take bytes."""
        return len(data)


def main() -> None:
    """Fetch, and tell what it cost."""
    endpoint, bucket, together, *keys = sys.argv[1:]
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=256),
    )

    def download(key: str) -> None:
        client.download_fileobj(bucket, key, cast(Any, _Nowhere()))

    client.head_object(Bucket=bucket, Key=keys[0])
    before, began = os.times(), time.monotonic()
    with ThreadPoolExecutor(int(together)) as pool:
        list(pool.map(download, keys))
    after, took = os.times(), time.monotonic() - began
    cpu = after.user + after.system - before.user - before.system
    print(cpu, took, peak_memory(os.getpid()))


if __name__ == "__main__":
    main()

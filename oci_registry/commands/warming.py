"""``oci-registry warm``: a running daemon fetches images before clients pull them."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Mapping, Sequence

from oci_registry.commands.contents import Wanted, every
from oci_registry.commands.image_lists import from_kubernetes, read_list
from oci_registry.commands.mirror import Mirror
from oci_registry.commands.options import CommandParser, DaemonParser, Naming
from oci_registry.commands.output import Output
from oci_registry.commands.parallel import in_parallel
from oci_registry.commands.problems import CommandFailed, UsageProblem
from oci_registry.commands.sources import read_options
from oci_registry.commands.warm_daemon import cancel, warm_by_daemon
from oci_registry.commands.warm_images import Image, Missing, Warming
from oci_registry.commands.warm_report import Warmed, report
from oci_registry.spec.contents import Child
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import shown
from oci_registry.spec.image import ImageName
from oci_registry.spec.platforms import Platform

JOBS = 4
MOST_JOBS = 64


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "warm",
        "Have a running daemon fetch images, so that clients find them in its store. What is stored is "
        "skipped: after Ctrl-C, begin again. The daemon is that of the store, or the one that --admin or "
        "--url names.",
    )
    made.add_argument("image", nargs="*", help="docker.io/library/x:1, x:1, quay.io/a/b@sha256:...")
    made.add_argument(
        "--url",
        metavar="URL",
        help="the port for clients of a daemon elsewhere, http://mirror.example:8080, if its admin API "
        "cannot be reached from here",
    )
    made.add_argument(
        "--ca-file", metavar="FILE", help="PEM file of CAs to trust for --url, with https"
    )
    made.add_argument(
        "--from-file",
        metavar="FILE",
        action="append",
        default=[],
        help="file with an image on each line, or the output of kubectl get pods -o json; - is standard "
        "input; repeatable",
    )
    made.add_argument(
        "--from-kubernetes",
        action="store_true",
        help="the images of all pods in the cluster, which kubectl is asked for",
    )
    made.add_argument(
        "--platform",
        metavar="PLATFORM",
        action="append",
        default=[],
        help="fetch this platform (linux/amd64) of images that have several; repeatable; default: all",
    )
    made.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        default=JOBS,
        help=f"how many requests and downloads are under way at once (1 to {MOST_JOBS}; default {JOBS})",
    )
    made.add_argument(
        "--cancel",
        action="store_true",
        help="have the daemon cancel what another warm has begun, and fetch nothing; not with --url",
    )
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    options = asked.options
    if not 1 <= options.jobs <= MOST_JOBS:
        raise UsageProblem(f"--jobs must be from 1 to {MOST_JOBS}")
    platforms = _platforms(options.platform)
    named = bool(options.image or options.from_file or options.from_kubernetes)
    if named is options.cancel:
        raise UsageProblem(
            "--cancel is given alone, without images"
            if named
            else "name images, or give --from-file or --from-kubernetes"
        )
    if options.url is not None:
        if options.cancel:
            raise UsageProblem("--cancel needs the admin API: give --admin, or the store")
        if options.admin_token_file is not None:
            raise UsageProblem("--admin-token-file is for --admin")
        mirror = Mirror(options.url, _context(options.ca_file))
        images = [Image(name) for name in _images(options, asked.common.naming, output)]
        mirror.check()
        _warm(Warming(mirror, _wanted(platforms)), images, options.jobs, output)
        return report([_result(image) for image in images], output)
    if options.ca_file is not None:
        raise UsageProblem("--ca-file is for --url")
    daemon = asked.daemon()
    if daemon is None:
        raise CommandFailed(
            f"no daemon runs on {asked.common.storage.description}, or it has no admin socket there: start "
            "it, or name another with --admin URL or --url URL"
        )
    if options.cancel:
        return cancel(daemon, output)
    names = _images(options, asked.common.naming, output)
    return report(warm_by_daemon(daemon, names, platforms, options.jobs, output), output)


def _platforms(texts: Sequence[str]) -> list[Platform]:
    try:
        return [Platform.parse(part) for text in texts for part in text.split(",")]
    except ValueError as error:
        raise UsageProblem(f"--platform: {error}") from None


def _wanted(platforms: Sequence[Platform]) -> Wanted:
    """Return a function that selects manifests of an index: one without a platform may be for any."""

    def wants(child: Child) -> bool:
        if child.platform is None:
            return not child.other
        return any(platform.includes(child.platform) for platform in platforms)

    return wants if platforms else every


def _context(ca_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        raise UsageProblem(f"--ca-file {ca_file}: it has no certificates in PEM") from None
    return context


def _images(options: argparse.Namespace, naming: Naming, output: Output) -> list[ImageName]:
    """Return all requested images, each once. Invalid entries of a list are reported and skipped."""
    names = {str(name): name for name in map(naming.wanted, options.image)}
    listed = [text for path in options.from_file for text in read_list(path)]
    if options.from_kubernetes:
        listed += from_kubernetes()
    for text in listed:
        try:
            name = naming.wanted(text)
        except UsageProblem as error:
            output.problem(f"{shown(text)}: {error}")
        else:
            names.setdefault(str(name), name)
    return list(names.values())


def _warm(warming: Warming, images: Sequence[Image], jobs: int, output: Output) -> None:
    """Get all manifests fetched, and then all blobs, each once."""
    for image, found in in_parallel(jobs, images, warming.find):
        _note(image, found)
    needed: dict[Digest, list[Image]] = {}
    for image in images:
        for digest in image.blobs:
            needed.setdefault(digest, []).append(image)

    def fetch(digest: Digest) -> bool:
        """Get a blob stored, from the first repository that has it."""
        for source in needed[digest]:
            try:
                return warming.blob(source.name, source.blobs[digest])
            except Missing as error:
                last = error
        raise last

    blobs = {d: sources[0].blobs[d] for d, sources in needed.items()}
    output.progress.begin("warm", sum(blob.size or 0 for blob in blobs.values()))
    for digest, result in in_parallel(jobs, list(needed), fetch):
        _count(digest, result, needed, blobs, output)
    output.progress.end()
    for digest in warming.elsewhere:
        for image in needed[digest]:
            output.note(f"{image.name}: the registry does not distribute the layer {digest}")


def _note(image: Image, result: object) -> None:
    if isinstance(result, Missing):
        image.missing(result)
    elif isinstance(result, Exception):
        raise result


def _count(
    digest: Digest,
    result: object,
    needed: Mapping[Digest, Sequence[Image]],
    blobs: Mapping[Digest, Descriptor],
    output: Output,
) -> None:
    output.progress.advance(blobs[digest].size or 0)
    for image in needed[digest]:
        _note(image, result)
    if result is True:
        needed[digest][0].fetched += 1


def _result(image: Image) -> Warmed:
    return Warmed(
        str(image.name),
        image.state,
        None if image.digest is None else str(image.digest),
        list(dict.fromkeys(image.platforms)),
        image.manifests,
        len(image.blobs),
        image.size,
        image.fetched,
        image.problem,
    )

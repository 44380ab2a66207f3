"""``oci-registry warm``: a running daemon fetches images before clients pull them."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Mapping, Sequence

from oci_registry.commands.contents import Wanted, every
from oci_registry.commands.image_lists import from_kubernetes, read_list
from oci_registry.commands.mirror import Mirror
from oci_registry.commands.options import Naming, PlainParser, read_naming
from oci_registry.commands.output import Output, counted, some
from oci_registry.commands.parallel import in_parallel
from oci_registry.commands.problems import DONE, FAILED, UsageProblem
from oci_registry.commands.warm_images import Image, Missing, Warming
from oci_registry.config.findings import Findings
from oci_registry.spec.contents import Child
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import shown
from oci_registry.spec.platforms import Platform
from oci_registry.spec.units import in_bytes

JOBS = 4
MOST_JOBS = 64


def parser() -> PlainParser:
    """Return the parser of the command line."""
    made = PlainParser(
        "warm",
        "Have a running daemon fetch images, so that clients find them in its store. What is stored is "
        "skipped: after Ctrl-C, begin again. ",
    )
    made.add_argument("image", nargs="*", help="docker.io/library/x:1, x:1, quay.io/a/b@sha256:...")
    made.add_argument(
        "--url", metavar="URL", required=True, help="the daemon: http://mirror.example:8080"
    )
    made.add_argument(
        "--ca-file", metavar="FILE", help="PEM file of CAs to trust for the daemon, with https"
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
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    options = parser().parse_args(list(args))
    output.json = options.json
    findings = Findings()
    naming = read_naming(options, environ, findings)
    if findings.problems:
        raise UsageProblem(*findings.problems)
    if not 1 <= options.jobs <= MOST_JOBS:
        raise UsageProblem(f"--jobs must be from 1 to {MOST_JOBS}")
    wanted = _platforms(options.platform)
    mirror = Mirror(options.url, _context(options.ca_file))
    if not (options.image or options.from_file or options.from_kubernetes):
        raise UsageProblem("name images, or give --from-file or --from-kubernetes")
    images = _images(options, naming, output)
    mirror.check()
    _warm(Warming(mirror, wanted), images, options.jobs, output)
    _report(images, output)
    return FAILED if output.problems else DONE


def _platforms(texts: Sequence[str]) -> Wanted:
    """Return which manifests of an index are wanted: one without a platform may be for any."""
    try:
        platforms = [Platform.parse(part) for text in texts for part in text.split(",")]
    except ValueError as error:
        raise UsageProblem(f"--platform: {error}") from None

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


def _images(options: argparse.Namespace, naming: Naming, output: Output) -> list[Image]:
    """Return all images that are wanted, each once. What a list has besides is a problem, and passed over."""
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
    return [Image(name) for name in names.values()]


def _warm(warming: Warming, images: Sequence[Image], jobs: int, output: Output) -> None:
    """Have all manifests fetched, and then all blobs, each once."""
    for image, found in in_parallel(jobs, images, warming.find):
        _note(image, found)
    needed: dict[Digest, list[Image]] = {}
    for image in images:
        for digest in image.blobs:
            needed.setdefault(digest, []).append(image)

    def fetch(digest: Digest) -> bool:
        """Have a blob stored, from the first repository that has it."""
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


def _report(images: Sequence[Image], output: Output) -> None:
    for image in images:
        if image.problem is None:
            of = f" ({', '.join(dict.fromkeys(image.platforms))})" if image.platforms else ""
            new = "" if image.fetched else ", all stored before"
            output.line(f"{image.name} {image.digest}{of}: {in_bytes(image.size)}{new}")
        elif not image.left:
            output.problem(f"{image.name}: {image.problem}")
    left = [image for image in images if image.left]
    for reason in dict.fromkeys(image.problem for image in left):
        names = [str(image.name) for image in left if image.problem == reason]
        output.problem(
            f"{reason}: {counted(len(names), 'image')} left, begin again later: {some(names)}"
        )
    there = sum(image.problem is None for image in images)
    output.line(f"{there} of {counted(len(images), 'image')} stored completely")
    output.finish({"images": [_described(image) for image in images]})


def _described(image: Image) -> dict[str, object]:
    return {
        "name": str(image.name),
        "state": image.state,
        "digest": None if image.digest is None else str(image.digest),
        "platforms": list(dict.fromkeys(image.platforms)),
        "manifests": image.manifests,
        "blobs": len(image.blobs),
        "bytes": image.size,
        "fetched": image.fetched,
        "problem": image.problem,
    }

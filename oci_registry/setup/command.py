"""The command ``oci-registry setup``: the configuration of a client, printed or written."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TextIO

from attrs import frozen

from oci_registry.config.findings import Findings
from oci_registry.config.names import parse_namespace, parse_url
from oci_registry.config.options import OptionReader
from oci_registry.config.settings import BUILTIN_UPSTREAMS, CATCH_ALL, UpstreamSettings
from oci_registry.config.upstreams import load_upstreams
from oci_registry.setup.authority import read_authority
from oci_registry.setup.checking import Asking, CheckFailed, Image, check
from oci_registry.setup.clients import CLIENTS, EVERY
from oci_registry.setup.nouns import (
    Authority,
    Configuration,
    Generator,
    Mirror,
    Unusable,
    Wanted,
    choose_registries,
)
from oci_registry.setup.removal import RecordedTree
from oci_registry.setup.remove_command import REMOVE, remove, unknown_client, wants_removal
from oci_registry.setup.surroundings import proxy_note
from oci_registry.setup.writer import Tree
from oci_registry.spec.errors import shown

NAME = "oci-registry setup"


@frozen
class _Order:
    """The checked arguments of the command."""

    generator: Generator | None
    wanted: Wanted
    tree: Tree | None
    check: bool
    image: Image | None


class _ArgumentError(Exception):
    """The arguments cannot be parsed."""


class _Parser(argparse.ArgumentParser):
    """Raises its errors for the caller to report, and does not exit."""

    def error(self, message: str) -> object:  # type: ignore[override]
        """Raise the error."""
        raise _ArgumentError(message)


def run(args: Sequence[str], environ: Mapping[str, str], out: TextIO, err: TextIO) -> int:
    """Run the command with ``args``; return the exit status, 1 after any problem.

    Files, or the result of writing them, go to ``out``; notes and problems to ``err``.
    """
    if wants_removal(args):
        problems = remove(args, CLIENTS, out)
        for text in problems:
            print(f"{NAME}: {text}", file=err)
        return 1 if problems else 0
    findings = Findings()
    notes: list[str] = []
    try:
        order = _read(args, environ, findings, notes)
        if order is not None and order.check:
            _check(order, findings, notes)
        if order is not None and not findings.problems:
            _do(order, findings, notes, out)
    except _ArgumentError as error:
        findings.problems.append(str(error))
    for text in (*notes, *findings.warnings):
        print(f"{NAME}: {text}", file=err)
    for text in findings.problems:
        print(f"{NAME}: {text}", file=err)
    return 1 if findings.problems else 0


def _parser() -> _Parser:
    parser = _Parser(
        prog=NAME,
        allow_abbrev=False,
        description="Print the configuration that makes a client pull through the mirror, "
        "or write it to the client's files.",
        epilog="Without --write nothing is changed. For example: "
        f"{NAME} containerd --mirror http://mirror.example:8080 --check --image quay.io/a/b:1",
    )
    parser.add_argument("client", nargs="?", help=", ".join(CLIENTS))
    parser.add_argument(
        "--mirror",
        metavar="URL",
        help="URL of the mirror, http[s]://HOST[:PORT]; a host alone means https",
    )
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        help="certificate authority of the mirror, PEM, if machines do not trust it anyway",
    )
    parser.add_argument(
        "--upstream-config-file",
        metavar="FILE",
        help=(
            "the daemon's upstream file, with the registries to mirror (UPSTREAM_CONFIG_FILE; "
            "default docker.io)"
        ),
    )
    parser.add_argument(
        "--namespace",
        metavar="NAME",
        action="append",
        help="a registry to mirror, instead of those in the file; repeatable",
    )
    parser.add_argument(
        REMOVE,
        metavar="DIR",
        help=(
            "undo --write: remove the files that it has written below this directory, and restore "
            "the backups; no other option is allowed"
        ),
    )
    parser.add_argument(
        "--write",
        metavar="DIR",
        help=(
            "write the files below this directory as if it were /, with a backup of each file that "
            "is replaced"
        ),
    )
    parser.add_argument(
        "--no-fallback",
        action="store_true",
        help="never let the client fall back to the registry itself, if the client supports this",
    )
    parser.add_argument(
        "--no-default",
        action="store_true",
        help=(
            'containerd, k3s, rke2, talos: mirror the named registries only, and write no _default or "*" '
            "for all others"
        ),
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check first that the mirror can be reached from here; CLIENT is optional then",
    )
    parser.add_argument(
        "--image",
        metavar="IMAGE",
        help="with --check: pull the manifest and a blob of this image",
    )
    return parser


def _read(
    args: Sequence[str], environ: Mapping[str, str], findings: Findings, notes: list[str]
) -> _Order | None:
    """Check everything; return ``None`` if there was a problem."""
    options, others = _parser().parse_known_args(args)
    reader = OptionReader(
        {name.replace("_", "-"): value for name, value in vars(options).items()},
        environ,
        findings,
    )
    if others:
        findings.problem("not understood", " ".join(shown(other) for other in others))
    generator = None
    if options.client is not None or not options.check:
        generator = _client(options.client, findings)
    mirror = _mirror(reader, notes)
    image = _image(reader, options.check)
    upstreams = _upstreams(reader)
    authority = _authority(reader, mirror)
    every = reader.raw("namespace") is None and any(
        upstream.namespace == CATCH_ALL for upstream in upstreams
    )
    if every and options.client not in EVERY:
        notes.append(
            "only registries that the upstream file names are mirrored: add others with --namespace"
        )
    names = _names(reader, upstreams)
    write = reader.flag("write")
    if findings.problems or mirror is None:
        return None
    registries, left_out = choose_registries(names, upstreams)
    notes += left_out
    tree = RecordedTree(write, str(options.client)) if write else None
    # The output is for any machine, and files on this one may contain secrets.
    existing = tree.before if tree else lambda _: None
    proxy = proxy_note(mirror, reader)
    if proxy is not None:
        notes.append(proxy)
    wanted = Wanted(
        mirror,
        registries,
        existing,
        fallback=not options.no_fallback,
        others=not options.no_default,
        every=every,
        authority=authority,
    )
    return _Order(generator, wanted, tree, options.check, image)


def _client(name: str | None, findings: Findings) -> Generator | None:
    generator = CLIENTS.get(name or "")
    if generator is None:
        findings.problem("the client", unknown_client(name, CLIENTS))
    return generator


def _mirror(reader: OptionReader, notes: list[str]) -> Mirror | None:
    if reader.raw("mirror") is None:
        reader.findings.problem("--mirror", "is required")
    given = reader.flag("mirror")
    if given is None:
        return None
    try:
        mirror = Mirror(parse_url(given))
    except ValueError as error:
        reader.problem("mirror", error)
        return None
    if "://" not in given:
        notes.append(
            f"--mirror: {mirror.host} has no scheme, so https is assumed; write "
            f"http://{mirror.host} if the mirror has no TLS"
        )
    return mirror


def _image(reader: OptionReader, check: bool) -> Image | None:
    given = reader.flag("image")
    if given is None:
        return None
    if not check:
        reader.problem("image", "requires --check")
    try:
        return Image.parse(given)
    except ValueError as error:
        reader.problem("image", error)
        return None


def _upstreams(reader: OptionReader) -> tuple[UpstreamSettings, ...]:
    given = reader.given("upstream-config-file")
    return BUILTIN_UPSTREAMS if given is None else load_upstreams(given, reader.findings)


def _authority(reader: OptionReader, mirror: Mirror | None) -> Authority | None:
    given = reader.flag("ca-file")
    if given is None:
        return None
    if mirror is not None and mirror.insecure:
        reader.problem("ca-file", "requires a mirror with https")
    try:
        return read_authority(given)
    except ValueError as error:
        reader.problem("ca-file", error)
        return None


def _names(reader: OptionReader, upstreams: Sequence[UpstreamSettings]) -> list[str]:
    given = reader.raw("namespace")
    if not isinstance(given, list):
        return [each.namespace for each in upstreams if each.namespace != CATCH_ALL]
    names: list[str] = []
    for text in given:
        try:
            names.append(parse_namespace(text))
        except ValueError as error:
            reader.findings.problem("--namespace", error)
    return names


def _check(order: _Order, findings: Findings, notes: list[str]) -> None:
    """Check the mirror."""
    try:
        wanted = order.wanted
        notes += check(
            wanted.mirror, order.image, Asking(wanted.mirror, authority=wanted.authority)
        )
    except CheckFailed as error:
        findings.problem("--check", error)


def _do(order: _Order, findings: Findings, notes: list[str], out: TextIO) -> None:
    """Print or write the files."""
    tree = order.tree
    if order.generator is None:
        return
    try:
        made = order.generator(order.wanted)
    except Unusable as error:
        place = tree.place(error.path) if tree is not None else error.path
        findings.problem(place, error.reason)
        return
    notes += made.notes
    for each in made.unusable:
        findings.problem(tree.place(each.path) if tree is not None else each.path, each.reason)
    if not made.files and not made.snippets and not made.unusable:
        notes.append("there is nothing to configure")
    if tree is None:
        _print({**made.files, **made.snippets}, out)
        return
    if made.snippets:
        notes.append(
            "nothing is written: this client has no file that setup can write; use the output"
        )
    _print(made.snippets, out)
    _write(tree, made, findings, out)


def _print(titled: Mapping[str, str], out: TextIO) -> None:
    texts = [f"# {title}\n{text}" for title, text in titled.items()]
    print("\n".join(texts), end="", file=out)


def _write(tree: Tree, made: Configuration, findings: Findings, out: TextIO) -> None:
    for path, text in made.files.items():
        try:
            written = tree.write(path, text)
        except Unusable as error:
            findings.problem(tree.place(error.path), error.reason)
            continue
        if not written.changed:
            print(f"{written.place}: unchanged", file=out)
        elif written.backup is None:
            print(f"{written.place}: written", file=out)
        else:
            print(f"{written.place}: written; the previous file is {written.backup}", file=out)

"""k3s and RKE2: the mirrors in ``registries.yaml``, from which they generate containerd's files.

containerd names the registry in every request, so they need only an endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from oci_registry.config.documents import explain
from oci_registry.setup.merging import texts, url_first
from oci_registry.setup.nouns import Configuration, Unusable, Wanted

_NO_FALLBACK = (
    "to prevent fallback to the registry itself, start every node with "
    "--disable-default-registry-endpoint"
)
_EVERY = "*"
_EVERY_NOTE = (
    'the name "*", for all registries, requires 1.26.13, 1.27.10, 1.28.6, 1.29.1 or later; releases before '
    "March 2024, and 1.31.6 and 1.32.2, do not fall back to the registry itself"
)
PATH = "/etc/rancher/k3s/registries.yaml"
PATH_RKE2 = "/etc/rancher/rke2/registries.yaml"


def k3s(wanted: Wanted) -> Configuration:
    """Return ``registries.yaml`` with a mirror for each registry; everything else in it is kept."""
    return _configure(wanted, PATH, "restart k3s (or k3s-agent) after a change")


def rke2(wanted: Wanted) -> Configuration:
    """Return the same as `k3s`, with the path of RKE2."""
    return _configure(wanted, PATH_RKE2, "restart rke2-server (or rke2-agent) after a change")


def _configure(wanted: Wanted, path: str, note: str) -> Configuration:
    every = wanted.every and wanted.others
    notes = (
        *wanted.reminders,
        *((_EVERY_NOTE,) if every else ()),
        *(() if wanted.fallback else (_NO_FALLBACK,)),
        note,
    )
    text = wanted.text(path)
    document = _mapping(_parse(path, text or ""), path, "the document")
    mirrors = _mapping(document.get("mirrors"), path, "mirrors")
    changed: dict[object, object] = {}
    for name in (*(registry.name for registry in wanted.registries), *((_EVERY,) if every else ())):
        key = f"mirrors of {name}"
        entry = _mapping(mirrors.get(name), path, key)
        known = texts(entry.get("endpoint"), path, f"{key}: endpoint")
        endpoints = url_first(wanted.mirror.url, known)
        if endpoints != known:
            changed[name] = {**entry, "endpoint": endpoints}
    merged = {**document, "mirrors": {**mirrors, **changed}} if changed else {**document}
    if wanted.authority is not None and (wanted.registries or every):
        merged |= _trusting(document, path, wanted.mirror.host, wanted.authority.path)
    if merged == document:
        return Configuration({} if text is None else {path: text}, notes)
    lost = (
        (f"comments in {path} are lost; the previous file still has them",)
        if "#" in (text or "")
        else ()
    )
    return Configuration({path: yaml.safe_dump(merged, sort_keys=False)}, (*lost, *notes))


def _trusting(
    document: Mapping[object, object], path: str, host: str, ca: str
) -> dict[object, object]:
    """Return the ``configs`` with the mirror's certificate authority in the entry of its host."""
    configs = _mapping(document.get("configs"), path, "configs")
    entry = _mapping(configs.get(host), path, f"configs of {host}")
    tls = _mapping(entry.get("tls"), path, f"configs of {host}: tls")
    return {"configs": {**configs, host: {**entry, "tls": {**tls, "ca_file": ca}}}}


def _mapping(value: object, path: str, what: str) -> Mapping[object, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unusable(path, f"{what} must be a mapping")
    return value


def _parse(path: str, text: str) -> object:
    try:
        line = _given_twice(yaml.compose(text, Loader=yaml.SafeLoader))
        document = None if line else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Unusable(path, f"is not YAML: {explain(error)}") from None
    except RecursionError:
        raise Unusable(path, "cannot be parsed: it is nested too deeply") from None
    except (AttributeError, LookupError, ValueError):
        # PyYAML's errors for a value that does not match its form or its tag.
        raise Unusable(path, "cannot be used: a value is malformed") from None
    if line:
        raise Unusable(path, f"cannot be used: the mapping in line {line} has a key twice")
    return document


def _given_twice(root: yaml.Node | None) -> int | None:
    """Return the line of a duplicate key in a mapping, whose first value PyYAML would drop."""
    waiting = [root]
    seen = {id(None)}
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value]
            names = [(key.tag, key.value) for key in keys if isinstance(key, yaml.ScalarNode)]
            if len(set(names)) < len(names):
                return int(node.start_mark.line) + 1
            waiting += [*keys, *(value for _, value in node.value)]
    return None

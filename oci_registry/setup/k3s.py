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
PATH = "/etc/rancher/k3s/registries.yaml"
PATH_RKE2 = "/etc/rancher/rke2/registries.yaml"


def k3s(wanted: Wanted) -> Configuration:
    """``registries.yaml`` with a mirror for each registry; everything else in it is kept."""
    return _configure(wanted, PATH, "restart k3s (or k3s-agent) after a change")


def rke2(wanted: Wanted) -> Configuration:
    """As `k3s`, with the path of RKE2."""
    return _configure(wanted, PATH_RKE2, "restart rke2-server (or rke2-agent) after a change")


def _configure(wanted: Wanted, path: str, note: str) -> Configuration:
    notes = (note,) if wanted.fallback else (_NO_FALLBACK, note)
    text = wanted.text(path)
    document = _mapping(_parse(path, text or ""), path, "the document")
    mirrors = _mapping(document.get("mirrors"), path, "mirrors")
    changed: dict[object, object] = {}
    for registry in wanted.registries:
        key = f"mirrors of {registry.name}"
        entry = _mapping(mirrors.get(registry.name), path, key)
        known = texts(entry.get("endpoint"), path, f"{key}: endpoint")
        endpoints = url_first(wanted.mirror.url, known)
        if endpoints != known:
            changed[registry.name] = {**entry, "endpoint": endpoints}
    if not changed:
        return Configuration({} if text is None else {path: text}, notes)
    merged = {**document, "mirrors": {**mirrors, **changed}}
    lost = (
        (f"comments in {path} are lost; the previous file still has them",)
        if "#" in (text or "")
        else ()
    )
    return Configuration({path: yaml.safe_dump(merged, sort_keys=False)}, (*lost, *notes))


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
        # What PyYAML makes of a value that is not what it looks like, or its tag says.
        raise Unusable(path, "cannot be used: a value is malformed") from None
    if line:
        raise Unusable(path, f"cannot be used: the mapping in line {line} has a key twice")
    return document


def _given_twice(root: yaml.Node | None) -> int | None:
    """The line of a mapping with one key twice, where PyYAML would drop the first value."""
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

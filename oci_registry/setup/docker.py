"""Docker: two keys in ``daemon.json``, and the certificate of the mirror."""

from __future__ import annotations

import json
import math

from oci_registry.setup.merging import texts, url_first
from oci_registry.setup.nouns import Configuration, Unusable, Wanted

PATH = "/etc/docker/daemon.json"
CERTIFICATES = "/etc/docker/certs.d"

_MIRRORS = "registry-mirrors"
_INSECURE = "insecure-registries"
_HUB = "docker.io"
_BOM = "\ufeff"


def configure(wanted: Wanted) -> Configuration:
    """Return ``daemon.json`` with the mirror of docker.io; everything else in it is kept."""
    mirror, text = wanted.mirror, wanted.text(PATH)
    document = _parse(text or "")
    values: dict[str, list[str]] = {}
    if any(registry.name == _HUB for registry in wanted.registries):
        values[_MIRRORS] = url_first(mirror.url, texts(document.get(_MIRRORS), PATH, _MIRRORS))
    if mirror.insecure:
        insecure = texts(document.get(_INSECURE), PATH, _INSECURE)
        values[_INSECURE] = [*insecure, *({mirror.host} - set(insecure))]
    notes = tuple(
        f"Docker mirrors docker.io only: pull from {registry.name} as "
        f"{mirror.host}/{registry.name}/..."
        for registry in wanted.registries
        if registry.name != _HUB and ":" not in registry.name
    )
    if not wanted.fallback:
        notes = (*notes, "Docker always falls back to Docker Hub: --no-fallback has no effect")
    certificate = wanted.certificate(CERTIFICATES)
    if not values:
        return Configuration(certificate, notes)
    notes = (*notes, "restart Docker after a change")
    if all(document.get(key) == value for key, value in values.items()):
        return Configuration({PATH: text or "", **certificate}, notes)
    merged = json.dumps({**document, **values}, indent=2)
    return Configuration({PATH: f"{merged}\n", **certificate}, notes)


def _parse(text: str) -> dict[str, object]:
    text = text.removeprefix(_BOM)
    if not text.strip():
        # In the format of dockerd.
        return {}
    try:
        document = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_float
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise Unusable(PATH, f"is not JSON: {place}: {error.msg}") from None
    except ValueError as error:
        raise Unusable(PATH, f"is not usable: {error}") from None
    except RecursionError:
        raise Unusable(PATH, "cannot be parsed: it is nested too deeply") from None
    if not isinstance(document, dict):
        raise Unusable(PATH, "must be an object of keys and values")
    return document


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # One of two values would be lost.
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice in one object")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number

"""What a kubelet does for a container, as far as one can without a kernel's help."""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chart.support import container, workload
from tests.support.process import SOURCE, ListeningProcess

Contents = Mapping[str, Mapping[str, str]]


class Container:
    """A directory with the daemon's volumes, and its command and environment.

    Everything is as the workload says, but for two things: paths in the container become paths below the
    directory, and ports become any free ones.  ``existing`` has the contents of Secrets and ConfigMaps
    that are not the chart's own.
    """

    def __init__(
        self, directory: Path, objects: dict[str, dict[str, Any]], existing: Contents
    ) -> None:
        self._directory = directory
        self._contents = {**existing, **_contents(objects)}
        spec = workload(objects)["spec"]
        claims = spec.get("volumeClaimTemplates", ())
        self._volumes = {each["metadata"]["name"]: {"claim": each} for each in claims}
        self._volumes |= {each["name"]: each for each in spec["template"]["spec"]["volumes"]}
        self._container = container(objects)
        self._paths = {
            mount["mountPath"]: self._mount(mount["name"], mount["mountPath"])
            for mount in self._container["volumeMounts"]
        }
        self.command = [
            self._mapped(each) for each in (*self._container["command"], *self._container["args"])
        ]
        self.environment = {each["name"]: self._value(each) for each in self._container["env"]}

    def path(self, inside: str) -> Path:
        """Return where a path of the container is."""
        return Path(self._mapped(inside))

    def _mount(self, name: str, path: str) -> Path:
        place = self._directory / path.strip("/")
        place.mkdir(parents=True)
        volume = self._volumes[name]
        projected = volume.get("projected", {})
        sources = [each["secret"] for each in projected.get("sources", ())]
        sources += [each for each in (volume.get("secret"), volume.get("configMap")) if each]
        for source in sources:
            content = self._contents[source.get("secretName") or source["name"]]
            items = source.get("items") or [{"key": key, "path": key} for key in content]
            for item in items:
                file = place / item["path"]
                file.write_text(content[item["key"]], "utf-8")
                file.chmod({**projected, **source}.get("defaultMode", 0o644))
        return place

    def _mapped(self, text: str) -> str:
        for path in sorted(self._paths, key=len, reverse=True):
            pattern = rf"(?<![\w./-]){re.escape(path)}(?=/|$)"
            text, times = re.subn(pattern, lambda _, path=path: str(self._paths[path]), text)  # type: ignore[misc]
            if times:
                break
        return text

    def _value(self, variable: Mapping[str, Any]) -> str:
        if "value" in variable:
            value = self._mapped(variable["value"])
            if variable["name"] in ("LISTEN", "ADMIN_LISTEN"):
                value = re.sub(r"(?<=^ssl:)\d+|(?<=:)\d+$", "0", value)
            return value
        source = variable["valueFrom"]
        if "fieldRef" in source:
            return str(source["fieldRef"]["fieldPath"])
        reference = source["secretKeyRef"]
        return self._contents[reference["name"]][reference["key"]]

    def start(self, reactor: Any) -> ListeningProcess:
        """Start the command, which is looked for where this Python's commands are."""
        programs = Path(sys.executable).parent
        # What an image brings along; the rest is the workload's own.
        image = {"PATH": f"{programs}{os.pathsep}/usr/bin:/bin", "PYTHONPATH": SOURCE}
        command = [str(programs / self.command[0]), *self.command[1:]]
        return ListeningProcess(reactor, command, {**image, **self.environment})


def _contents(objects: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the contents of the Secrets that the chart makes."""
    return {
        each["metadata"]["name"]: {
            key: base64.b64decode(value).decode() for key, value in each["data"].items()
        }
        for each in objects.values()
        if each["kind"] == "Secret"
    }

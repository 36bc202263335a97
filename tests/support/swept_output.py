"""An output store that `mopt gc` sweeps, and how it is asked to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import selected

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

NOW = ("--older-than", "0s")
WORKING = {"observedGeneration": 4, "conditions": [{"type": "Reconciling", "status": "True"}]}


@dataclass
class Output:
    """An output store with two results: the second is served, the first was before."""

    uri: str
    environ: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store, self.prefix = open_store(self.uri, Credentials.OUTPUT, self.environ)
        self.blobs = Blobs(self.store, self.prefix)
        for name in ("first", "second"):
            form = self._put(f"{name} form", f"weights of {name}")
            weights = self._put(f"{name} data", f"\0{name}")
            crops = self._put(f"{name} crops", json.dumps({"samples": name}))
            artifact = {"digest": form, "externalData": [{"digest": weights}]}
            manifest = self._put(f"{name} manifest", json.dumps({"artifacts": [artifact]}))
            entry = self._put(f"{name} entry", json.dumps({"key": name, "artifact": artifact}))
            named = {"prepared": manifest, "crops": crops, "variants": [{"artifact": artifact}]}
            result = self._put(f"{name} result", json.dumps(named, indent=1))
            self.blobs.put_page(result, b"<p>")
            self.blobs.index_put(f"measure-{name}", result)
            self.blobs.index_put(f"prepare-{name}", manifest)
            self.blobs.index_put(f"step-{name}", entry)

    def _put(self, name: str, text: str) -> str:
        self.names[name] = self.blobs.put_bytes(text.encode())
        return self.names[name]

    def keys(self) -> set[str]:
        """Return what is stored, relative to the output."""
        folder = f"{self.prefix.strip('/')}/" if self.prefix.strip("/") else ""
        return {key.removeprefix(folder) for key in self.store.list(folder)}

    def keys_of(self, *runs: str) -> set[str]:
        """Return all that the runs wrote."""
        blobs = {name: digest for name, digest in self.names.items() if name.split()[0] in runs}
        found = {f"blobs/{digest.replace(':', '/')}" for digest in blobs.values()}
        for run in runs:
            found |= {f"index/{kind}-{run}" for kind in ("measure", "prepare", "step")}
            found.add(f"reports/{self.names[f'{run} result'].removeprefix('sha256:')}.html")
        return found

    def served(self, run: str, *history: str, **fields: Any) -> dict[str, Any]:
        """Return a resource that serves the form of a run."""
        report = {"digest": self.names[f"{run} result"], "uri": "s3://x"}
        artifact = selected.artifact(1, digest=self.names[f"{run} form"], report=report["digest"])
        records = [
            selected.record(
                index,
                artifact=self.names[f"{name} form"],
                report=self.names[f"{name} result"],
                published=None,
                uri=None,
            )
            for index, name in enumerate(history)
        ]
        target = selected.target(artifact=artifact, report=report)
        return selected.resource(
            target, history=records, spec={"output": {"uri": self.uri}}, **fields
        )

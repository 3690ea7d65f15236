"""A small table made by hand, with a manifest for every stage, in which tests change values."""

import copy
from pathlib import Path

import pandas as pd

from dsacap.common.files import write_json
from dsacap.reporting.table_file import COLUMNS
from helpers import tiny_config

COMMIT = "c0ffee" + "0" * 34
ROWS = {
    ("ar", "greedy"): 100.0,
    ("ar", "T=1"): 80.0,
    ("dsacap", "K=1"): 90.0,
    ("dsacap-rl", "K=1"): 110.0,
}


def _manifest(config: dict, stage: str, verb: str, **facts) -> dict:
    return {
        "stage": verb,
        "version": 1,
        "command": ["dsacap", verb, "--config", "config/tiny.yaml"],
        "started": f"2026-11-2{1 + len(stage) % 9}T10:00:00+00:00",
        "seconds": 3.0,
        "cpu_seconds": 4.0,
        "peak_memory_mib": 500,
        "code": {"commit": COMMIT, "dirty": False, "lock": "f" * 64},
        "config": copy.deepcopy(config),
        "host": {
            "cpu": "abacus",
            "cores": 2,
            "system": "Linux",
            "python": "3.11",
            "packages": {"torch": "2.0"},
        },
        "facts": facts,
    }


def _rows(seeds: list[int]) -> list[dict]:
    base = dict.fromkeys(COLUMNS) | {"dataset": "tiny", "n": 6, "unit": "x100", "decoding": ""}
    rows = [
        {
            **base,
            "system": "human",
            "decoding": "references",
            "metric": "held_out_CIDEr",
            "value": 70.0,
        }
    ]
    for (system, decoding), value in ROWS.items():
        for seed in seeds:
            score = {"metric": "CIDEr", "value": value, "ci_low": value - 5, "ci_high": value + 5}
            rows.append({**base, "system": system, "decoding": decoding, "seed": seed, **score})
        latency = {"metric": "latency_median_ms_batch_1", "value": 2.0, "unit": "ms"}
        rows.append({**base, "system": system, "decoding": decoding, **latency})
    rows += [
        {
            **base,
            "system": system,
            "seed": 0,
            "metric": "parameters",
            "value": 1000.0,
            "unit": "count",
        }
        for system in ("ar", "dsacap")
    ]
    return rows


class HandMade:
    """A table to be written: change `rows`, `manifests` and `signatures`, then call `write`."""

    def __init__(self, seeds: tuple[int, ...] = (0,)):
        self.config = tiny_config(Path("work")).model_dump(mode="json")
        self.config |= {"seeds": list(seeds), "work": "work", "results": "results"}
        self.rows = _rows(list(seeds))
        self.signatures = {"CIDEr": "CIDEr-D|n:4|jar:sha256:aaa|v:0.1.0"}
        data = {"images": {"train": 24, "test": 6}, "captions": 150}
        self.manifests = {
            "data": _manifest(self.config, "data", "data", **data),
            "encoder": _manifest(self.config, "encoder", "encoder"),
            "features": _manifest(self.config, "features", "features", skipped={}, shards=[]),
            "generator": _manifest(self.config, "generator", "generator"),
            "score human": _manifest(self.config, "score human", "score"),
            "time": _manifest(
                self.config, "time", "time", machine={"device": "abacus", "cores": 2, "threads": 1}
            ),
        }
        for system in ("ar", "dsacap", "dsacap-rl"):
            for seed in seeds:
                name = f"{system} seed {seed}"
                verb = "tune" if system == "dsacap-rl" else "train"
                self.manifests[f"train {name}"] = _manifest(
                    self.config, f"train {name}", verb, device="cpu"
                )
                self.manifests[f"caption {name}"] = _manifest(
                    self.config, f"caption {name}", "caption", images=6
                )
                self.manifests[f"score {name}"] = _manifest(
                    self.config, f"score {name}", "score", images=6
                )

    def set_config(self, change) -> "HandMade":
        """Change the configuration of the whole run."""
        for manifest in self.manifests.values():
            change(manifest["config"])
        change(self.config)
        return self

    def set_value(
        self, system: str, decoding: str, value: float, metric: str = "CIDEr"
    ) -> "HandMade":
        """Set the value of a cell, and move its interval by the same amount."""
        for row in self.rows:
            if (row["system"], row["decoding"], row["metric"]) == (system, decoding, metric):
                for end in ("ci_low", "ci_high"):
                    row[end] = None if row[end] is None else row[end] + value - row["value"]
                row["value"] = value
        return self

    def write(self, folder: Path, csv: bool = True) -> Path:
        data = {
            "config": self.config,
            "signatures": self.signatures,
            "rows": self.rows,
            "manifests": self.manifests,
        }
        write_json(folder / "table.json", data)
        if csv:
            pd.DataFrame(self.rows, columns=COLUMNS).to_csv(folder / "table.csv", index=False)
        return folder

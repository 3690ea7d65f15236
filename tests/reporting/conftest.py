import pandas as pd
import pytest

from dsacap.common.files import write_json
from dsacap.reporting.table_file import COLUMNS
from dsacap.runs.layout import HUMAN, Layout, manifest_of
from helpers import score, tiny_config


@pytest.fixture
def layout(tmp_path) -> Layout:
    """Result files with known numbers, of a few systems and two seeds."""
    layout = Layout(tiny_config(tmp_path, seeds=[0, 1]))
    host = {
        "cpu": "abacus",
        "cores": 2,
        "system": "Linux",
        "python": "3.11",
        "packages": {"torch": "2"},
    }
    manifest = {
        "started": "2026-11-24T10:00:00+00:00",
        "seconds": 3.0,
        "cpu_seconds": 4.0,
        "peak_memory_mib": 500,
        "code": {"commit": "c0ffee0", "dirty": True, "lock": "f" * 64},
        "host": host,
        "command": ["dsacap", "time"],
    }
    data = {
        "images": {"train": 24, "test": 6},
        "captions": 150,
        "sha256": {"captions.jsonl": "a" * 64},
    }
    write_json(manifest_of(layout.data), {**manifest, "facts": data})
    write_json(manifest_of(layout.encoder), {**manifest, "facts": {}})
    write_json(manifest_of(layout.generator), {**manifest, "facts": {}})
    write_json(manifest_of(layout.features), {**manifest, "facts": {"skipped": {"3": "1x1"}}})
    write_json(
        layout.latency,
        {
            "rows": [
                _latency("ar", "greedy", 8.0),
                _latency("dsacap", "K=1", 2.0),
                _latency("encoder", "", 1.0),
            ]
        },
    )
    write_json(
        manifest_of(layout.latency),
        {**manifest, "facts": {"machine": {"device": "abacus", "cores": 2, "threads": 1}}},
    )
    rest = {"oracle": {}, "leaks": {"verbatim": 1, "captions": 4, "examples": []}}
    human = {
        "quality": {},
        "held_out": {"CIDEr": score(1.5, [1.4, 1.6])},
        "diversity": {"Div-1": score(0.5)},
        "samples": 5,
        **rest,
    }
    write_json(layout.scores(HUMAN, 0), {"references": human})
    write_json(manifest_of(layout.scores(HUMAN, 0)), {**manifest, "facts": {}})
    for system, seed in layout.runs:
        decodings = layout.config.systems[system].decodings
        quality = {"CIDEr": score(1.0 + 0.1 * seed, [0.9, 1.1]), "BLEU-4": score(0.25)}
        write_json(
            layout.scores(system, seed),
            {
                name: {
                    "quality": quality,
                    "held_out": {"CIDEr": score(0.8)},
                    "diversity": {},
                    "samples": 1,
                    **rest,
                }
                for name in decodings
            },
        )
        facts = {
            "parameters": 1234,
            "images_seen": 72,
            "train_cpu_seconds": 9,
            "val_CIDEr": 0.9,
            "val_still_rising": system == "ar",
        }
        facts |= {"one_by_one": 32, "flips": {name: int(system == "ar") for name in decodings}}
        for path in (
            layout.system(system, seed),
            layout.captions(system, seed),
            layout.scores(system, seed),
        ):
            outputs = (
                {f"{path.name}/model.safetensors": f"{seed}{system:x<63}"}
                if path == layout.system(system, seed)
                else {}
            )
            write_json(manifest_of(path), {**manifest, "facts": facts, "outputs": outputs})
    return layout


@pytest.fixture
def numbers() -> pd.DataFrame:
    """The numbers of four rows, with CIDEr of two seeds and latency."""
    rows = []
    for system, decoding, steps, ciders, ms, per_s in (
        ("ar", "greedy", None, (100, 102), 8.0, 125),
        ("ar", "beam=3", None, (110, 112), 16.0, 62),
        ("dsacap", "K=1", 1, (99, 100), 2.0, 500),
        ("dsacap", "K=4", 4, (98, 99), 7.0, 140),
    ):
        made = {
            "latency_median_ms_batch_1": [(None, ms)],
            "latency_images_per_s_batch_1": [(None, per_s)],
            "CIDEr": enumerate(ciders),
        }
        rows += [
            ("tiny", system, decoding, steps, seed, metric, value, None, None, 5, "x")
            for metric, values in made.items()
            for seed, value in values
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _latency(system, decoding, ms):
    return {
        "system": system,
        "decoding": decoding,
        "batch_size": 1,
        "median_ms": ms,
        "p90_ms": ms + 1,
        "p99_ms": ms + 2,
        "images_per_s": 1000 / ms,
        "iterations": 3,
        **({} if system == "encoder" else {"process_mib": 512}),
    }

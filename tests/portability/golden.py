"""Print the hashes of the results of a few steps in portable arithmetic, as JSON.

They cover everything that torch computes in the pipeline: both encoders that are trained here and
their features, the generator, a training of every captioner, both kinds of tuning, and captions.
Batches have more than 16 images, because some kernels take another path for fewer. The bytes must
be the same on every x86-64 processor with AVX2. After a change that is meant to move them, such as
another release of torch, write the committed hashes again:

    python tests/portability/golden.py > tests/portability/golden.json
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["OMP_NUM_THREADS"] = "1"

from dsacap.common import arithmetic

arithmetic.choose_portable()

import torch

from dsacap.common.files import read_json, sha256, write_json
from dsacap.config.encoder import AutoencoderTraining, Encoder
from dsacap.config.experiment import Config
from dsacap.runs.layout import Layout, manifest_of
from dsacap.stages.caption import caption_split
from dsacap.stages.data import make_data
from dsacap.stages.encoder import make_encoder
from dsacap.stages.features import make_features
from dsacap.stages.generator import make_generator
from dsacap.stages.train import train_system
from dsacap.stages.tune import tune_system
from dsacap.vision.encoders.latent_encoder import WEIGHTS
from helpers import tiny_config

SMALL = {"width": 16, "heads": 2}
STEPS = 3
AUTOENCODER = AutoencoderTraining(steps=2, batch_size=20, size=32, width=8)
CAPTIONERS = {
    "ar": ("autoregressive", {"encoder_layers": 1, "decoder_layers": 1, "dropout": 0.1}, {}),
    "prefix-lm": ("prefix-lm", {"layers": 1, "prefix": 2}, {}),
    "masked-diffusion": (
        "masked-diffusion",
        {"concentrated": True, "image_free": 0.1},
        {"steps": 2},
    ),
    "bit-diffusion": ("bit-diffusion", {}, {"steps": 2}),
    "scd-net": ("scd-net", {"encoder_layers": 1, "decoder_layers": 1}, {}),
    "ladic": (
        "ladic",
        {"latent": 8, "encoder_layers": 1, "text_layers": 1, "decoder_layers": 1, "text_steps": 2},
        {"stride": 400},
    ),
    "parallel": ("parallel", {}, {}),
    "dsacap": (
        "dsacap",
        {"denoiser_layers": 1, "readout_layers": 1},
        {"noise_level": 0.3, "steps": 2},
    ),
}
TUNINGS = {
    "rewards": {"rewards": {"cider": 1.0, "reconstruction": 2.0}, "samples": 3, "kl": 0.1},
    "ngrams": {"ngrams": {"orders": 2}},
}


def configuration(work: Path) -> Config:
    """Return a tiny configuration with every captioner and both kinds of tuning of DSACap."""
    few = {"steps": STEPS, "batch_size": 20, "warmup": 1, "evaluations": 1, "validation_images": 4}
    systems = {
        name: {
            "captioner": captioner,
            "model": {**SMALL, **model},
            "decodings": {"only": decoding},
        }
        for name, (captioner, model, decoding) in CAPTIONERS.items()
    }
    for name, tuning in TUNINGS.items():
        decodings = systems["dsacap"]["decodings"]
        systems[name] = {"tuned_from": "dsacap", "tuning": few | tuning, "decodings": decodings}
    return tiny_config(
        work,
        arithmetic="portable",
        training=few | {"ema": 0.9},
        encoder={"train": {"steps": 2, "batch_size": 20}, "shard_size": 20},
        generator={"train": {"steps": 2, "batch_size": 20, "width": 32, "layers": 1}},
        systems=systems,
    )


def hashes(work: Path) -> dict[str, str]:
    """Run the pipeline in `work` and return the SHA-256 of what each stage wrote, by stage."""
    layout = Layout(configuration(work))
    arithmetic.prepare(layout.config.arithmetic, layout.config.device)
    torch.set_num_threads(1)
    make_data(layout)
    make_encoder(layout)
    make_features(layout)
    write_json(manifest_of(layout.generator), {"facts": make_generator(layout)})
    found = {
        "data": sha256(layout.data / "captions.jsonl"),
        "encoder": sha256(layout.encoder / "open_clip_model.safetensors"),
        "features": sha256(layout.features / "index.json"),
        "generator": _of_folder(layout.generator / "pipeline"),
    }
    for system, settings in layout.config.systems.items():
        fit = tune_system if settings.tuned_from else train_system
        write_json(manifest_of(layout.system(system, 0)), {"facts": fit(layout, system, 0)})
        found[f"train {system}"] = sha256(layout.system(system, 0) / "model.safetensors")
        caption_split(layout, system, 0)
        captions = json.dumps(read_json(layout.captions(system, 0)))
        found[f"caption {system}"] = hashlib.sha256(captions.encode()).hexdigest()
    encoder = Encoder(autoencoder=AUTOENCODER, shard_size=20)
    layout = Layout(layout.config.model_copy(update={"encoder": encoder}))
    make_encoder(layout)
    make_features(layout)
    found["autoencoder"] = sha256(layout.encoder / WEIGHTS)
    found["features of the autoencoder"] = sha256(layout.features / "index.json")
    return found


def _of_folder(folder: Path) -> str:
    weights = sorted(folder.rglob("*.safetensors"))
    return hashlib.sha256(" ".join(map(sha256, weights)).encode()).hexdigest()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(hashes(Path(temporary)), indent=1))

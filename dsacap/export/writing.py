"""A trained system of a run: made ready for photos as it lies there, or exported to a folder of its own."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner, Memory
from dsacap.captioner.registry import release_of
from dsacap.common.errors import UserError
from dsacap.common.files import (
    read_json,
    replacing_folder,
    sha256,
    write_json,
    write_tensors,
    write_text,
)
from dsacap.decoding.train_memory import PhotoMemory, TrainMemory
from dsacap.export import reading
from dsacap.export.card import model_card
from dsacap.export.description import FORMAT, Description
from dsacap.export.encoders import load_resnet, trained_resnet, write_encoder
from dsacap.export.photo_captioner import PhotoCaptioner
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout, manifest_of
from dsacap.runs.manifest import commit
from dsacap.runs.models import load_configured_encoder
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore

CARD, MANIFEST = "README.md", "manifest.json"


def from_run(layout: Layout, system: str, seed: int) -> PhotoCaptioner:
    """A trained system of the configuration. UserError where it is not trained."""
    inputs, captioner, store = _trained(layout, system, seed)
    memory, decodings = inputs.memory, inputs.decodings(system)
    return PhotoCaptioner(
        captioner,
        _encoder_of(layout, store),
        inputs.store.mean,
        inputs.store.std,
        inputs.vocabulary.words,
        decodings,
        next(iter(decodings)),
        layout.config.decoding.seed,
        PhotoMemory(memory.captions, memory.images),
    )


def _encoder_of(layout: Layout, store: FeatureStore | PixelFeatures) -> Encoder:
    """Its own, where the system has one."""
    if isinstance(store, PixelFeatures):
        return store.encoder
    settings = layout.config.encoder
    return (
        load_resnet(*trained_resnet(layout.encoder, settings.grid))
        if settings.train
        else load_configured_encoder(layout)
    )


def export_system(layout: Layout, system: str, seed: int, folder: Path) -> None:
    """Writes a trained system to `folder`, whole or not at all. UserError where it is not trained, something cannot be carried, or there is
    such a folder already."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; name another folder, or remove it first")
    inputs, captioner, store = _trained(layout, system, seed)
    own = store.encoder.state_dict() if isinstance(store, PixelFeatures) else None
    config, settings = layout.config, layout.config.trained(system)
    language_model = settings.model.get("language_model")
    if language_model and Path(language_model).is_dir():
        raise UserError(
            f"systems.{system}.model.language_model: {language_model} is a folder of this machine, which the export cannot carry; "
            "train with a name of the hub and its revision"
        )
    with replacing_folder(folder) as temporary:
        described = Description(
            system=system,
            label=config.systems[system].label or system,
            run=layout.system(system, seed).name,
            captioner=settings.captioner,
            release=release_of(settings.captioner),
            model=settings.model,
            tokens=inputs.spec.tokens,
            channels=inputs.spec.channels,
            max_words=inputs.spec.max_words,
            encoder=write_encoder(config.encoder, layout.encoder, temporary, own),
            decodings=config.systems[system].decodings,
            default_decoding=next(iter(config.systems[system].decodings)),
            seed=config.decoding.seed,
        )
        write_text(
            temporary / reading.MODEL,
            json.dumps(described.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n",
        )
        write_json(temporary / reading.VOCABULARY, inputs.vocabulary.words)
        write_tensors(temporary / reading.WEIGHTS, captioner.state_dict())
        write_tensors(
            temporary / reading.STATISTICS, {"mean": inputs.store.mean, "std": inputs.store.std}
        )
        carried = _looked_up(inputs, store, captioner, system)
        if carried:
            write_tensors(temporary / reading.MEMORY, carried)
        manifests = _manifests(layout, system, seed)
        write_json(temporary / MANIFEST, manifests)
        scores = layout.scores(system, seed)
        card = model_card(
            described,
            config,
            manifests,
            read_json(scores) if scores.exists() else None,
            list(carried),
        )
        write_text(temporary / CARD, card)
        files = {}
        for path in sorted(temporary.iterdir()):
            shutil.copymode(temporary / CARD, path)  # tensors are written for their owner alone
            if path.name != CARD:
                files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        write_json(temporary / reading.INDEX, {"format": FORMAT, "files": files})


def _trained(
    layout: Layout, system: str, seed: int
) -> tuple[Inputs, Captioner, FeatureStore | PixelFeatures]:
    weights = layout.system(system, seed) / "model.safetensors"
    if not weights.exists():
        raise UserError(
            f"{system} with seed {seed} is not trained: no {weights}; "
            f"run `snakemake --cores all row_{system} --configfile CONFIG`, or `dsacap {_verb(layout, system)} --system {system}`"
        )
    inputs = Inputs(layout)
    return inputs, inputs.captioner(system, seed), inputs.seen_by(system, seed)


def _verb(layout: Layout, system: str) -> str:
    return "tune" if layout.config.systems[system].tuned_from else "train"


class _Recorded(Memory):
    """Notes what is looked up."""

    def __init__(self, memory: TrainMemory):
        self._memory, self.asked = memory, set()

    def captions(self) -> Iterator[Sequence[int]]:
        self.asked.add("captions")
        return self._memory.captions()

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        self.asked.add("images")
        return self._memory.nearest(image_ids, count)


def _looked_up(
    inputs: Inputs, store: FeatureStore | PixelFeatures, captioner: Captioner, system: str
) -> dict[str, Tensor]:
    """What the system's decodings look up in the train split, found by letting each caption a photo: whose system it is does not matter."""
    recorded = _Recorded(inputs.memory)
    captioner.learn_from(recorded)
    image_id = inputs.memory.examples[0].image_id
    features = store.read([image_id], device=next(captioner.parameters()).device)
    for options in inputs.decodings(system).values():
        captioner.caption(Batch((image_id,), features), 1, 0, options)
    carried = {}
    if "captions" in recorded.asked:
        carried["captions"] = torch.tensor(list(inputs.memory.captions()), dtype=torch.int32)
    if "images" in recorded.asked:
        pooled_IE, firsts_IL = inputs.memory.images()
        carried |= {"pooled": pooled_IE.half(), "firsts": firsts_IL.int()}
    return carried


def _manifests(layout: Layout, system: str, seed: int) -> dict:
    """Stage -> what was recorded when it ran, for every stage behind the system that left a record."""
    base = layout.config.systems[system].tuned_from
    outputs = {"data": layout.data, "encoder": layout.encoder, "features": layout.features}
    outputs |= {"pixels": layout.pixels} if layout.config.sees_pixels(system) else {}
    outputs |= {"train": layout.system(base or system, seed)} | (
        {"tune": layout.system(system, seed)} if base else {}
    )
    outputs |= {"caption": layout.captions(system, seed), "score": layout.scores(system, seed)}
    manifests = {
        stage: read_json(manifest_of(output))
        for stage, output in outputs.items()
        if manifest_of(output).exists()
    }
    config = layout.config.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return manifests | {"export": {"code": commit(), "config": config, "config_sha256": digest}}

"""A trained system of a run: captioning photos in place, or exported to a folder of its own."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner
from dsacap.captioner.memory import Memory
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
from dsacap.decoding.caption_batch import caption_batch
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
    """Return a trained system of a run, ready to caption photos.

    Args:
        layout: The files of the run.
        system: The system's name in the configuration.
        seed: The seed that it was trained with.

    Raises:
        UserError: The system is not trained.
    """
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
    """Return the encoder that the system trained further, or else the configuration's."""
    if isinstance(store, PixelFeatures):
        return store.encoder
    settings = layout.config.encoder
    return (
        load_resnet(*trained_resnet(layout.encoder, settings.grid))
        if settings.train
        else load_configured_encoder(layout)
    )


def export_system(layout: Layout, system: str, seed: int, folder: Path) -> None:
    """Write a trained system to a folder, completely or not at all.

    Args:
        layout: The files of the run.
        system: The system's name in the configuration.
        seed: The seed that it was trained with.
        folder: Where to write; it must not exist yet, or be empty.

    Raises:
        UserError: The system is not trained, a part of it cannot be exported, or the folder exists.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: exists already; choose another folder, or remove it first")
    inputs, captioner, store = _trained(layout, system, seed)
    fine_tuned = store.encoder.state_dict() if isinstance(store, PixelFeatures) else None
    config, settings = layout.config, layout.config.trained(system)
    language_model = settings.model.get("language_model")
    if language_model and Path(language_model).is_dir():
        raise UserError(
            f"systems.{system}.model.language_model: {language_model} is a folder of this machine, "
            "which an export cannot contain; train with a model of the hub and its revision"
        )
    assert settings.captioner is not None  # of a system that is not tuned from another one
    with replacing_folder(folder) as temporary:
        description = Description(
            system=system,
            label=config.systems[system].label or system,
            run=layout.system(system, seed).name,
            captioner=settings.captioner,
            release=release_of(settings.captioner),
            model=settings.model,
            tokens=inputs.spec.tokens,
            channels=inputs.spec.channels,
            max_words=inputs.spec.max_words,
            encoder=write_encoder(config.encoder, layout.encoder, temporary, fine_tuned),
            decodings=config.systems[system].decodings,
            default_decoding=next(iter(config.systems[system].decodings)),
            seed=config.decoding.seed,
        )
        write_text(
            temporary / reading.MODEL,
            json.dumps(description.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n",
        )
        write_json(temporary / reading.VOCABULARY, inputs.vocabulary.words)
        write_tensors(temporary / reading.WEIGHTS, captioner.state_dict())
        write_tensors(
            temporary / reading.STATISTICS, {"mean": inputs.store.mean, "std": inputs.store.std}
        )
        memory = _looked_up(inputs, store, captioner, system)
        if memory:
            write_tensors(temporary / reading.MEMORY, memory)
        manifests = _manifests(layout, system, seed)
        write_json(temporary / MANIFEST, manifests)
        scores = layout.scores(system, seed)
        card = model_card(
            description,
            config,
            manifests,
            read_json(scores) if scores.exists() else None,
            list(memory),
        )
        write_text(temporary / CARD, card)
        files = {}
        for path in sorted(temporary.iterdir()):
            shutil.copymode(
                temporary / CARD, path
            )  # safetensors lets only the owner read its files
            if path.name != CARD:
                files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        write_json(temporary / reading.INDEX, {"format": FORMAT, "files": files})


def _trained(
    layout: Layout, system: str, seed: int
) -> tuple[Inputs, Captioner, FeatureStore | PixelFeatures]:
    """Return a run's inputs, the captioner with its weights, and the features that it reads."""
    weights = layout.system(system, seed) / "model.safetensors"
    if not weights.exists():
        raise UserError(
            f"{system} with seed {seed} is not trained: {weights} does not exist; run "
            f"`snakemake --cores all row_{system} --configfile CONFIG`, or "
            f"`dsacap {_verb(layout, system)} --system {system}`"
        )
    inputs = Inputs(layout)
    return inputs, inputs.captioner(system, seed), inputs.seen_by(system, seed)


def _verb(layout: Layout, system: str) -> str:
    """Return the stage that writes the system's weights."""
    return "tune" if layout.config.systems[system].tuned_from else "train"


class _RecordingMemory(Memory):
    """A memory that records which of its parts are looked up."""

    def __init__(self, memory: TrainMemory):
        self._memory = memory
        self.used: set[str] = set()

    def captions(self) -> Iterator[Sequence[int]]:
        self.used.add("captions")
        return self._memory.captions()

    def nearest(self, image_ids: Sequence[int], count: int) -> Tensor:
        self.used.add("images")
        return self._memory.nearest(image_ids, count)


def _looked_up(
    inputs: Inputs, store: FeatureStore | PixelFeatures, captioner: Captioner, system: str
) -> dict[str, Tensor]:
    """Return what the system's decodings look up in the train split.

    Found by captioning a photo with each decoding, so it works for captioners of other packages.
    """
    recorded = _RecordingMemory(inputs.memory)
    captioner.learn_from(recorded)
    image_id = inputs.memory.examples[0].image_id
    features = store.read([image_id], device=next(captioner.parameters()).device)
    for options in inputs.decodings(system).values():
        caption_batch(captioner, Batch((image_id,), features), 1, 0, options)
    tensors = {}
    if "captions" in recorded.used:
        tensors["captions"] = torch.tensor(list(inputs.memory.captions()), dtype=torch.int32)
    if "images" in recorded.used:
        pooled_IE, firsts_IL = inputs.memory.images()
        tensors |= {"pooled": pooled_IE.half(), "firsts": firsts_IL.int()}
    return tensors


def _manifests(layout: Layout, system: str, seed: int) -> dict:
    """Return the manifest of each stage that the system depends on, if it has one, by stage."""
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

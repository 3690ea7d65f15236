"""The stages of the pipeline. Each reads files, writes files and returns the facts that go into its manifest."""

from dsacap.stages.checkpoints import caption_by_checkpoint
from dsacap.stages.data import load_configured_encoder, load_scenes, make_data, make_encoder, make_features, make_pixels, photo_sources
from dsacap.stages.downloads import download, unpack
from dsacap.stages.generator import load_configured_generator, make_generator, reconstruct_captions
from dsacap.stages.inspect import inspect_system
from dsacap.stages.rehearsal import rehearse
from dsacap.stages.scores import score_system, score_system_samples
from dsacap.stages.sizes import predicted_sizes
from dsacap.stages.systems import Inputs, caption_split, check_verb, complete_captions, teach, time_systems, train_system, tune_system

__all__ = [
    "Inputs",
    "caption_by_checkpoint",
    "caption_split",
    "check_verb",
    "complete_captions",
    "download",
    "inspect_system",
    "load_configured_encoder",
    "load_configured_generator",
    "load_scenes",
    "make_data",
    "make_encoder",
    "make_features",
    "make_generator",
    "make_pixels",
    "photo_sources",
    "predicted_sizes",
    "reconstruct_captions",
    "rehearse",
    "score_system",
    "score_system_samples",
    "teach",
    "time_systems",
    "train_system",
    "tune_system",
    "unpack",
]

"""This module loads what training, decoding and timing read of a run."""

from functools import cached_property

from torch import Tensor

from dsacap.captioner.interface import Captioner, ImageSpec
from dsacap.captioner.registry import captioner_class, load_captioner
from dsacap.common.files import read_tensors
from dsacap.common.machine import device_of
from dsacap.data.prepared import Example, load_examples, load_vocabulary
from dsacap.decoding.train_memory import TrainMemory
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore


class Inputs:
    """What training, decoding and timing read: features, vocabulary and the images of a split that have features."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.store = FeatureStore(layout.features)  # of the frozen encoder
        self.vocabulary = load_vocabulary(layout.data)
        words = tuple(self.vocabulary.words)
        self.spec = ImageSpec(
            self.store.tokens, self.store.channels, len(words), layout.config.text.max_words, words
        )

    def examples(self, split: str) -> list[Example]:
        return [
            example
            for example in load_examples(self.layout.data, split)
            if example.image_id in self.store
        ]

    def captioner(self, system: str, seed: int | None = None) -> Captioner:
        """The system with fresh weights, or with its trained ones where a seed names the run."""
        settings = self.layout.config.trained(system)
        captioner = load_captioner(settings.captioner, settings.model, self.spec)
        if seed is not None:
            captioner.load_state_dict(self._weights(system, seed)["captioner"])
        captioner.learn_from(self.memory)
        return captioner.to(device_of(self.layout.config.device)).eval()

    def seen_by(
        self, system: str, seed: int | None = None, tuned_from: str | None = None
    ) -> FeatureStore | PixelFeatures:
        """What the system is given of photos: the features on disk; or, where it has an encoder of its own, what that makes of the pixels,
        with its trained weights where a seed names the run, or with those of the run that it is `tuned_from`."""
        config = self.layout.config
        if not config.sees_pixels(system):
            return self.store
        fine_tune = config.training_of(system).fine_tune
        drawn = fine_tune is not None and fine_tune.drawn
        seen = PixelFeatures(
            self.layout.pixels, self.store, load_configured_encoder(self.layout), drawn
        )
        if seed is not None:
            seen.encoder.load_state_dict(self._weights(tuned_from or system, seed)["encoder"])
        seen.encoder.to(device_of(config.device))
        return seen

    def _weights(self, system: str, seed: int) -> dict[str, dict[str, Tensor]]:
        """Of a trained system: those of its captioner, and of its encoder where it has one."""
        tensors, _ = read_tensors(self.layout.system(system, seed) / "model.safetensors")
        if not self.layout.config.sees_pixels(system):
            return {"captioner": tensors}
        parts: dict[str, dict[str, Tensor]] = {"captioner": {}, "encoder": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        return parts

    @cached_property
    def memory(self) -> TrainMemory:
        return TrainMemory(
            lambda: self.examples("train"), self.store, self.vocabulary, self.spec.max_words
        )

    def decodings(self, system: str) -> dict:
        """The system's decodings by name; the first one also selects the weights on validation."""
        decoding = captioner_class(self.layout.config.trained(system).captioner).Decoding
        return {
            name: decoding(**options)
            for name, options in self.layout.config.systems[system].decodings.items()
        }

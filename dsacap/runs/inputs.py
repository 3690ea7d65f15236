"""What training, decoding and timing read of a run."""

from functools import cached_property

from torch import Tensor

from dsacap.captioner.interface import Captioner, ImageSpec
from dsacap.captioner.registry import captioner_class, load_captioner
from dsacap.common.files import read_tensors
from dsacap.common.machine import device_of
from dsacap.config.parsing import decoding_of
from dsacap.data.prepared import Example, load_examples, load_vocabulary
from dsacap.decoding.train_memory import TrainMemory
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore


class Inputs:
    """What training, decoding and timing read of a run.

    Attributes:
        layout: The layout of the run.
        store: The features of the frozen encoder.
        vocabulary: The vocabulary of the train captions.
        spec: The sizes of a captioner's input and output.
    """

    def __init__(self, layout: Layout) -> None:
        """Open the features and the vocabulary of a run."""
        self.layout = layout
        self.store = FeatureStore(layout.features)
        self.vocabulary = load_vocabulary(layout.data)
        words = tuple(self.vocabulary.words)
        self.spec = ImageSpec(
            self.store.tokens, self.store.channels, len(words), layout.config.text.max_words, words
        )

    def examples(self, split: str) -> list[Example]:
        """Return the images of a split that have features, with their captions."""
        return [
            example
            for example in load_examples(self.layout.data, split)
            if example.image_id in self.store
        ]

    def captioner(self, system: str, seed: int | None = None) -> Captioner:
        """Return a system in evaluation mode on the configured device.

        Args:
            system: The system.
            seed: The run whose trained weights are loaded; None for fresh weights.
        """
        config = self.layout.config
        captioner = load_captioner(
            config.captioner_of(system), config.trained(system).model, self.spec
        )
        if seed is not None:
            captioner.load_state_dict(self._weights(system, seed)["captioner"])
        captioner.learn_from(self.memory)
        return captioner.to(device_of(config.device)).eval()

    def seen_by(
        self, system: str, seed: int | None = None, tuned_from: str | None = None
    ) -> FeatureStore | PixelFeatures:
        """Return what a system is given of photos.

        These are the stored features, or, if the system has an encoder of its own, what that
        encoder makes of the stored pixels.

        Args:
            system: The system.
            seed: The run whose trained encoder is loaded; None for the configured weights.
            tuned_from: The system of the run whose encoder is loaded, if it is not `system`.
        """
        config = self.layout.config
        if not config.sees_pixels(system):
            return self.store
        fine_tune = config.training_of(system).fine_tune
        drawn = fine_tune is not None and fine_tune.drawn
        features = PixelFeatures(
            self.layout.pixels, self.store, load_configured_encoder(self.layout), drawn
        )
        if seed is not None:
            features.encoder.load_state_dict(self._weights(tuned_from or system, seed)["encoder"])
        features.encoder.to(device_of(config.device))
        return features

    def _weights(self, system: str, seed: int) -> dict[str, dict[str, Tensor]]:
        """Return trained weights: the captioner's, and those of an encoder of its own."""
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
        """The train images and captions, for systems that retrieve similar ones."""
        return TrainMemory(
            lambda: self.examples("train"), self.store, self.vocabulary, self.spec.max_words
        )

    def decodings(self, system: str) -> dict:
        """Return a system's decodings by name; the first one selects weights on validation too."""
        captioner = captioner_class(self.layout.config.captioner_of(system))
        return {
            name: decoding_of(captioner, options, name)
            for name, options in self.layout.config.systems[system].decodings.items()
        }

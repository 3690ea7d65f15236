"""Tuning without samples: the expected n-gram overlap with the references, maximised by plain gradient, beside the likelihood."""

from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner
from dsacap.captioner.reference_loss import soft_maximum
from dsacap.config.training import Tuning


class NgramObjective:
    """The objective of a tuning, for the training loop."""

    def __init__(self, captioner: Captioner, settings: Tuning):
        """UserError, when called, where the system has no closed form."""
        self.captioner, self.settings, self.ngrams = captioner, settings, settings.ngrams

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        overlap_BR = self.captioner.policy(batch).expected_overlap(
            batch.captions, self.ngrams.orders, self.ngrams.temperature
        )
        overlap = soft_maximum(overlap_BR, self.ngrams.beta).mean()
        loss = -overlap
        if self.settings.supervised:
            loss = loss + self.settings.supervised * self.captioner.loss(batch)["loss"]
        return {"loss": loss, "expected_overlap": overlap.detach()}

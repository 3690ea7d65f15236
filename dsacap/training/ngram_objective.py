"""Tuning without samples: the expected n-gram overlap with the references, by plain gradient.

The likelihood can be added to the objective.
"""

from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner
from dsacap.captioner.reference_loss import soft_maximum
from dsacap.config.training import Tuning


class NgramObjective:
    """The objective of tuning by expected n-grams, for the training loop."""

    def __init__(self, captioner: Captioner, settings: Tuning):
        """Set up the objective.

        Args:
            captioner: The system to tune. If its policy has no closed form of the overlap, calling
                the objective raises UserError.
            settings: The settings of the tuning; those of `ngrams` are given.
        """
        assert settings.ngrams is not None  # the caller takes Reinforce otherwise
        self.captioner, self.settings, self.ngrams = captioner, settings, settings.ngrams

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch with its references, and facts to log."""
        assert batch.captions is not None  # batches of training have their references
        overlap_BR = self.captioner.policy(batch).expected_overlap(
            batch.captions, self.ngrams.orders, self.ngrams.temperature
        )
        overlap = soft_maximum(overlap_BR, self.ngrams.beta).mean()
        loss = -overlap
        if self.settings.supervised:
            loss = loss + self.settings.supervised * self.captioner.loss(batch)["loss"]
        return {"loss": loss, "expected_overlap": overlap.detach()}

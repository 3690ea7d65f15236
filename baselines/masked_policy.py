"""The distribution over captions of one fully masked pass of masked diffusion."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dsacap.captioner.interface import Batch, Policy, closed
from dsacap.captioner.layers import repeat_rows
from dsacap.text.vocabulary import EOS, PAD, UNK

if TYPE_CHECKING:
    from dsacap.baselines.masked_diffusion import MaskedDiffusion


class FullyMasked(Policy):
    """The length of a caption, then its words, each from the fully masked caption."""

    def __init__(self, captioner: "MaskedDiffusion", batch: Batch):
        """Compute what does not depend on the captions."""
        self.captioner, self.part = captioner, batch.part
        memory_BND = captioner.image_encoder(batch.features)
        self.images = captioner.image_keys_values(memory_BND)
        self.length_log_p_BL = captioner.length_logits(memory_BND).log_softmax(-1)

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        """See `Policy.sample`."""
        self.part.require_whole("masked diffusion cannot draw captions")
        length_p_BL = self.length_log_p_BL.exp()
        length_p_BL[:, 0] = 0  # captions are never empty
        length_BS = torch.multinomial(length_p_BL, samples, replacement=True)
        real_BSL = (
            torch.arange(int(length_BS.max()), device=length_BS.device) < length_BS[..., None]
        )
        p_XV = self._log_p(real_BSL).exp()
        p_XV[:, : UNK + 1] = 0
        words_BSL = torch.zeros(real_BSL.shape, dtype=torch.long, device=length_BS.device)
        words_BSL[real_BSL] = self.part.multinomial(p_XV, 1)[:, 0]
        return closed(words_BSL, ~real_BSL)

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        """See `Policy.log_prob`."""
        words_BSL = captions_BSL[..., :-1]
        real_BSL = (words_BSL != PAD) & (words_BSL != EOS)
        log_p_BSL = torch.zeros(real_BSL.shape, device=real_BSL.device)
        log_p_BSL[real_BSL] = self._log_p(real_BSL).gather(-1, words_BSL[real_BSL][:, None])[:, 0]
        return log_p_BSL.sum(-1) + self.length_log_p_BL.gather(-1, real_BSL.sum(-1))

    def _log_p(self, real_BSL: Tensor) -> Tensor:
        """Return the log-probabilities [X, V] of the words at the X positions that are real."""
        real_BL = real_BSL.flatten(0, 1)
        masked_BL = torch.full(real_BL.shape, self.captioner.mask, device=real_BL.device)
        images = [repeat_rows(image, real_BSL.shape[1]) for image in self.images]
        return self.captioner.head(
            self.captioner.hidden(masked_BL, real_BL, images)[real_BL]
        ).log_softmax(-1)

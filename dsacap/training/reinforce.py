"""Tuning by a reward: REINFORCE, with an image's other captions as the baseline (RLOO).

    loss = -mean_bs (A_bs / sd A) log p(c_bs | image b)
    A_bs = r_bs - mean of r_bs' over s' != s, plus the advantage for the set
    r = reward - kl log(p / p_0)

The baseline is the mean reward of the image's other captions (Kool et al. 2019, "Buy 4 REINFORCE
samples, get a baseline for free!"), which in captioning is known as the new self-critical (Luo
2020, arXiv 2003.09971). p_0 is the system before tuning, which gets the same noise on the image.
Rewards of the set of an image's captions have a baseline of their own (`rewards.py`).

With `guided`, the last sample of an image is one of its references, so that a caption is rewarded
which the system might never draw. It is compared with the samples, which are not compared with it:
otherwise they would all be worse than their baseline, whatever they say.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.interface import Batch, Captioner, Policy, until_eos
from dsacap.config.training import Tuning
from dsacap.scoring.metrics.caption_faults import stops_short
from dsacap.text.vocabulary import PAD, UNK, Vocabulary
from dsacap.training.rewards import RewardSum, repeats


class Reinforce:
    """The objective of tuning by rewards, for the training loop."""

    def __init__(
        self,
        captioner: Captioner,
        before: Captioner,
        settings: Tuning,
        reward: RewardSum,
        vocabulary: Vocabulary,
    ):
        """Set up the objective.

        Args:
            captioner: The system to tune. If it gives no probabilities of captions, calling the
                objective raises UserError.
            before: The same system before tuning, p_0; used only if `kl` is not 0.
            settings: The settings of the tuning.
            reward: The reward.
            vocabulary: Turns word ids into captions.
        """
        self.captioner, self.settings, self.reward, self.vocabulary = (
            captioner,
            settings,
            reward,
            vocabulary,
        )
        self.before = before.eval() if settings.kl else None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch with its references, and facts to log."""
        samples = self.settings.samples
        noises = samples if self.settings.noises == "each" else 1
        # The same image, once for each noise.
        ids = tuple(image_id for image_id in batch.image_ids for _ in range(noises))
        noised = Batch(ids, batch.features.repeat_interleave(noises, 0), part=batch.part)
        before = self._policy_before(noised)
        policy = self.captioner.policy(noised)
        captions_BSL = policy.sample(samples // noises).view(len(batch.image_ids), samples, -1)
        guided_B = torch.zeros(len(captions_BSL), dtype=torch.bool, device=captions_BSL.device)
        if self.settings.guided:
            if policy.stops_early:
                batch.part.require_whole("captions drawn word by word cannot be guided")
            assert batch.captions is not None  # batches of training have their references
            captions_BSL, guided_B = _guided(captions_BSL, batch.captions, batch.part)
        drawn_GSL = captions_BSL.view(len(noised.image_ids), samples // noises, -1)
        texts = [
            [self.vocabulary.decode(until_eos(words)) for words in of_image]
            for of_image in captions_BSL.tolist()
        ]
        log_p_BS = policy.log_prob(drawn_GSL).view(-1, samples)
        guided = guided_B.tolist() if self.settings.guided else None
        rewarded = self.reward(batch.image_ids, texts, guided)
        reward_BS, of_set_BS = (
            torch.from_numpy(part).to(log_p_BS, non_blocking=True)
            for part in (rewarded.own_BS, rewarded.of_set_BS)
        )
        facts = {
            f"reward_{name}": torch.tensor(part.mean()) for name, part in rewarded.parts.items()
        }
        if before is not None:
            with torch.no_grad():
                log_ratio_BS = log_p_BS - before.log_prob(drawn_GSL).view(-1, samples)
            reward_BS = reward_BS - self.settings.kl * log_ratio_BS
            facts["kl"] = log_ratio_BS.mean()
        advantage_BS = advantages(reward_BS, self.settings.spread, batch.part, guided_B, of_set_BS)
        loss = -(advantage_BS * log_p_BS).mean()
        if self.settings.supervised:
            loss = loss + self.settings.supervised * self.captioner.loss(batch)["loss"]
        return {"loss": loss, **facts, **_health(texts, log_p_BS.detach())}

    @torch.no_grad()
    def _policy_before(self, batch: Batch) -> Policy | None:
        """Return the policy before tuning, with the noise that the tuned policy will draw.

        It is the same noise because this draws from a copy of the generator's state, which the loop
        has seeded.
        """
        if self.before is None:
            return None
        devices = [batch.features.device] if batch.features.is_cuda else []
        with torch.random.fork_rng(devices):
            return self.before.policy(batch)


def _guided(captions_BSL: Tensor, references_BRL: Tensor, part: Part) -> tuple[Tensor, Tensor]:
    """Replace the last sample of each image by one of its references, drawn at random.

    A reference with an unknown word is no guide, since it would teach the system to say <unk>.

    Returns:
        The captions, and whether the last one of each image is a reference: not where all have an
        unknown word.
    """
    longest = max(captions_BSL.shape[-1], references_BRL.shape[-1])
    captions_BSL, references_BRL = (
        F.pad(x, (0, longest - x.shape[-1]), value=PAD) for x in (captions_BSL, references_BRL)
    )
    known_BR = (references_BRL != UNK).all(-1)
    order_BR = part.drawn(torch.rand, references_BRL.shape[:2], references_BRL.device)
    which_B = order_BR.masked_fill(~known_BR, -1).argmax(-1)
    reference_BL = references_BRL[torch.arange(len(references_BRL), device=which_B.device), which_B]
    guided_B = known_BR.any(-1)
    last_BL = torch.where(guided_B[:, None], reference_BL, captions_BSL[:, -1])
    return torch.cat([captions_BSL[:, :-1], last_BL[:, None]], dim=1), guided_B


def advantages(
    reward_BS: Tensor,
    spread: str = "batch",
    part: Part = WHOLE,
    guided_B: Tensor | None = None,
    of_set_BS: Tensor | float = 0.0,
) -> Tensor:
    """Return the advantages of captions: each reward minus the mean of the image's other rewards.

    They are divided by their root mean square. With `spread="image"`, images whose samples differ
    little move the system as much as images whose samples differ much.

    Args:
        reward_BS: Rewards of shape `(batch, samples)`.
        spread: Over what the root mean square is taken: `batch` or `image`.
        part: The part of a batch that the rewards are of.
        guided_B: Whether the last caption of an image is a guide, which is in no baseline.
        of_set_BS: Advantages by rewards of the set of an image's captions, which are added.

    Returns:
        Advantages of shape `(batch, samples)`, 0 if no reward differs.
    """
    own_BS = torch.ones_like(reward_BS)
    if guided_B is not None:
        own_BS[:, -1] -= guided_B.to(own_BS)
    others_BS = (own_BS * reward_BS).sum(1, keepdim=True) - own_BS * reward_BS
    advantage_BS = reward_BS - others_BS / (own_BS.sum(1, keepdim=True) - own_BS) + of_set_BS
    square = (
        part.mean(advantage_BS.square().mean())
        if spread == "batch"
        else advantage_BS.square().mean(1, keepdim=True)
    )
    return advantage_BS / square.sqrt().clamp_min(1e-6)


def _health(texts: list[list[str]], log_p_BS: Tensor) -> dict[str, Tensor]:
    """Return statistics of the captions drawn, where collapse and reward hacking show first."""
    words_BS = torch.tensor([[len(text.split()) for text in of_image] for of_image in texts])
    words_BS = words_BS.to(log_p_BS, non_blocking=True)
    return {
        "words": words_BS.mean(),
        "repeats": torch.tensor(
            [[float(repeats(text)) for text in of_image] for of_image in texts]
        ).mean(),
        "bad_endings": torch.tensor(
            [[float(stops_short(text.split())) for text in of_image] for of_image in texts]
        ).mean(),
        "unique": torch.tensor([float(len(set(of_image))) for of_image in texts]).mean()
        / len(texts[0]),
        "nats_per_word": -(log_p_BS / (words_BS + 1)).mean(),
    }

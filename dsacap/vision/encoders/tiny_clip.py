"""A tiny CLIP trained on scenes and saved in open_clip's own format (open_clip_config.json and open_clip_model.safetensors).

A small ResNet, whose last map is the token grid (2x2 tokens of 256 channels, one a quadrant), and a two-layer text tower learn from the
contrastive loss of CLIP (Radford et al. 2021) and from labels: a linear probe reads shape, colour and size of a quadrant's thing off its
token. The labels play the part that detection pre-training plays for region features; they make the tokens worth captioning within a
minute of CPU. (Tokens of the finer 4x4 map cost every captioner 10 to 30 CIDEr: a thing is then spread over several of them.)
"""

import dataclasses
import math
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.common.files import write_json, write_tensors
from dsacap.common.progress import progress
from dsacap.data.scenes.grammar import COLOURS, SHAPES, SIZES, Scene

MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
_LABELS = (tuple(SHAPES), tuple(COLOURS), tuple(SIZES))
_WARMUP = 50


@dataclasses.dataclass(frozen=True)
class Probe:
    """How much of a scene can be read off the encoder on held-out images: shares of right answers."""

    shape: float
    colour: float
    size: float
    retrieval_at_1: float


def train_tiny_clip(
    pixels: Tensor,
    captions: list[tuple[str, ...]],
    scenes: list[Scene],
    held_out: tuple[Tensor, list[tuple[str, ...]], list[Scene]],
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    fused: bool = False,
) -> Probe:
    """Trains on `pixels` (uint8 [n, 64, 64, 3]) with their captions and scenes, saves to `folder`, and returns the held-out probe.

    `fused` takes torch's fused AdamW, whose arithmetic is the same on every processor (dsacap/common/arithmetic.py)."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    clip = open_clip.CLIP(**MODEL)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    references = min(len(c) for c in captions)
    text = torch.stack([tokenizer(list(c[:references])) for c in captions])
    labels = quadrant_labels(scenes)
    probe = _LabelProbe(channels=32 * MODEL["vision_cfg"]["width"])
    optimizer = torch.optim.AdamW(
        [*clip.parameters(), *probe.parameters()], lr=learning_rate, weight_decay=0.05, fused=fused
    )
    for step in progress(range(steps), "train the encoder", "step"):
        for group in optimizer.param_groups:
            group["lr"] = (
                learning_rate
                * min(1, (step + 1) / _WARMUP)
                * 0.5
                * (1 + math.cos(math.pi * step / steps))
            )
        chosen = torch.randint(len(pixels), (batch_size,), generator=generator)
        which = torch.randint(references, (batch_size,), generator=generator)
        grid, image = _grid_and_embedding(clip, normalised(pixels[chosen]))
        words = clip.encode_text(text[chosen, which], normalize=True)
        similarity = clip.logit_scale.exp() * F.normalize(image, dim=-1) @ words.T
        diagonal = torch.arange(batch_size)
        contrastive = (
            F.cross_entropy(similarity, diagonal) + F.cross_entropy(similarity.T, diagonal)
        ) / 2
        loss = 0.5 * contrastive + probe.loss(grid, labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    result = _evaluate(clip.eval(), probe, tokenizer, *held_out)
    save_clip(clip, folder)
    return result


def normalised(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W], as open_clip's own preprocessing scales it."""
    mean, std = (
        torch.tensor(open_clip.OPENAI_DATASET_MEAN),
        torch.tensor(open_clip.OPENAI_DATASET_STD),
    )
    return (
        ((pixels / 255 - mean) / std)
        .permute(0, 3, 1, 2)
        .contiguous(memory_format=torch.channels_last)
    )


def save_clip(clip: nn.Module, folder: Path) -> None:
    """Writes what open_clip loads by the name `local-dir:<folder>`."""
    write_tensors(folder / "open_clip_model.safetensors", clip.state_dict())
    preprocess = {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    write_json(folder / "open_clip_config.json", {"model_cfg": MODEL, "preprocess_cfg": preprocess})


def quadrant_labels(scenes: list[Scene]) -> Tensor:
    """[n, 4, 3]: shape, colour and size of each quadrant; 0 where it is empty."""
    labels = torch.zeros(len(scenes), 4, 3, dtype=torch.long)
    for i, scene in enumerate(scenes):
        for thing in scene.things:
            row, column = thing.quadrant
            said = (thing.shape, thing.colour, thing.size)
            labels[i, 2 * row + column] = torch.tensor(
                [1 + names.index(name) for names, name in zip(_LABELS, said, strict=True)]
            )
    return labels


def _grid_and_embedding(clip: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The last map [B, C, 2, 2], which becomes the tokens, and the pooled embedding [B, E], in one pass."""
    out = clip.visual.forward_intermediates(pixels)
    return out["image_intermediates"][-1], out["image_features"]


class _LabelProbe(nn.Module):
    """Linear, from the token of a quadrant to its labels."""

    def __init__(self, channels: int):
        super().__init__()
        self.sizes = [1 + len(names) for names in _LABELS]
        self.linear = nn.Linear(channels, sum(self.sizes))

    def forward(self, grid: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, 4, labels] of shape, colour and size."""
        return self.linear(grid.flatten(2).mT).split(self.sizes, dim=-1)

    def loss(self, grid: Tensor, labels: Tensor) -> Tensor:
        return sum(
            F.cross_entropy(logits.flatten(0, 1), labels[..., i].flatten())
            for i, logits in enumerate(self(grid))
        )


@torch.inference_mode()
def _evaluate(
    clip, probe, tokenizer, pixels: Tensor, captions: list[tuple[str, ...]], scenes: list[Scene]
) -> Probe:
    parts = [_grid_and_embedding(clip, normalised(chunk)) for chunk in pixels.split(100)]
    grid, image = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    labels = quadrant_labels(scenes)
    taken = labels[..., 0] > 0
    right = [
        (logits.argmax(-1) == labels[..., i])[taken].float().mean().item()
        for i, logits in enumerate(probe(grid))
    ]
    words = clip.encode_text(tokenizer([c[0] for c in captions]), normalize=True)
    retrieved = (F.normalize(image, dim=-1) @ words.T).argmax(-1) == torch.arange(len(captions))
    return Probe(*right, retrieval_at_1=retrieved.float().mean().item())

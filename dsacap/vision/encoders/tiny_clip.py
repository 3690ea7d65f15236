"""A tiny CLIP, trained on scenes and saved in open_clip's own format.

The model is a small ResNet, whose last feature map is the token grid (2x2 tokens of 256 channels,
one token per quadrant), and a two-layer text tower. It learns from the contrastive loss of CLIP
(Radford et al. 2021) and from labels: a linear probe predicts the shape, colour and size of a
quadrant's object from its token. The labels play the role of detection pre-training for region
features: with them, tokens are worth captioning after a minute on a CPU. (With tokens of the finer
4x4 map, every captioner loses 10 to 30 CIDEr, because an object is spread over several tokens.)
"""

import dataclasses
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.common.files import write_json, write_tensors
from dsacap.common.progress import progress
from dsacap.common.schedule import warmup_times_cosine
from dsacap.data.scenes.grammar import COLOURS, SHAPES, SIZES, Scene

MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
_LABELS = (tuple(SHAPES), tuple(COLOURS), tuple(SIZES))
_WARMUP = 50


@dataclasses.dataclass(frozen=True)
class Probe:
    """Accuracies on held-out images that show how much of a scene the encoder keeps."""

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
    """Train a tiny CLIP with a label probe, and save it without the probe.

    Args:
        pixels: Training images as uint8 (images, 64, 64, 3).
        captions: The captions of each image.
        scenes: The scene of each image, from which labels are read.
        held_out: Pixels, captions and scenes of the held-out images.
        folder: Where the model is saved, in open_clip's format.
        steps: Training steps.
        batch_size: Images per step.
        learning_rate: Peak learning rate, after a warm-up and before a cosine decay to zero.
        seed: Seed of weights and batches.
        fused: Use torch's fused AdamW, whose arithmetic is the same on every processor
            (dsacap/common/arithmetic.py).

    Returns:
        The accuracies on the held-out images.
    """
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
            group["lr"] = warmup_times_cosine(learning_rate, step, steps, _WARMUP)
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
    """Normalise uint8 pixels (batch, height, width, 3) as open_clip's preprocessing does.

    Returns:
        Pixels (batch, 3, height, width) as float32.
    """
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD)
    return (
        ((pixels / 255 - mean) / std)
        .permute(0, 3, 1, 2)
        .contiguous(memory_format=torch.channels_last)
    )


def save_clip(clip: open_clip.CLIP, folder: Path) -> None:
    """Save a tiny CLIP so that open_clip loads it by the name `local-dir:FOLDER`."""
    write_tensors(folder / "open_clip_model.safetensors", clip.state_dict())
    preprocess = {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    write_json(folder / "open_clip_config.json", {"model_cfg": MODEL, "preprocess_cfg": preprocess})


def quadrant_labels(scenes: list[Scene]) -> Tensor:
    """Return the labels of scenes' quadrants.

    Returns:
        Numbers (scenes, 4, 3) from 1 of each quadrant's shape, colour and size; 0 where a quadrant
        is empty.
    """
    labels = torch.zeros(len(scenes), 4, 3, dtype=torch.long)
    for i, scene in enumerate(scenes):
        for thing in scene.things:
            row, column = thing.quadrant
            properties = (thing.shape, thing.colour, thing.size)
            labels[i, 2 * row + column] = torch.tensor(
                [1 + names.index(name) for names, name in zip(_LABELS, properties, strict=True)]
            )
    return labels


def _grid_and_embedding(clip: open_clip.CLIP, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last map (batch, channels, 2, 2), which becomes the tokens, and the embeddings."""
    out = clip.visual.forward_intermediates(pixels)
    return out["image_intermediates"][-1], out["image_features"]


class _LabelProbe(nn.Module):
    """Linear classifier of a quadrant's labels from its token."""

    def __init__(self, channels: int):
        super().__init__()
        self.sizes = [1 + len(names) for names in _LABELS]
        self.linear = nn.Linear(channels, sum(self.sizes))

    def forward(self, grid: Tensor) -> tuple[Tensor, ...]:
        """Return logits (batch, 4, labels) of shape, colour and size."""
        return self.linear(grid.flatten(2).mT).split(self.sizes, dim=-1)

    def loss(self, grid: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the three labels' cross-entropies."""
        losses = [
            F.cross_entropy(logits.flatten(0, 1), labels[..., i].flatten())
            for i, logits in enumerate(self(grid))
        ]
        return sum(losses[1:], start=losses[0])


@torch.inference_mode()
def _evaluate(
    clip: open_clip.CLIP,
    probe: _LabelProbe,
    tokenizer: open_clip.SimpleTokenizer,
    pixels: Tensor,
    captions: list[tuple[str, ...]],
    scenes: list[Scene],
) -> Probe:
    """Measure the probe where quadrants are taken, and retrieval by each image's first caption."""
    parts = [_grid_and_embedding(clip, normalised(chunk)) for chunk in pixels.split(100)]
    grid, image = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    labels = quadrant_labels(scenes)
    taken = labels[..., 0] > 0
    shape, colour, size = (
        (logits.argmax(-1) == labels[..., i])[taken].float().mean().item()
        for i, logits in enumerate(probe(grid))
    )
    words = clip.encode_text(tokenizer([c[0] for c in captions]), normalize=True)
    retrieved = (F.normalize(image, dim=-1) @ words.T).argmax(-1) == torch.arange(len(captions))
    return Probe(shape, colour, size, retrieval_at_1=retrieved.float().mean().item())

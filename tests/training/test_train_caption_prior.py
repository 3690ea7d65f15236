import pytest
import torch

from dsacap.config.sections import GeneratorTraining
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import Example
from dsacap.training import small_model
from dsacap.training.train_caption_prior import train_caption_prior
from dsacap.vision.generators.caption_prior import new_caption_prior
from dsacap.vision.generators.generator import FeatureGenerator
from dsacap.vision.generators.generator_check import held_out_auc, near_captions

COLOURS = ["red", "green", "blue", "grey"]
CAPTIONS = [
    [f"a {a} ring left of a {b} one", f"a {b} ring right of a {a} one"]
    for a in COLOURS
    for b in COLOURS
    if a != b
]


def embeddings() -> torch.Tensor:
    """Embeddings (12, 4 * 6) of the colours left and right, each a random vector."""
    vector_of = dict(
        zip(
            COLOURS,
            torch.randn(len(COLOURS), 6, generator=torch.Generator().manual_seed(1)),
            strict=True,
        )
    )
    words = [captions[0].split() for captions in CAPTIONS]
    rows = [torch.stack([vector_of[of_image[1]], vector_of[of_image[6]]] * 2) for of_image in words]
    return torch.stack(rows).flatten(1)


def trained(folder, steps: int = 60):
    torch.manual_seed(0)
    prior = new_caption_prior(
        (c for of_image in CAPTIONS for c in of_image), 24, width=32, layers=1, max_words=20
    )
    facts = train_caption_prior(
        prior,
        GeneratorTraining(steps=steps, batch_size=24, learning_rate=0.01),
        embeddings(),
        CAPTIONS,
        folder,
    )
    return prior, facts


class Store:
    @staticmethod
    def read(image_ids):
        return embeddings().view(len(CAPTIONS), 4, 6)[list(image_ids)]


def test_it_learns_to_distinguish_right_from_wrong_captions(tmp_path):
    examples = [
        Example(CaptionedImage(i, "val", "x.png", "val", tuple(captions)), tuple(captions))
        for i, captions in enumerate(CAPTIONS)
    ]
    pairs = near_captions(examples, Store, 2)
    assert all(right != wrong for right, wrong, _ in pairs)
    prior, facts = trained(tmp_path)
    found = held_out_auc(FeatureGenerator(prior.to("cpu"), 2), Store, examples, pairs)
    assert facts["steps"] == 60
    assert found["wrong"] == found["nearest photo"] > 0.9
    assert found["random"] > 0.9


def test_killed_and_resumed_it_is_the_same(tmp_path, monkeypatch):
    whole, _ = trained(tmp_path / "whole", 12)
    monkeypatch.setattr(small_model, "_CHECKPOINT_SECONDS", 0)
    saves = []

    def save_twice_then_die(*arguments):
        if len(saves) == 5:
            raise KeyboardInterrupt
        saves.append(1)
        keep(*arguments)

    keep = small_model.save
    monkeypatch.setattr(small_model, "save", save_twice_then_die)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", 12)
    monkeypatch.setattr(small_model, "save", keep)
    resumed, _ = trained(tmp_path / "killed", 12)
    for name in ("prior", "text_encoder"):
        for a, b in zip(
            getattr(whole, name).parameters(), getattr(resumed, name).parameters(), strict=True
        ):
            assert torch.equal(a, b)

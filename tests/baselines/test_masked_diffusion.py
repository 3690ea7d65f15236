import pytest
import torch

from baselines.masked_diffusion import MaskedDiffusion
from dsacap.captioner import UNK
from helpers import SPEC, part_of, random_batch


@pytest.fixture
def captioner():
    torch.manual_seed(2)
    return MaskedDiffusion(MaskedDiffusion.Model(width=16, heads=2, encoder_layers=1, decoder_layers=1), SPEC).eval()


@pytest.mark.parametrize("options", [{"steps": 1}, {"steps": 3}, {"steps": 20}, {"steps": 3, "temperature": 1.0}])
def test_captions_do_not_depend_on_the_batch(captioner, options):
    with torch.no_grad():
        captioner.length_head.weight.mul_(20)  # different lengths in one batch
    batch, decoding = random_batch(6), MaskedDiffusion.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert len({len(said[0]) for said in together}) > 1
    assert together == [captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)]
    assert all(UNK < word < SPEC.vocabulary for said in together for caption in said for word in caption)


def test_steps_fix_the_most_confident_words_and_keep_them(captioner, monkeypatch):
    """After step i of K at least i/K of the words stand, and none changes later."""
    seen, forward = [], captioner._hidden
    monkeypatch.setattr(captioner, "_hidden", lambda words, *rest: seen.append(words.clone()) or forward(words, *rest))
    said = captioner.caption(random_batch(1), 1, 0, MaskedDiffusion.Decoding(steps=3))[0][0]
    for i, words in enumerate(seen):
        fixed = words[0] != captioner.mask
        assert fixed.sum() >= i / 3 * len(said)
        assert (words[0][fixed] == torch.tensor(said)[fixed]).all()


def test_it_learns_length_and_words(captioner):
    batch = random_batch(2, references=1)
    optimizer = torch.optim.Adam(captioner.parameters(), lr=1e-2)
    torch.manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        captioner.loss(batch)["loss"].backward()
        optimizer.step()
    said = captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(steps=4))
    assert [c[0] for c in said] == [[w for w in image[0] if w > UNK] for image in batch.captions.tolist()]

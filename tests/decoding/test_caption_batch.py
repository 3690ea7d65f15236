import pytest
import torch

from dsacap.baselines.autoregressive import Autoregressive
from dsacap.baselines.bit_diffusion import BitDiffusion
from dsacap.captioner.choice import Choice, ChosenDecoding
from dsacap.captioner.interface import Batch
from dsacap.common.errors import UserError
from dsacap.config.parsing import decoding_of
from dsacap.decoding.caption_batch import Consensus, caption_batch
from dsacap.method.dsacap import DSACap
from dsacap.text.vocabulary import EOS, PAD
from dsacap.training.cider_reward import CiderDReward
from helpers import SPEC, ListMemory, part_of, random_batch

TRAIN = [[4, 5, 6, EOS], [4, 5, 7, EOS], [8, 9, EOS, PAD], [10, 11, EOS, PAD]]


@pytest.fixture(params=["autoregressive", "dsacap"])
def captioner(request):
    torch.manual_seed(0)
    if request.param == "autoregressive":
        made = Autoregressive(Autoregressive.Model(width=16, heads=2), SPEC)
    else:
        made = DSACap(DSACap.Model(width=16, heads=2, vertices=12), SPEC)
    made.learn_from(ListMemory(TRAIN))
    return made.eval()


def drawing(captioner):
    if isinstance(captioner, Autoregressive):
        return captioner.Decoding(temperature=1.0)
    return captioner.Decoding(noise_level=0, search="perturb", temperature=1.0)


def test_the_consensus_is_the_caption_with_the_highest_mean_cider_against_the_others():
    drawn = [
        [[4, 5, 6], [8, 9], [4, 5, 7], [4, 5, 6, 12]],
        [[8, 9], [10, 11], [13], [10, 11, 12]],
    ]
    reward = CiderDReward([[" ".join(map(str, words[: words.index(EOS)]))] for words in TRAIN])
    expected = []
    for captions in drawn:
        texts = [" ".join(map(str, words)) for words in captions]
        others = [texts[:at] + texts[at + 1 :] for at in range(len(texts))]
        expected.append(int(reward.score(others, texts).argmax()))
    assert Consensus(TRAIN).choose(drawn) == expected == [0, 1]


def test_of_equally_good_captions_the_first_is_chosen():
    assert Consensus(TRAIN).choose([[[4, 5], [4, 5]], [[12], [13]]]) == [0, 0]


def test_reranking_weighs_the_likelihood_against_that_of_a_blank_image(captioner):
    batch, draws = random_batch(5), drawing(captioner)
    drawn = captioner.caption(batch, 6, 3, draws)
    for image_free in (0.0, 0.5):
        decoding = ChosenDecoding(draws, Choice("rerank", 6, image_free))
        chosen = caption_batch(captioner, batch, 1, 3, decoding)
        for at, captions in enumerate(drawn):
            image = part_of(batch, slice(at, at + 1))
            blank = Batch(image.image_ids, torch.zeros_like(image.features))
            scores = []
            for words in captions:
                caption = torch.tensor([[[*words, EOS]]])
                log_p, log_q = (
                    captioner.evidence(each).log_prob(caption).item() for each in (image, blank)
                )
                scores.append((log_p - image_free * log_q) / (len(words) + 1))
            # Equal captions have scores that differ by rounding, so compare the captions' scores.
            best = scores[captions.index(chosen[at][0])]
            assert best == pytest.approx(max(scores), abs=1e-4)


@pytest.mark.parametrize("choose", ["consensus", "rerank"])
def test_a_chosen_caption_is_one_of_those_drawn_and_does_not_depend_on_the_batch(captioner, choose):
    batch, draws = random_batch(5), drawing(captioner)
    decoding = ChosenDecoding(draws, Choice(choose, 5))
    together = caption_batch(captioner, batch, 1, 7, decoding)
    drawn = captioner.caption(batch, 5, 7, draws)
    assert all(chosen in captions for [chosen], captions in zip(together, drawn, strict=True))
    assert together == [
        caption_batch(captioner, part_of(batch, slice(i, i + 1)), 1, 7, decoding)[0]
        for i in range(5)
    ]


def test_the_evidence_has_no_randomness(captioner):
    batch = random_batch(4)
    first, second = (captioner.evidence(batch).log_prob(batch.captions) for _ in range(2))
    assert torch.equal(first, second)


def test_consensus_needs_the_train_captions():
    captioner = Autoregressive(Autoregressive.Model(width=16, heads=2), SPEC)
    decoding = ChosenDecoding(Autoregressive.Decoding(temperature=1.0), Choice("consensus"))
    with pytest.raises(ValueError, match="call learn_from first"):
        caption_batch(captioner, random_batch(2), 1, 0, decoding)


def test_options_become_a_chosen_decoding():
    options = {"temperature": 0.5, "choose": "rerank", "of": 4, "image_free": 0.5}
    decoding = decoding_of(Autoregressive, options, "here")
    draws = Autoregressive.Decoding(temperature=0.5)
    assert decoding == ChosenDecoding(draws, Choice("rerank", 4, 0.5)) and not decoding.random
    assert decoding_of(Autoregressive, {"temperature": 0.5}, "here") == draws
    steps = decoding_of(DSACap, {"steps": 3, "choose": "consensus"}, "here").steps
    assert steps == 3


@pytest.mark.parametrize(
    ("captioner", "options", "message"),
    [
        (Autoregressive, {"choose": "consensus"}, "here: choose needs a decoding that draws"),
        (Autoregressive, {"temperature": 1.0, "choose": "best"}, "'best' is neither consensus nor"),
        (Autoregressive, {"temperature": 1.0, "choose": "consensus", "of": 1}, "needs of >= 2"),
        (
            Autoregressive,
            {"temperature": 1.0, "choose": "consensus", "image_free": 0.5},
            "image_free is an option of choose: rerank",
        ),
        (Autoregressive, {"temperature": 1.0, "of": 5}, "here: unknown key 'of'"),
        (BitDiffusion, {"choose": "rerank"}, "which BitDiffusion does not compute"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(captioner, options, message):
    with pytest.raises(ValueError, match=message):
        decoding_of(captioner, options, "here")


def test_reranking_by_a_captioner_without_likelihood_is_an_error():
    captioner = BitDiffusion(BitDiffusion.Model(width=16, heads=2), SPEC)
    decoding = ChosenDecoding(BitDiffusion.Decoding(steps=2), Choice("rerank", 2))
    with pytest.raises(UserError, match="exact probability of a caption"):
        caption_batch(captioner, random_batch(2), 1, 0, decoding)

import pytest
import torch

from dsacap.method.dsacap import DSACap
from dsacap.text.vocabulary import EOS
from helpers import SPEC, ListMemory, part_of, random_batch


@pytest.fixture
def captioner():
    torch.manual_seed(3)
    return DSACap(DSACap.Model(width=16, heads=2, vertices=12), SPEC).eval()


def test_noise_draws_different_captions_and_its_absence_one(captioner):
    batch = random_batch(6)
    noisy = captioner.caption(batch, 8, 0, DSACap.Decoding(noise_level=0.9))
    assert any(len({tuple(c) for c in captions}) > 1 for captions in noisy)
    clean = captioner.caption(batch, 3, 0, DSACap.Decoding(noise_level=0))
    assert all(first == second == third for first, second, third in clean)
    assert clean == captioner.caption(batch, 3, 1, DSACap.Decoding(noise_level=0))


def test_steps_on_a_clean_image_change_nothing(captioner):
    once, thrice = (
        captioner.caption(random_batch(6), 1, 0, DSACap.Decoding(noise_level=0, steps=steps))
        for steps in (1, 3)
    )
    assert once == thrice


@pytest.mark.parametrize(
    ("steps", "search"),
    [(1, "lookahead"), (4, "lookahead"), (1, "viterbi"), (1, "draw"), (1, "perturb")],
)
def test_captions_do_not_depend_on_the_batch(captioner, steps, search):
    temperature = {"temperature": 0.8} if search in ("draw", "perturb") else {}
    batch, decoding = (
        random_batch(5),
        DSACap.Decoding(noise_level=0.5, steps=steps, search=search, **temperature),
    )
    together = captioner.caption(batch, 3, 7, decoding)
    alone = [
        captioner.caption(part_of(batch, slice(i, i + 1)), 3, 7, decoding)[0] for i in range(5)
    ]
    assert together == alone
    assert [captions[:2] for captions in together] == captioner.caption(
        batch, 2, 7, decoding
    )  # nor on how many are drawn


@pytest.mark.parametrize("search", ["draw", "perturb"])
def test_a_temperature_makes_captions_differ_on_the_clean_image(captioner, search):
    batch = random_batch(6)
    cold, warm = (
        captioner.caption(batch, 8, 0, DSACap.Decoding(noise_level=0, search=search, temperature=t))
        for t in (1e-6, 1.0)
    )
    assert all(len({tuple(c) for c in captions}) == 1 for captions in cold)
    assert all(len({tuple(c) for c in captions}) > 3 for captions in warm)
    assert warm != captioner.caption(
        batch, 8, 1, DSACap.Decoding(noise_level=0, search=search, temperature=1.0)
    )


def test_a_length_penalty_changes_the_length_of_captions(captioner):
    def words_at(penalty: float, **options) -> int:
        decoding = DSACap.Decoding(noise_level=0, length_penalty=penalty, **options)
        return sum(len(of[0]) for of in captioner.caption(random_batch(6), 1, 0, decoding))

    for options in ({"search": "viterbi"}, {"search": "perturb", "temperature": 0.1}):
        assert words_at(0, **options) < words_at(4, **options)


def test_bigrams_of_the_train_captions_change_the_captions(captioner):
    batch = random_batch(6)
    with pytest.raises(ValueError, match="call learn_from first"):
        captioner.caption(batch, 1, 0, DSACap.Decoding(search="viterbi", bigram_weight=0.5))
    captioner.learn_from(ListMemory([[5, 6, 7, EOS], [5, 6, 7, EOS]]))
    plain, with_bigrams = (
        captioner.caption(
            batch,
            1,
            0,
            DSACap.Decoding(noise_level=0, search="viterbi", candidates=20, bigram_weight=weight),
        )
        for weight in (0.0, 50.0)
    )
    assert plain != with_bigrams == [[[5, 6, 7]]] * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "beam"}, "not lookahead, viterbi, draw or perturb"),
        ({"bigram_weight": 0.5}, "needs search: viterbi or perturb"),
        ({"length_penalty": 1.5}, "a length_penalty needs search: viterbi or perturb"),
        ({"length_penalty": -1, "search": "viterbi"}, "length_penalty >= 0"),
        ({"candidates": 0}, ">= 1"),
        ({"search": "draw"}, "need a temperature > 0"),
        ({"search": "viterbi", "temperature": 1}, "no other search has a temperature"),
        ({"search": "perturb"}, "draw and perturb need a temperature > 0"),
    ],
)
def test_search_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DSACap.Decoding(**options)


def test_dropout_is_for_training_only(captioner):
    dropped = DSACap(DSACap.Model(width=16, heads=2, vertices=12, dropout=0.5), SPEC)
    dropped.load_state_dict(captioner.state_dict())
    batch = random_batch(4)
    assert dropped.eval().caption(batch, 2, 0, DSACap.Decoding()) == captioner.caption(
        batch, 2, 0, DSACap.Decoding()
    )
    losses = []
    for model in (dropped.train(), captioner.train()):
        torch.manual_seed(0)
        losses.append(model.loss(batch)["loss"].item())
    assert losses[0] != losses[1]


def test_noise_off_training_sees_the_clean_image(captioner, monkeypatch):
    quiet = DSACap(DSACap.Model(width=16, heads=2, vertices=12, t_max=0), SPEC)
    inputs = []
    forward = quiet.denoiser.forward
    monkeypatch.setattr(
        quiet.denoiser,
        "forward",
        lambda z, t, caption: inputs.append((z, t)) or forward(z, t, caption),
    )
    batch = random_batch(3)
    quiet.loss(batch)
    torch.testing.assert_close(inputs[0][0], batch.features)
    assert inputs[0][1].abs().max() == 0


def test_loss_prefers_the_reference_it_is_fit_to(captioner):
    """Training on two images raises the likelihood of their captions, which are then generated."""
    batch = random_batch(2, references=2)
    optimizer = torch.optim.Adam(captioner.parameters(), lr=5e-3)
    first = captioner.loss(batch)
    for _ in range(60):
        optimizer.zero_grad()
        losses = captioner.loss(batch)
        losses["loss"].backward()
        optimizer.step()
    assert losses["caption"] < 0.3 * first["caption"]
    captions = captioner.caption(batch, 1, 0, DSACap.Decoding(noise_level=0))
    references = [[[w for w in r if w > 3] for r in image] for image in batch.captions.tolist()]
    assert all(c[0] in refs for c, refs in zip(captions, references, strict=True))


def test_too_few_vertices_are_refused():
    with pytest.raises(ValueError, match="at least 9"):
        DSACap(DSACap.Model(width=16, heads=2, vertices=8), SPEC)

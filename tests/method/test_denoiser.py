import pytest
import torch

from dsacap.method.denoiser import Denoiser
from dsacap.method.dsacap import DSACap
from helpers import SPEC, random_batch


def denoiser(**options) -> Denoiser:
    torch.manual_seed(0)
    made = Denoiser(tokens=3, channels=5, width=16, heads=2, layers=3, **options)
    for block in made.blocks:  # they begin as the identity
        torch.nn.init.normal_(block.modulation.weight, std=0.3)
    return made.eval()


def test_a_time_for_each_token_equals_one_for_the_image_where_they_are_the_same():
    network, z = denoiser(), torch.randn(2, 3, 5)
    times = torch.tensor([0.2, 0.7])
    by_image, by_token = network(z, times), network(z, times[:, None].expand(2, 3))
    for one, other in zip(by_image, by_token, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(by_image[0], network(z, torch.rand(2, 3))[0])


def test_hidden_states_of_a_middle_layer_do_not_depend_on_later_ones():
    network, z, times = denoiser(read_from=2), torch.randn(2, 3, 5), torch.rand(2)
    before = network(z, times)
    torch.nn.init.normal_(network.blocks[2].modulation.weight, std=0.5)
    after = network(z, times)
    assert torch.equal(before[1], after[1]) and not torch.allclose(before[0], after[0])
    torch.nn.init.normal_(network.blocks[1].modulation.weight, std=0.5)
    assert not torch.allclose(before[1], network(z, times)[1])


@pytest.mark.parametrize(
    "options",
    [{"read_from": 1}, {"noise_per_token": True}, {"noise_shift": 2.0, "t_max": 1.0}],
)
def test_dsacap_learns_and_captions_with_every_option_of_noise(options):
    torch.manual_seed(0)
    captioner = DSACap(DSACap.Model(width=16, heads=2, vertices=12, **options), SPEC)
    batch = random_batch(4)
    loss = captioner.loss(batch)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for name, p in captioner.named_parameters() if "denoiser" in name)
    captions = captioner.eval().caption(batch, 2, 0, DSACap.Decoding(steps=2))
    assert all(words for of_image in captions for words in of_image)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"read_from": 3}, "read_from: 3 is not a layer"), ({"noise_shift": 0.0}, "noise_shift > 0")],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DSACap.Model(**options)

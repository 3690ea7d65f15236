import pytest
import torch

from dsacap.config.encoder import AutoencoderTraining
from dsacap.training import small_model
from dsacap.training import train_autoencoder as module
from dsacap.training.train_autoencoder import reconstruction_error, train_autoencoder
from dsacap.vision.encoders.latent_encoder import new_autoencoder

COLOURS = torch.tensor([[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 220, 40]])


def photos() -> torch.Tensor:
    """Sixteen photos (16, 3, 32, 32) whose halves have different colours."""
    left, right = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    halves = [COLOURS[side][:, :, None, None].expand(-1, -1, 32, 16) for side in (left, right)]
    return torch.cat(halves, dim=3).byte()


def trained(folder, steps: int):
    torch.manual_seed(0)
    autoencoder = new_autoencoder(8, 4)
    settings = AutoencoderTraining(
        steps=steps, batch_size=8, learning_rate=0.003, size=32, width=8, seed=1
    )
    return autoencoder, train_autoencoder(autoencoder, settings, photos(), folder)


def test_it_learns_more_than_the_mean_photo(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WARMUP", 5)
    autoencoder, facts = trained(tmp_path, 40)
    found = reconstruction_error(autoencoder, photos())
    assert facts["steps"] == 40 and facts["parameters"] > 0
    assert found["rmse"] < 0.95 * found["spread"]
    spread = (photos() / 255).std(0, correction=0).square().mean().sqrt().item()
    assert found["spread"] == pytest.approx(spread, abs=1e-4)


def test_killed_and_resumed_it_is_the_same(tmp_path, monkeypatch):
    whole, _ = trained(tmp_path / "whole", 4)
    monkeypatch.setattr(small_model, "_CHECKPOINT_SECONDS", 0)
    keep, saves = small_model.save, []

    def save_twice_then_die(*arguments):
        if len(saves) == 2:
            raise KeyboardInterrupt
        saves.append(1)
        keep(*arguments)

    monkeypatch.setattr(small_model, "save", save_twice_then_die)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", 4)
    monkeypatch.setattr(small_model, "save", keep)
    resumed, _ = trained(tmp_path / "killed", 4)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)

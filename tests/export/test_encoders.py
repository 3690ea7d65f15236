import json

import open_clip
import pytest
import timm
import torch

from dsacap.common.errors import UserError
from dsacap.common.files import write_tensors
from dsacap.config.encoder import AutoencoderTraining, Encoder
from dsacap.export.description import OpenClip
from dsacap.export.encoders import files_of, read_encoder, write_encoder
from dsacap.vision.encoders.clip_encoder import local_name
from dsacap.vision.encoders.latent_encoder import WEIGHTS, load_latent_encoder, new_latent_encoder
from dsacap.vision.encoders.load import load_encoder
from dsacap.vision.encoders.tiny_clip import MODEL, save_clip
from helpers import noise_photo

PHOTO = noise_photo((90, 70), 80)


@pytest.fixture
def tiny_open_clip(tmp_path, monkeypatch):
    """A model named `tiny` in open_clip, with weights in a file and under the tag `noise`."""
    (tmp_path / "tiny.json").write_text(json.dumps(MODEL))
    registry = dict(open_clip.factory._MODEL_CONFIGS)
    open_clip.add_model_config(tmp_path / "tiny.json")
    write_tensors(tmp_path / "tiny.safetensors", open_clip.CLIP(**MODEL).state_dict())
    tag = {
        "file": str(tmp_path / "tiny.safetensors"),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"noise": tag})
    yield tmp_path
    open_clip.factory._MODEL_CONFIGS.clear()
    open_clip.factory._MODEL_CONFIGS.update(registry)


def round_trip(settings: Encoder, folder):
    """Return the description of an encoder, and the encoder that is read from its files."""
    folder.mkdir()
    description = write_encoder(settings, None, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(files_of(description))
    return description, read_encoder(description, folder)


def same(a, b) -> bool:
    pixels = a.preprocess(PHOTO)
    return torch.equal(pixels, b.preprocess(PHOTO)) and all(
        map(torch.equal, a(pixels[None]), b(pixels[None]))
    )


def test_weights_in_a_file_are_exported(tiny_open_clip, tmp_path):
    file = str(tmp_path / "tiny.safetensors")
    description, read = round_trip(Encoder(name="tiny", pretrained=file, grid=1), tmp_path / "out")
    assert description.tag is None and same(read, load_encoder("tiny", file, 1))


def test_weights_of_a_tag_are_named_and_checked(tiny_open_clip, tmp_path):
    description, read = round_trip(Encoder(name="tiny", pretrained="noise"), tmp_path / "out")
    assert (
        description.tag == "noise"
        and files_of(description) == ()
        and same(read, load_encoder("tiny", "noise"))
    )
    with pytest.raises(UserError, match="other weights than when"):
        read_encoder(description.model_copy(update={"tensors_sha256": "0" * 64}), tmp_path)
    with pytest.raises(UserError, match="open_clip has no weights 'noize'"):
        read_encoder(description.model_copy(update={"tag": "noize"}), tmp_path)


def test_a_tag_is_not_read_as_a_file_of_the_working_directory(
    tiny_open_clip, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"open_clip has no weights 'tiny.safetensors'"):
        read_encoder(
            OpenClip(name="tiny", tag="tiny.safetensors", tensors_sha256="0" * 64), tmp_path
        )


def test_a_folder_in_open_clips_format_is_exported(tmp_path):
    torch.manual_seed(0)
    save_clip(open_clip.CLIP(**MODEL), tmp_path / "clip")
    settings = Encoder(name=local_name(tmp_path / "clip"))
    assert same(round_trip(settings, tmp_path / "out")[1], load_encoder(settings.name, None))


def test_a_timm_model_is_exported(tmp_path):
    write_tensors(tmp_path / "net.safetensors", timm.create_model("test_efficientnet").state_dict())
    settings = Encoder(
        name="timm:test_efficientnet", pretrained=str(tmp_path / "net.safetensors"), grid=2
    )
    assert same(
        round_trip(settings, tmp_path / "out")[1],
        load_encoder(settings.name, settings.pretrained, 2),
    )


def test_patches_are_exported_by_their_name(tmp_path):
    settings = Encoder(name="patches:32/8", grid=2)
    description, read = round_trip(settings, tmp_path / "out")
    assert files_of(description) == () and same(read, load_encoder("patches:32/8", None, 2))


@pytest.mark.parametrize("further", [False, True])
def test_an_autoencoder_is_exported_as_it_was_trained_or_trained_further(further, tmp_path):
    sizes = AutoencoderTraining(steps=1, size=32, width=8)
    write_tensors(tmp_path / WEIGHTS, new_latent_encoder(sizes).net.state_dict())
    encoder = load_latent_encoder(sizes, tmp_path, grid=2)
    if further:
        with torch.no_grad():
            encoder.net.conv_in.weight.mul_(1.01)
    (tmp_path / "out").mkdir()
    description = write_encoder(
        Encoder(autoencoder=sizes, grid=2),
        tmp_path,
        tmp_path / "out",
        encoder.state_dict() if further else None,
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [*files_of(description)]
    read = read_encoder(description, tmp_path / "out")
    assert same(read, encoder) and same(read, load_latent_encoder(sizes, tmp_path, 2)) != further


@pytest.mark.parametrize("kind", ["file", "tag", "folder", "timm"])
def test_weights_that_a_system_trained_further_are_exported(kind, tiny_open_clip, tmp_path):
    """So is the normalisation of pixels, which for a tag is not that of its name."""
    save_clip(open_clip.CLIP(**MODEL), tmp_path / "clip")
    write_tensors(tmp_path / "net.safetensors", timm.create_model("test_efficientnet").state_dict())
    settings = {
        "file": Encoder(name="tiny", pretrained=str(tmp_path / "tiny.safetensors"), grid=1),
        "tag": Encoder(name="tiny", pretrained="noise", grid=1),
        "folder": Encoder(name=local_name(tmp_path / "clip")),
        "timm": Encoder(
            name="timm:test_efficientnet", pretrained=str(tmp_path / "net.safetensors"), grid=2
        ),
    }[kind]
    fine_tuned = load_encoder(settings.name, settings.pretrained, settings.grid).for_photos_alone()
    with torch.no_grad():
        for parameter in fine_tuned.parameters():
            parameter.mul_(1.01)
    (tmp_path / "out").mkdir()
    description = write_encoder(settings, None, tmp_path / "out", fine_tuned.state_dict())
    assert (
        sorted(path.name for path in (tmp_path / "out").iterdir())
        == sorted(files_of(description))
        != []
    )
    read = read_encoder(description, tmp_path / "out")
    assert same(read, fine_tuned) and not same(
        read, load_encoder(settings.name, settings.pretrained, settings.grid)
    )

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
)

from dsacap.common.errors import UserError
from dsacap.common.files import read_tensors, sha256, write_tensors
from dsacap.config.encoder import Encoder
from dsacap.export.encoders import write_encoder
from dsacap.vision.encoders.load import load_encoder, shape_without_weights
from helpers import noise_photo

TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def blip(kind=BlipForConditionalGeneration):
    torch.manual_seed(0)
    vision = VISION | {"intermediate_size": 32, "image_size": 64, "patch_size": 16}
    return kind(BlipConfig(text_config=TEXT | {"intermediate_size": 16}, vision_config=vision))


@pytest.mark.parametrize("kind", [BlipForConditionalGeneration, BlipForImageTextRetrieval])
def test_tokens_are_those_of_the_vision_transformer(tmp_path, kind):
    model = blip(kind).eval()
    model.save_pretrained(tmp_path)
    encoder = load_encoder(f"blip:{tmp_path}", None)
    pixels = torch.stack([encoder.preprocess(noise_photo((90, 120), 50, seed)) for seed in (0, 1)])
    assert pixels.shape == (2, 3, 64, 64)
    tokens, pooled = encoder(pixels)
    with torch.no_grad():
        expected = model.vision_model(pixels).last_hidden_state
    torch.testing.assert_close(tokens, expected)
    torch.testing.assert_close(pooled, torch.nn.functional.normalize(expected[:, 0], dim=-1))
    averaged, _ = load_encoder(f"blip:{tmp_path}", None, grid=2)(pixels)
    cells = expected[:, 1:].unflatten(1, (4, 4))
    torch.testing.assert_close(averaged[:, 1], cells[:, :2, :2].mean((1, 2)))
    assert shape_without_weights(f"blip:{tmp_path}", grid=2) == encoder_shape(tmp_path, 2)
    file = tmp_path / "model.safetensors"
    assert encoder.identity() == {"file": file.name, "sha256": sha256(file)}


def encoder_shape(folder, grid: int) -> tuple[int, int, int]:
    return load_encoder(f"blip:{folder}", None, grid=grid).shape()


def test_a_photo_can_be_kept_as_pixels(tmp_path):
    blip().save_pretrained(tmp_path)
    encoder, photo = load_encoder(f"blip:{tmp_path}", None), noise_photo((90, 120), 50)
    again = encoder.from_bytes(encoder.to_bytes(photo)[None])[0]
    torch.testing.assert_close(again, encoder.preprocess(photo), atol=1e-5, rtol=0)


def test_what_is_no_blip_is_refused(tmp_path):
    with pytest.raises(UserError, match=rf"encoder blip:{tmp_path}/nothing: "):
        load_encoder(f"blip:{tmp_path}/nothing", None)
    BertModel(BertConfig(**TEXT, intermediate_size=16)).save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match="is a 'bert' of transformers, not a BLIP"):
        load_encoder(f"blip:{tmp_path}/bert", None)
    blip().save_pretrained(tmp_path / "blip")
    file = tmp_path / "blip" / "model.safetensors"
    with pytest.raises(UserError, match=rf"{file}: sha256 is {sha256(file)}, expected {'0' * 64}"):
        load_encoder(f"blip:{tmp_path}/blip", None, expected_sha256="0" * 64)


def test_an_export_says_that_it_cannot_have_it(tmp_path):
    blip().save_pretrained(tmp_path / "blip")
    with pytest.raises(UserError, match="cannot be exported"):
        write_encoder(Encoder(name=f"blip:{tmp_path / 'blip'}"), tmp_path, tmp_path)


def test_weights_that_are_absent_are_not_made_up(tmp_path):
    blip().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors, metadata = read_tensors(file)
    kept = {name: tensor for name, tensor in tensors.items() if "vision_model.enc" not in name}
    write_tensors(file, kept, metadata)
    with pytest.raises(UserError, match=r"lacks \d+ tensors of BLIP's vision transformer, such as"):
        load_encoder(f"blip:{tmp_path}", None)

import json

import open_clip
import pytest
import torch
from PIL import Image

from dsacap.data.grammar import Scene, Thing
from dsacap.errors import UserError
from dsacap.files import sha256
from dsacap.stages import load_configured_encoder
from dsacap.vision.encoder import ClipEncoder, load_encoder, local_name
from dsacap.vision.tiny_clip import normalised, quadrant_labels, save_clip

TINY_VIT = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def save_vit(folder):
    """A random vision transformer in open_clip's own format, as a user's download would lie there."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    clip = open_clip.CLIP(**TINY_VIT)
    save_clip(clip, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    (folder / "open_clip_config.json").write_text(json.dumps({**config, "model_cfg": TINY_VIT}))
    return clip.eval()


def test_vision_transformer_gives_class_token_and_grid(tmp_path):
    clip = save_vit(tmp_path)
    pixels = torch.randn(2, 3, 64, 64)
    tokens, pooled = load_encoder(local_name(tmp_path), None)(pixels)
    assert tokens.shape == (2, 1 + 64, 32) and pooled.shape == (2, 24)
    torch.testing.assert_close(pooled, clip.encode_image(pixels, normalize=True))
    pooled_grid, _ = load_encoder(local_name(tmp_path), None, grid=4)(pixels)
    assert pooled_grid.shape == (2, 1 + 16, 32)
    torch.testing.assert_close(pooled_grid[:, 0], tokens[:, 0])
    block = tokens[:, 1:].unflatten(1, (8, 8))[:, :2, :2].mean((1, 2))  # the first 2x2 tokens become the first of the 4x4
    torch.testing.assert_close(pooled_grid[:, 1], block)


def test_saved_tiny_clip_is_loaded_by_open_clip_itself(tiny_layout):
    encoder = load_configured_encoder(tiny_layout)
    clip, _, preprocess = open_clip.create_model_and_transforms(local_name(tiny_layout.encoder))
    photo = Image.effect_noise((64, 64), 60).convert("RGB")
    pixels = preprocess(photo)[None]
    tokens, pooled = encoder(pixels)
    assert tokens.shape == (1, 4, 256)
    torch.testing.assert_close(pooled, clip.eval().encode_image(pixels, normalize=True))


def test_weights_are_identified_and_checked(tmp_path):
    save_vit(tmp_path)
    file = tmp_path / "open_clip_model.safetensors"
    encoder = load_encoder(local_name(tmp_path), None, expected_sha256=sha256(file))
    assert encoder.identity() == {"file": file.name, "sha256": sha256(file)}
    with pytest.raises(UserError, match=rf"{file}: sha256 is {sha256(file)}, expected {'0' * 64}"):
        load_encoder(local_name(tmp_path), None, expected_sha256="0" * 64)
    with pytest.raises(UserError, match=r"ViT-B-16 \(openai\): sha256 is that of a file"):
        load_encoder("ViT-B-16", "openai", expected_sha256="0" * 64)


def test_weights_without_a_file_are_identified_by_their_tensors(tmp_path):
    clip = save_vit(tmp_path)
    before = ClipEncoder(clip, None).identity()
    assert before == ClipEncoder(clip, None).identity() and list(before) == ["tensors_sha256"]
    clip.logit_scale.add_(1e-3)
    assert ClipEncoder(clip, None).identity() != before


def test_training_scales_pixels_as_open_clip_preprocesses_photos(tiny_layout):
    photo = Image.effect_noise((64, 64), 60).convert("RGB")
    ours = normalised(torch.tensor(list(photo.tobytes()), dtype=torch.uint8).view(1, 64, 64, 3))
    torch.testing.assert_close(ours[0], load_configured_encoder(tiny_layout).preprocess(photo))


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(UserError, match="ViT-Q-16"):
        load_encoder("ViT-Q-16", "openai")
    with pytest.raises(UserError, match="no-such-file"):
        load_encoder("ViT-B-16", "no-such-file.pt")
    with pytest.raises(UserError, match="local-dir"):
        load_encoder(local_name(tmp_path / "absent"), None)


def test_quadrant_labels():
    scene = Scene("grey", (Thing("circle", "green", "small", (0, 1)), Thing("bar", "red", "large", (1, 0))))
    assert quadrant_labels([scene])[0].tolist() == [[0, 0, 0], [1, 2, 2], [6, 1, 1], [0, 0, 0]]

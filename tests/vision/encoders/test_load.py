import json

import open_clip
import pytest
import torch

from dsacap.common.errors import UserError
from dsacap.common.files import sha256
from dsacap.data.scenes.grammar import Scene, Thing
from dsacap.runs.models import load_configured_encoder
from dsacap.vision.encoders.clip_encoder import ClipEncoder, local_name
from dsacap.vision.encoders.load import load_encoder, shape_without_weights
from dsacap.vision.encoders.tiny_clip import normalised, quadrant_labels
from helpers import TINY_VIT, noise_photo, save_vit


def test_vision_transformer_gives_class_token_and_grid(tmp_path):
    clip = save_vit(tmp_path)
    pixels = torch.randn(2, 3, 64, 64)
    tokens, pooled = load_encoder(local_name(tmp_path), None)(pixels)
    assert tokens.shape == (2, 1 + 64, 32) and pooled.shape == (2, 24)
    torch.testing.assert_close(pooled, clip.encode_image(pixels, normalize=True))
    pooled_grid, _ = load_encoder(local_name(tmp_path), None, grid=4)(pixels)
    assert pooled_grid.shape == (2, 1 + 16, 32)
    torch.testing.assert_close(pooled_grid[:, 0], tokens[:, 0])
    # The first 2x2 tokens become the first of the 4x4.
    block = tokens[:, 1:].unflatten(1, (8, 8))[:, :2, :2].mean((1, 2))
    torch.testing.assert_close(pooled_grid[:, 1], block)


def test_saved_tiny_clip_is_loaded_by_open_clip_itself(tiny_layout):
    encoder = load_configured_encoder(tiny_layout)
    clip, _, preprocess = open_clip.create_model_and_transforms(local_name(tiny_layout.encoder))
    photo = noise_photo((64, 64), 60)
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


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Register an open_clip name with two tags, one with QuickGELU, whose weights are local."""
    save_vit(tmp_path / "clip")
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "tiny-vit.json").write_text(json.dumps(TINY_VIT))
    (configs / "tiny-vit-quickgelu.json").write_text(json.dumps({**TINY_VIT, "quick_gelu": True}))
    file = tmp_path / "clip" / "open_clip_model.safetensors"
    known = {"file": str(file), "mean": (0.1, 0.2, 0.3)}
    with monkeypatch.context():
        monkeypatch.setattr(
            open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS)
        )
        for name in ("tiny-vit", "tiny-vit-quickgelu"):
            monkeypatch.setitem(
                open_clip.pretrained._PRETRAINED,
                name,
                {"openai": known | {"quick_gelu": True}, "laion": known},
            )
        open_clip.add_model_config(configs)
        yield file


def test_a_name_and_a_tag(published):
    encoder = load_encoder("tiny-vit", "laion", grid=4, expected_sha256=sha256(published))
    assert encoder.identity() == {"file": published.name, "sha256": sha256(published)}
    assert encoder.preprocess.transforms[-1].mean == (0.1, 0.2, 0.3)  # the tag's own
    assert encoder.shape() == shape_without_weights("tiny-vit", grid=4) == (1 + 16, 32, 24)
    with pytest.raises(
        UserError, match=rf"{published}: sha256 is {sha256(published)}, expected {'0' * 64}"
    ):
        load_encoder("tiny-vit", "laion", expected_sha256="0" * 64)


def test_weights_get_the_activation_that_they_were_trained_with(published):
    """OpenAI's need QuickGELU; under the plain name, open_clip warns and uses another one."""
    pixels = torch.randn(1, 3, 64, 64)
    plain, quick = (
        load_encoder("tiny-vit", "laion")(pixels)[0],
        load_encoder("tiny-vit", "openai")(pixels)[0],
    )
    torch.testing.assert_close(quick, load_encoder("tiny-vit-quickgelu", "openai")(pixels)[0])
    assert not torch.allclose(plain, quick, atol=1e-4)
    with pytest.raises(
        UserError,
        match=r"tiny-vit-quickgelu \(laion\): these weights were not trained with QuickGELU",
    ):
        load_encoder("tiny-vit-quickgelu", "laion")


def test_a_hash_needs_a_file_of_weights(tmp_path):
    with pytest.raises(UserError, match=r"ViT-B-16 \(no-such-tag\): sha256 is the hash of a"):
        load_encoder("ViT-B-16", "no-such-tag", expected_sha256="0" * 64)


@pytest.mark.parametrize(
    ("name", "grid", "shape"),
    [
        ("ViT-B-16", 7, (50, 768, 512)),
        ("ViT-L-14", 7, (50, 1024, 768)),
        ("ViT-L-14", None, (257, 1024, 768)),
        ("timm:efficientnet_lite0", 7, (49, 320, 1280)),
    ],
)
def test_the_size_of_features_is_known_without_weights(name, grid, shape, caplog):
    assert shape_without_weights(name, grid) == shape
    assert not caplog.records


def test_weights_without_a_file_are_identified_by_their_tensors(tmp_path):
    clip = save_vit(tmp_path)
    before = ClipEncoder(clip, None).identity()
    assert before == ClipEncoder(clip, None).identity() and list(before) == ["tensors_sha256"]
    clip.logit_scale.add_(1e-3)
    assert ClipEncoder(clip, None).identity() != before


def test_training_scales_pixels_as_open_clip_preprocesses_photos(tiny_layout):
    photo = noise_photo((64, 64), 60)
    ours = normalised(torch.tensor(list(photo.tobytes()), dtype=torch.uint8).view(1, 64, 64, 3))
    torch.testing.assert_close(ours[0], load_configured_encoder(tiny_layout).preprocess(photo))


def test_unknown_names_are_refused(tmp_path):
    for load in (
        lambda: load_encoder("ViT-B16", "openai"),
        lambda: shape_without_weights("ViT-B16"),
    ):
        with pytest.raises(
            UserError,
            match=r"encoder ViT-B16: open_clip has no such model; similar names: ViT-B-16, ",
        ) as raised:
            load()
        assert len(str(raised.value)) < 200
    with pytest.raises(UserError, match="encoder timm:no_such_net"):
        shape_without_weights("timm:no_such_net")
    with pytest.raises(UserError, match="absent"):
        shape_without_weights(local_name(tmp_path / "absent"))
    with pytest.raises(UserError, match="no-such-file"):
        load_encoder("ViT-B-16", "no-such-file.pt")
    with pytest.raises(UserError, match="local-dir"):
        load_encoder(local_name(tmp_path / "absent"), None)


def test_quadrant_labels():
    scene = Scene(
        "grey", (Thing("circle", "green", "small", (0, 1)), Thing("bar", "red", "large", (1, 0)))
    )
    assert quadrant_labels([scene])[0].tolist() == [[0, 0, 0], [1, 2, 2], [6, 1, 1], [0, 0, 0]]

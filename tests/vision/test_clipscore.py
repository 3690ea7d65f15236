import open_clip
import pytest
import timm
import torch

from dsacap.common.errors import UserError
from dsacap.data.photos import PhotoSource
from dsacap.runs.models import load_configured_encoder
from dsacap.vision.clipscore import clip_score, encode_texts
from dsacap.vision.encoders.load import lacks_weights
from dsacap.vision.encoders.timm_encoder import TimmEncoder
from helpers import noise_photo


def test_scores_equal_the_formula(tiny_layout, tmp_path):
    encoder = load_configured_encoder(tiny_layout)
    tokenizer = open_clip.SimpleTokenizer(context_length=40)
    files, pixels = {}, {}
    for i in (1, 2, 3):
        photo = noise_photo((64, 64), 20 * i)
        photo.save(tmp_path / f"{i}.png")
        files[i], pixels[i] = f"{i}.png", encoder.preprocess(photo)[None]
    references = {
        1: ["a red ring"],
        2: ["a blue bar", "a bar"],
        3: ["a cross", "two crosses", "a plus"],
    }
    candidates = {3: "a ring", 1: "a red ring", 2: "a green box"}
    scores = clip_score(
        encoder, tokenizer, PhotoSource(tmp_path), files, references, candidates, batch_size=2
    )

    def text(caption: str) -> torch.Tensor:
        return encoder.clip.encode_text(tokenizer([f"A photo depicts {caption}"]), normalize=True)[
            0
        ]

    with torch.inference_mode():
        for i, caption in candidates.items():
            fit = 2.5 * max(
                0.0,
                (encoder.clip.encode_image(pixels[i], normalize=True)[0] @ text(caption)).item(),
            )
            agreement = max(0.0, max((text(r) @ text(caption)).item() for r in references[i]))
            assert scores["CLIPScore"].per_image[i] == pytest.approx(fit, abs=1e-5)
            both = 2 * fit * agreement / (fit + agreement) if fit + agreement else 0
            assert scores["RefCLIPScore"].per_image[i] == pytest.approx(both, abs=1e-5)
    assert scores["CLIPScore"].corpus == pytest.approx(
        sum(scores["CLIPScore"].per_image.values()) / 3
    )


def test_half_a_character_is_encoded_as_its_replacement(tiny_layout):
    encoder, tokenizer = (
        load_configured_encoder(tiny_layout),
        open_clip.SimpleTokenizer(context_length=40),
    )
    half, replaced = encode_texts(encoder, tokenizer, ["a \ud83d", "a \ufffd"])
    assert torch.equal(half, replaced)


def test_an_encoder_without_a_text_tower_is_refused():
    with pytest.raises(UserError, match="CLIPScore: needs an image-text encoder"):
        clip_score(TimmEncoder(timm.create_model("test_efficientnet")), None, None, {}, {}, {})


def test_weights_on_this_machine_are_found_without_a_download(tmp_path, monkeypatch):
    """The cache is the hub's: models--OWNER--NAME/snapshots/COMMIT, and refs that name COMMIT."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "hf download timm/vit_base_patch32_clip_224.openai`" in lacks_weights(
        "ViT-B-32", "openai"
    )
    model = tmp_path / "models--timm--vit_base_patch32_clip_224.openai"
    for folder in ("snapshots/abc", "refs"):
        (model / folder).mkdir(parents=True)
    (model / "refs" / "main").write_text("abc")
    (model / "snapshots" / "abc" / "open_clip_model.safetensors").touch()
    assert lacks_weights("ViT-B-32", "openai") is None
    assert lacks_weights("ViT-B-32", "file.pt") is None  # `load_encoder` says what is wrong

import open_clip
import pytest
import timm
import torch
from PIL import Image

from dsacap.common.errors import UserError
from dsacap.data.photos import PhotoSource
from dsacap.runs.models import load_configured_encoder
from dsacap.vision.clipscore import clip_score
from dsacap.vision.encoders.timm_encoder import TimmEncoder


def test_scores_equal_the_formula(tiny_layout, tmp_path):
    encoder = load_configured_encoder(tiny_layout)
    tokenizer = open_clip.SimpleTokenizer(context_length=40)
    files, pixels = {}, {}
    for i in (1, 2, 3):
        photo = Image.effect_noise((64, 64), 20 * i).convert("RGB")
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


def test_an_encoder_without_a_text_tower_is_refused():
    with pytest.raises(UserError, match="CLIPScore: needs an image-text encoder"):
        clip_score(TimmEncoder(timm.create_model("test_efficientnet")), None, None, {}, {}, {})

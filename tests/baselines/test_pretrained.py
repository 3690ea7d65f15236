"""Loading and captioning with tiny models in the real format, whose weights are random."""

import pytest
import torch
import transformers as hf
from PIL import Image

from dsacap.baselines.pretrained import PretrainedCaptioner
from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.config.sections import Checkpoint, Predictions
from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout
from dsacap.stages.checkpoint import caption_by_checkpoint
from dsacap.stages.score import score_system
from helpers import noise_photo

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(40))]
PAD, START, END = 0, 2, 3
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
VISION = {**SMALL, "image_size": 32, "patch_size": 16}
TEXT = {
    **SMALL,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 32,
    "pad_token_id": PAD,
    "bos_token_id": START,
    "eos_token_id": END,
}
SIZE = {"height": 32, "width": 32}


def blip() -> tuple:
    text = {**TEXT, "encoder_hidden_size": 16, "sep_token_id": END, "projection_dim": 16}
    config = hf.BlipConfig(
        text_config=text, vision_config=VISION, projection_dim=16, image_text_hidden_size=16
    )
    return hf.BlipForConditionalGeneration(config), hf.BlipImageProcessor(size=SIZE)


def git() -> tuple:
    processor = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIZE)
    return hf.GitForCausalLM(hf.GitConfig(vision_config=VISION, **TEXT)), processor


def vit_gpt2() -> tuple:
    decoder = hf.GPT2Config(
        vocab_size=len(WORDS),
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=32,
        add_cross_attention=True,
        is_decoder=True,
    )
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        hf.ViTConfig(**VISION), decoder
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = START, PAD, END
    return hf.VisionEncoderDecoderModel(config), hf.ViTImageProcessor(size=SIZE)


def blip_2() -> tuple:
    qformer = {**SMALL, "vocab_size": len(WORDS), "encoder_hidden_size": 16}
    text = hf.OPTConfig(
        vocab_size=len(WORDS) + 1,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        word_embed_proj_dim=16,
        max_position_embeddings=64,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
    )
    config = hf.Blip2Config(
        vision_config=VISION,
        qformer_config=qformer,
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=len(WORDS),
    )
    return hf.Blip2ForConditionalGeneration(config), hf.BlipImageProcessor(size=SIZE)


def saved(kind, folder) -> str:
    torch.manual_seed(0)
    model, processor = kind()
    with torch.no_grad():
        for parameter in model.parameters():
            # Far enough from zero that the photos make a difference.
            parameter.add_(torch.randn_like(parameter) * 0.3)
    tokenizer = hf.BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})
    for part in (model, processor, tokenizer):
        part.save_pretrained(folder)
    return str(folder)


def photos(count: int) -> list[Image.Image]:
    return [noise_photo((40 + 5 * i, 50), 20 + 40 * i) for i in range(count)]


@pytest.mark.parametrize("kind", [blip, git, vit_gpt2, blip_2])
def test_captions_are_in_the_models_words_and_do_not_depend_on_the_batch(kind, tmp_path):
    captioner = PretrainedCaptioner(saved(kind, tmp_path), None, torch.device("cpu"))
    images = photos(3)
    captions = captioner.caption(images, beams=3, max_words=6)
    assert all(
        set(caption.split()) <= set(WORDS[5:]) and len(caption.split()) <= 6 for caption in captions
    )
    assert any(captions)
    assert captions == [captioner.caption([image], beams=3, max_words=6)[0] for image in images]
    assert captioner.parameters > 1000


def test_a_missing_checkpoint_is_reported(tmp_path):
    with pytest.raises(
        UserError, match=r"checkpoint .* \(None\): .*give a folder in transformers' format"
    ):
        PretrainedCaptioner(str(tmp_path), None, torch.device("cpu"))


def test_a_checkpoint_is_a_row_and_resumes_after_a_kill(tiny_layout, tmp_path, monkeypatch):
    checkpoint = Checkpoint(
        name=saved(blip, tmp_path / "model"), beams=1, max_words=5, batch_size=2
    )
    row = Predictions(
        checkpoint=checkpoint, citation="Li et al. 2022", trained_on="nothing: random weights"
    )
    config = tiny_layout.config.model_copy(update={"predictions": {"tiny-blip": row}})
    layout, calls = Layout(config), []
    caption = PretrainedCaptioner.caption

    def killed_at_the_second(self, *arguments, **options):
        calls.append(len(arguments[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return caption(self, *arguments, **options)

    monkeypatch.setattr(PretrainedCaptioner, "caption", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        caption_by_checkpoint(layout, "tiny-blip")
    facts = caption_by_checkpoint(layout, "tiny-blip")
    assert calls == [2, 2, 2, 2]  # three batches, of which the first is not captioned again
    assert facts["images"] == 6 and facts["parameters"] > 1000
    records = read_json(layout.predictions("tiny-blip"))
    assert [r["image_id"] for r in records] == [
        e.image_id for e in load_examples(layout.data, "test")
    ]
    score_system(layout, "tiny-blip", 0)
    assert read_json(layout.scores("tiny-blip", 0))["predictions"]["samples"] == 1

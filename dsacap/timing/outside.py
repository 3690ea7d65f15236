"""transformers' `generate()` on an encoder-decoder of the size of our autoregressive captioner.

The baseline of all speed-ups must not be slow by itself, so it is timed beside this one.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from dsacap.captioner.interface import ImageSpec
from dsacap.text.vocabulary import BOS, EOS, PAD


def bart_of_size(
    model: dict, spec: ImageSpec, images: int, compiled: bool, device: torch.device
) -> tuple[Callable[[], list[list[int]]], int]:
    """Build BART with our numbers of layers and our width, on linearly projected image tokens.

    Args:
        model: Options of the autoregressive captioner's `Model`.
        spec: The sizes of its input and output.
        images: Images of a batch.
        compiled: Whether to compile it with a static cache; on a GPU with CUDA graphs.
        device: Where it runs.

    Returns:
        A call that writes captions of `spec.max_words` words greedily, with cached keys and values;
        and the number of parameters.
    """
    width, layers, heads = model["width"], model.get("decoder_layers", 3), model.get("heads", 4)
    config = BartConfig(
        vocab_size=spec.vocabulary,
        max_position_embeddings=spec.max_words + 2,
        d_model=width,
        decoder_layers=layers,
        decoder_attention_heads=heads,
        decoder_ffn_dim=4 * width,
        encoder_layers=model.get("encoder_layers", 2),
        encoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        decoder_start_token_id=BOS,
        forced_eos_token_id=None,
    )
    torch.manual_seed(0)
    bart: Any = BartForConditionalGeneration(config)
    bart.to(device).eval().requires_grad_(False)
    project = torch.nn.Linear(spec.channels, width).to(device).requires_grad_(False)
    how: dict[str, Any] = {"max_new_tokens": spec.max_words, "min_new_tokens": spec.max_words}
    how |= {"do_sample": False, "num_beams": 1}
    if compiled:
        mode = "reduce-overhead" if device.type == "cuda" else None
        bart.forward = torch.compile(bart.forward, mode=mode, dynamic=False)
        how["cache_implementation"] = "static"
    features_BNC = torch.randn(images, spec.tokens, spec.channels).to(device)

    @torch.inference_mode()
    def generate() -> list[list[int]]:
        memory = bart.model.encoder(inputs_embeds=project(features_BNC))
        outputs = BaseModelOutput(memory.last_hidden_state)
        return bart.generate(encoder_outputs=outputs, **how).tolist()

    return generate, sum(p.numel() for p in (*bart.parameters(), *project.parameters()))

"""Published checkpoints through transformers, as their authors left them: BLIP (Li et al. 2022), BLIP-2 (Li et al. 2023), GIT (Wang et al.
2022), ViT-GPT2 and others that transformers knows as image to text.

They look at the photos by their own preprocessing and speak in tokens of their own, so they stand beside the benchmark's captioners, not
behind their door: nothing of them is trained here, and what they saw before is theirs to state. Beam search without a prompt; in fp32 on
a CPU, in bf16 on a GPU.
"""

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from dsacap.common.errors import UserError


class PretrainedCaptioner:
    def __init__(self, name: str, revision: str | None, device: torch.device):
        """`name` of the hub, with the commit that is meant, or a folder in transformers' format. UserError where it cannot be had."""
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        try:
            self.processor = AutoImageProcessor.from_pretrained(name, revision=revision)
            self.tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
            self.model = (
                AutoModelForImageTextToText.from_pretrained(name, revision=revision, dtype=dtype)
                .to(device)
                .eval()
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"checkpoint {name} ({revision}): {str(error).splitlines()[0]}; give a folder in transformers' format, or a name of the hub"
            ) from None

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @torch.inference_mode()
    def caption(self, photos: Sequence[Image.Image], *, beams: int, max_words: int) -> list[str]:
        """One caption a photo, of at most `max_words` of the model's own tokens."""
        pixels = self.processor(list(photos), return_tensors="pt").pixel_values.to(
            self.model.device, self.model.dtype
        )
        ids = self.model.generate(
            pixel_values=pixels, num_beams=beams, max_new_tokens=max_words, do_sample=False
        )
        return [
            caption.strip()
            for caption in self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        ]

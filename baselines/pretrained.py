"""Published captioners through transformers, as their authors left them.

BLIP (Li et al. 2022), BLIP-2 (Li et al. 2023), GIT (Wang et al. 2022), ViT-GPT2 and others that
transformers knows as image-to-text models. They preprocess the photos themselves and use tokens of
their own, so they do not implement `Captioner`. Nothing of them is trained here, and only their
authors can state what they were trained on. Captions are written by beam search without a prompt,
in fp32 on a CPU and in bf16 on a GPU.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from dsacap.common.errors import UserError


class PretrainedCaptioner:
    """A published image-to-text model of transformers."""

    def __init__(self, name: str, revision: str | None, device: torch.device):
        """Load a model.

        Args:
            name: A model on the hub, or a folder in transformers' format.
            revision: The commit of a model on the hub.
            device: Where the model runs.

        Raises:
            UserError: The model, or that commit of it, cannot be loaded.
        """
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        try:
            self.processor = AutoImageProcessor.from_pretrained(name, revision=revision)
            self.tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
            # Any: transformers' annotation of `to` accepts no device.
            model: Any = AutoModelForImageTextToText.from_pretrained(
                name, revision=revision, dtype=dtype
            )
            self.model = model.to(device).eval()
        except (OSError, ValueError) as error:
            raise UserError(
                f"checkpoint {name} ({revision}): {str(error).splitlines()[0]}; "
                "give a folder in transformers' format, or the name of a model on the hub"
            ) from None

    @property
    def parameters(self) -> int:
        """Number of weights of the model."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @torch.inference_mode()
    def caption(self, photos: Sequence[Image.Image], *, beams: int, max_words: int) -> list[str]:
        """Return one caption for each photo, by beam search.

        Args:
            photos: RGB images of any size.
            beams: Number of beams.
            max_words: Largest number of the model's own tokens in a caption.
        """
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

"""Encoders of open_clip and of timm that are trained with their captioner."""

import pytest
import timm
import torch

from dsacap.common.files import write_tensors
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder
from dsacap.stages.features import make_features
from dsacap.stages.pixels import make_pixels
from dsacap.vision.encoders.clip_encoder import local_name
from fine_tuning import encoder_of, train, weights
from helpers import save_vit, tiny_config

HIDDEN_AVX512 = (
    torch.cpu._is_avx512_supported() and torch.backends.cpu.get_cpu_capability() != "AVX512"
)
BF16_ATTENTION = pytest.mark.skipif(
    HIDDEN_AVX512, reason="torch fails in bf16 attention if ATEN_CPU_CAPABILITY hides AVX-512"
)


@pytest.mark.parametrize("kind", [pytest.param("vit", marks=BF16_ATTENTION), "timm"])
def test_encoders_of_every_library_are_trained(pixel_layout, tmp_path, kind):
    """A transformer with a class token and a convolutional network of timm, in bf16."""
    if kind == "vit":
        save_vit(tmp_path / "vit")
        encoder = {"name": local_name(tmp_path / "vit"), "grid": 2}
    else:
        write_tensors(
            tmp_path / "net.safetensors", timm.create_model("test_efficientnet").state_dict()
        )
        encoder = {
            "name": "timm:test_efficientnet",
            "pretrained": str(tmp_path / "net.safetensors"),
            "grid": 2,
        }
    training = {
        "steps": 2,
        "batch_size": 6,
        "evaluations": 1,
        "validation_images": 4,
        "precision": "bf16",
    }
    training |= {"fine_tune": {"learning_rate": 0.001, "drawn": True}}
    layout = Layout(tiny_config(tmp_path, encoder=encoder, training=training))
    layout.root.mkdir(parents=True)
    layout.data.symlink_to(pixel_layout.data)
    make_features(layout)
    make_pixels(layout)
    train(layout, "dsacap")
    before, after = (
        load_configured_encoder(layout).state_dict(),
        encoder_of(weights(layout, "dsacap")),
    )
    trained = [name for name, _ in Inputs(layout).seen_by("dsacap").encoder.named_parameters()]
    assert len(
        [name for name in trained if not torch.equal(after[name], before[name])]
    ) > 0.8 * len(trained)
    assert all(tensor.isfinite().all() for tensor in after.values())

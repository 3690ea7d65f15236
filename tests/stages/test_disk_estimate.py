from pathlib import Path

import yaml

from dsacap.config.experiment import parse_config
from dsacap.runs.layout import Layout
from dsacap.stages.disk_estimate import predicted_sizes

COCO = Path(__file__).resolve().parents[2] / "config" / "coco.yaml"


def test_encoders_without_weights_to_download_are_estimated_too(tmp_path):
    data = yaml.safe_load(COCO.read_text()) | {"work": str(tmp_path)}
    del data["dataset"]["downloads"]
    for encoder, tokens, channels in (
        ({"name": "patches:64/8"}, 64, 192),
        ({"autoencoder": {"steps": 1, "size": 128}}, 16, 64),
    ):
        [features] = predicted_sizes(Layout(parse_config(data | {"encoder": encoder}, "coco")))
        assert features.bytes == 123_287 * (2 * (tokens * channels + channels) + 8)


def test_pixels_are_estimated_if_an_encoder_is_trained(tmp_path):
    data = yaml.safe_load(COCO.read_text()) | {"work": str(tmp_path)}
    del data["dataset"]["downloads"]
    [features] = predicted_sizes(Layout(parse_config(data, "coco")))
    data["systems"]["ar"]["training"] = {"fine_tune": {"learning_rate": 0.00001}}
    again, pixels = predicted_sizes(Layout(parse_config(data, "coco")))
    assert again == features and pixels.bytes == 123_287 * (3 * 224 * 224 + 9)
    assert (
        f"pixels in {tmp_path}/coco: 123,287 photos x 224 x 224 pixels of 24 bits: 18.56 GB; "
        in str(pixels)
    )

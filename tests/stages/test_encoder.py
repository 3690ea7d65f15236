"""Encoders that have no weights to download: an autoencoder that is trained here, and patches."""

import pytest
import torch

from dsacap.common.errors import UserError
from dsacap.common.files import sha256, write_jsonl
from dsacap.export.reading import read_folder
from dsacap.export.writing import export_system
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import photo_sources
from dsacap.stages.encoder import make_encoder
from dsacap.stages.features import make_features
from dsacap.stages.pixels import make_pixels
from dsacap.vision.encoders.latent_encoder import WEIGHTS
from exports import DSACAP, trained
from helpers import noise_photo, tiny_config

AUTOENCODER = {"steps": 2, "batch_size": 4, "width": 8}


def layout_of(encoder: dict, tiny_layout: Layout, work) -> Layout:
    """Return a layout with the tiny data set, and another encoder."""
    layout = Layout(tiny_config(work, encoder=encoder | {"shard_size": 20}))
    layout.root.mkdir()
    layout.data.symlink_to(tiny_layout.data)
    return layout


def exported(layout: Layout, folder) -> tuple[torch.Tensor, torch.Tensor]:
    """Train and export a system; return features of a test photo by the stage and by the export."""
    layout = trained(layout, **DSACAP, decodings={"clean": {"noise_level": 0}})
    export_system(layout, "ours", 0, folder)
    inputs = Inputs(layout)
    [image, *_] = (example.image for example in inputs.examples("test"))
    model = read_folder(folder, torch.device("cpu"))
    photo = photo_sources(layout, [image])[image.source].read(image.file_name)
    return inputs.store.read([image.image_id]), model.features([model.prepare(photo, "photo")])


def test_an_autoencoder_is_trained_on_photos_alone(tiny_layout, tmp_path):
    """Twice, it has the same bytes; its latents are features, pixels and part of an export."""
    digests = []
    for name in "ab":
        (tmp_path / name).mkdir()
        layout = layout_of({"autoencoder": AUTOENCODER}, tiny_layout, tmp_path / name)
        facts = make_encoder(layout)
        digests.append(sha256(layout.encoder / WEIGHTS))
    assert digests[0] == digests[1] == facts["weights"]["sha256"]
    assert facts["steps"] == 2 and facts["held_out"].keys() == {"rmse", "spread"}
    index = make_features(layout)
    assert (index["tokens"], index["channels"]) == (16, 16)
    assert make_pixels(layout)["size"] == (64, 64)
    kept, found = exported(layout, tmp_path / "system")
    torch.testing.assert_close(found, kept, rtol=0, atol=0.02)
    assert (tmp_path / "system" / "encoder.safetensors").exists()


def test_an_autoencoder_is_trained_on_photos_of_any_size(tmp_path):
    """A photo that cannot be read is an error or left out, as where features are made."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = []
    for number, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        file = f"{number}.png"
        noise_photo((40 + 10 * number, 90), 60).save(folder / file)
        words = {"captions": ["a dog"], "tokens": ["a dog"]}
        rows.append({"id": number, "file": file, "source": "here", "split": split, **words})
    (folder / "1.png").write_bytes(b"no photo")
    dataset = {"kind": "coco", "images": {"here": str(folder)}, "karpathy": "split.json"}
    for on_bad_image in ("error", "skip"):
        encoder = {"autoencoder": AUTOENCODER, "on_bad_image": on_bad_image}
        layout = Layout(tiny_config(tmp_path, dataset=dataset, encoder=encoder))
        write_jsonl(layout.data / "captions.jsonl", rows)
        if on_bad_image == "error":
            with pytest.raises(UserError, match=r"1\.png \(image id 1\)"):
                make_encoder(layout)
    assert make_encoder(layout)["held_out"]["rmse"] > 0
    index = make_features(layout)
    assert list(index["skipped"]) == ["1"] and index["images"] == 7


def test_patches_are_features_pixels_and_part_of_an_export(tiny_layout, tmp_path):
    layout = layout_of({"name": "patches:64/16"}, tiny_layout, tmp_path)
    assert make_encoder(layout)["name"] == "patches:64/16"
    index = make_features(layout)
    assert (index["tokens"], index["channels"]) == (16, 768)
    assert make_pixels(layout)["size"] == (64, 64)
    kept, found = exported(layout, tmp_path / "system")
    torch.testing.assert_close(found, kept, rtol=0, atol=0.02)
    assert not (tmp_path / "system" / "encoder.safetensors").exists()
    assert (
        "the captioner sees pixels (patches:64/16)" in (tmp_path / "system/README.md").read_text()
    )


def test_each_way_to_get_an_encoder_has_a_key_of_its_own(tmp_path):
    """The tiny CLIP and an autoencoder of the same settings are different encoders."""

    def place(**encoder) -> str:
        return Layout(tiny_config(tmp_path, encoder=encoder)).encoder.name

    same = {"steps": 2, "batch_size": 8}
    places = [
        place(train=same),
        place(autoencoder=same),
        place(autoencoder=same | {"channels": 8}),
        place(autoencoder=same | {"seed": 1}),
        place(name="patches:64/8"),
        place(name="patches:64/16"),
    ]
    assert len(set(places)) == len(places)
    assert place(autoencoder=same | {"width": 16}) == place(autoencoder=same)  # the default


@pytest.mark.parametrize(
    ("encoder", "problem"),
    [
        ({"name": "patches:64/8", "pretrained": "openai"}, "never have any"),
        ({"name": "patches:64/8", "sha256": "0" * 64}, "never have any"),
        ({"autoencoder": AUTOENCODER, "pretrained": "openai"}, "has no weights yet"),
        ({"autoencoder": AUTOENCODER, "name": "patches:64/8"}, "give either train"),
        ({"autoencoder": AUTOENCODER | {"size": 48}}, "multiple of 32"),
    ],
)
def test_what_does_not_fit_together_is_refused(encoder, problem, tmp_path):
    with pytest.raises(UserError, match=problem):
        tiny_config(tmp_path, encoder=encoder)


def test_patches_cannot_be_trained_further(tmp_path):
    training = {"steps": 2, "fine_tune": {"learning_rate": 1e-3}}
    with pytest.raises(UserError, match="patches:64/8 has no weights"):
        tiny_config(tmp_path, encoder={"name": "patches:64/8"}, training=training)

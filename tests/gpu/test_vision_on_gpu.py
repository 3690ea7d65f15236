"""Encoders, generators and judges on a pretended GPU: what they compute on the CPU, left there."""

import pytest
import torch
from pretended import GPU, pretended_gpu

from dsacap.decoding.caption_images import caption_images
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_reconstruction, load_text_encoder
from dsacap.stages.features import make_features
from dsacap.stages.generator import make_generator
from dsacap.vision.encoders.clip_encoder import local_name
from dsacap.vision.encoders.ensemble import EnsembleEncoder
from dsacap.vision.encoders.load import load_encoder
from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.generator import PixelGenerator, load_pixel_pipeline
from dsacap.vision.generators.judges import ClipAlignment
from helpers import borrow, save_vit, tiny_config
from tiny_pipeline import CAPTIONS, CPU, tiny_stable_diffusion


def layout_of(shared: Layout, folder) -> Layout:
    return borrow(Layout(tiny_config(folder, device="cuda")), shared)


def test_features_are_those_of_the_cpu(tiny_layout, tmp_path):
    layout = Layout(tiny_config(tmp_path, device="cuda"))
    layout.root.mkdir(parents=True)
    for name in ("data", "encoder"):
        getattr(layout, name).symlink_to(getattr(tiny_layout, name))
    with pretended_gpu():
        make_features(layout)
    here, there = FeatureStore(tiny_layout.features), FeatureStore(layout.features)
    ids = [example.image_id for example in Inputs(tiny_layout).examples("test")]
    torch.testing.assert_close(there.read(ids), here.read(ids), rtol=1e-3, atol=1e-3)


def test_images_are_captioned_from_the_store(tiny_layout, tmp_path):
    layout, found = layout_of(tiny_layout, tmp_path), []
    for at in (tiny_layout, layout):
        inputs = Inputs(at)
        with pretended_gpu() as waits:
            torch.manual_seed(0)
            captioner = inputs.captioner("dsacap")
            ids = [example.image_id for example in inputs.examples("test")]
            decoding = next(iter(inputs.decodings("dsacap").values()))
            waits.clear()
            found.append(
                caption_images(
                    captioner, inputs.store, inputs.vocabulary, ids, decoding,
                    samples=2, seed=0, batch_size=3,
                )
            )  # fmt: skip
            assert sum(waits.values()) == (2 if at is layout else 0), waits
    assert found[0] == found[1]


def test_a_caption_prior_is_trained_and_judges(tiny_layout, tmp_path):
    layout = layout_of(tiny_layout, tmp_path)
    layout.generator.unlink()
    with pretended_gpu():
        facts = make_generator(layout)
    assert facts["steps"] == 3 and 0 <= facts["auc"]["random"] <= 1


def test_judges_read_the_gpu_once(tiny_layout, tmp_path):
    layout = layout_of(tiny_layout, tmp_path)
    ids = [example.image_id for example in Inputs(layout).examples("test")][:3]
    captions = [[text, "a red ring"] for text in CAPTIONS]
    here = load_reconstruction(tiny_layout).score(ids, captions)
    alignment = ClipAlignment(load_text_encoder(tiny_layout), FeatureStore(tiny_layout.features))
    aligned = alignment.score(ids, captions)
    with pretended_gpu() as waits:
        reconstruction = load_reconstruction(layout)
        waits.clear()
        assert reconstruction.score(ids, captions) == pytest.approx(here, abs=1e-5)
        assert sum(waits.values()) == 1, waits
        alignment = ClipAlignment(load_text_encoder(layout), FeatureStore(layout.features))
        waits.clear()
        assert alignment.score(ids, captions) == pytest.approx(aligned, abs=1e-5)
        assert sum(waits.values()) == 1, waits


@pytest.mark.parametrize("grid", [None, 2])
def test_pictures_stay_on_the_gpu(tiny_layout, tmp_path, grid):
    tiny_stable_diffusion(tmp_path / "pipeline")
    save_vit(tmp_path / "clip")

    def generator(device: torch.device) -> PixelGenerator:
        pipeline = load_pixel_pipeline(str(tmp_path / "pipeline"), None, CPU).to(device)
        encoder = load_encoder(local_name(tmp_path / "clip"), None)
        if grid is None:
            encoder = EnsembleEncoder([encoder] * 2)
        store = FeatureStore(tiny_layout.features)
        store.mean, store.std = store.mean[:32], store.std[:32]
        return PixelGenerator(pipeline, encoder, store, grid, steps=1, size=16, batch_size=2)

    here = generator(CPU).embed(CAPTIONS, [1, 1, 2])
    with pretended_gpu() as waits:
        painter = generator(GPU)
        pictures = painter.paint(CAPTIONS, [1, 1, 2])  # diffusers looks at times in each step
        assert pictures.is_cuda
        waits.clear()
        assert painter._encode(pictures).is_cuda and not waits
        made = painter.embed(CAPTIONS, [1, 1, 2])
        torch.testing.assert_close(made.cpu(), here, rtol=1e-3, atol=1e-3)

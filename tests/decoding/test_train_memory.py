import pytest
import torch

from dsacap.common.files import read_json
from dsacap.config.sections import System
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.stages.caption import caption_split
from dsacap.stages.train import train_system
from dsacap.vision.features.store import FeatureStore


def test_nearest_train_images_by_cosine_exclude_the_image_itself(tiny_layout):
    inputs, store = Inputs(tiny_layout), FeatureStore(tiny_layout.features)
    train, test = inputs.examples("train"), inputs.examples("test")
    image_ids = [train[3].image_id, test[0].image_id]
    found = inputs.memory.nearest(image_ids, 2)
    pooled = store.read_pooled([e.image_id for e in train])
    for image_id, captions in zip(image_ids, found.tolist(), strict=True):
        similar = (pooled @ store.read_pooled([image_id])[0]).tolist()
        order = sorted(range(len(train)), key=lambda i: -similar[i])
        best = [i for i in order if train[i].image_id != image_id][:2]
        assert captions == [
            inputs.vocabulary.encode(train[i].tokens[0], inputs.spec.max_words) for i in best
        ]
    assert found.shape == (2, 2, inputs.spec.max_words + 1) and found.dtype == torch.long


def test_all_train_captions_can_be_read_more_than_once(tiny_layout):
    memory = Inputs(tiny_layout).memory
    assert len(list(memory.captions())) == len(list(memory.captions())) == 24 * 5


@pytest.mark.parametrize(
    ("captioner", "model", "training"),
    [
        (
            "scd-net",
            {"width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1},
            {"ema": 0.9},
        ),
        (
            "ladic",
            {
                "width": 16,
                "latent": 8,
                "heads": 2,
                "encoder_layers": 1,
                "text_layers": 1,
                "decoder_layers": 1,
            },
            {},
        ),
        ("prefix-lm", {"width": 16, "heads": 2, "layers": 1, "prefix": 2}, {}),
        ("parallel", {"width": 16, "heads": 2}, {}),
        ("bit-diffusion", {"width": 16, "heads": 2}, {"ema": 0.9}),
        (
            "masked-diffusion",
            {"width": 16, "heads": 2, "concentrated": True, "image_free": 0.1},
            {},
        ),
    ],
)
def test_rivals_run_through_the_stages(tiny_layout, captioner, model, training):
    """Each is trained, its weights are saved and loaded, and it captions the test split."""
    decodings = {"only": {"stride": 300} if captioner == "ladic" else {}}
    system = System(
        captioner=captioner,
        model=model,
        training={"steps": 2, "evaluations": 1, **training},
        decodings=decodings,
    )
    layout = Layout(tiny_layout.config.model_copy(update={"systems": {"rival": system}}))
    facts = train_system(layout, "rival", 0)
    assert caption_split(layout, "rival", 0)["flips"] == {"only": 0}
    captions = read_json(layout.captions("rival", 0))["only"]
    assert len(captions) == 6 and facts["val_CIDEr"] >= 0

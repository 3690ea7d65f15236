import torch

from dsacap.common.files import read_json
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.stages.caption import caption_split
from dsacap.text.vocabulary import UNK


class DependsOnBatch(torch.nn.Linear):
    """Its captions have as many words as the batch has images, except that of the last image."""

    def caption(self, batch, samples, seed, decoding):
        return [
            [[UNK + 1] * (1 if image_id == batch.image_ids[-1] else len(batch.image_ids))]
            for image_id in batch.image_ids
        ]


def test_captions_that_depend_on_their_batch_are_counted(tiny_layout, tmp_path, monkeypatch):
    layout = Layout(tiny_layout.config)
    monkeypatch.setattr(Layout, "captions", lambda self, system, seed: tmp_path / "captions.json")
    monkeypatch.setattr(Inputs, "captioner", lambda self, system, seed: DependsOnBatch(1, 1))
    facts = caption_split(layout, "dsacap", 0)
    images = len(read_json(tmp_path / "captions.json")["K=1"])
    assert facts["images"] == images == facts["one_by_one"] == 6
    assert facts["flips"] == {"K=1": 5}  # all but the last of the batch

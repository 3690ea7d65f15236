import torch

from dsacap import stages
from dsacap.vision.features import FeatureStore


def test_the_nearest_train_images_by_cosine_without_the_image_itself(tiny_layout):
    inputs, store = stages.Inputs(tiny_layout), FeatureStore(tiny_layout.features)
    train, test = inputs.examples("train"), inputs.examples("test")
    asked = [train[3].image_id, test[0].image_id]
    found = inputs.memory.nearest(asked, 2)
    pooled = store.read_pooled([e.image_id for e in train])
    for image_id, captions in zip(asked, found.tolist(), strict=True):
        similar = (pooled @ store.read_pooled([image_id])[0]).tolist()
        order = sorted(range(len(train)), key=lambda i: -similar[i])
        best = [i for i in order if train[i].image_id != image_id][:2]
        assert captions == [inputs.vocabulary.encode(train[i].tokens[0], inputs.spec.max_words) for i in best]
    assert found.shape == (2, 2, inputs.spec.max_words + 1) and found.dtype == torch.long


def test_all_train_captions_can_be_read_more_than_once(tiny_layout):
    memory = stages.Inputs(tiny_layout).memory
    assert len(list(memory.captions())) == len(list(memory.captions())) == 24 * 5

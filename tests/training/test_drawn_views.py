"""A training step uses one view of every photo, drawn by the step; evaluation uses the photos."""

from collections import Counter

import pytest

from dsacap.common.files import sha256
from dsacap.runs.layout import Layout
from dsacap.stages.caption import caption_split
from dsacap.stages.features import make_features
from dsacap.stages.train import train_system
from dsacap.vision.features.store import FeatureStore
from helpers import tiny_config

VIEWS = 3


@pytest.fixture
def layout(tiny_layout, tmp_path) -> Layout:
    encoder = tiny_layout.config.encoder.model_dump(exclude_unset=True) | {"views": VIEWS}
    mine = Layout(tiny_config(tmp_path, encoder=encoder))
    mine.root.mkdir(parents=True)
    for folder in ("data", "encoder"):
        getattr(mine, folder).symlink_to(getattr(tiny_layout, folder))
    make_features(mine)
    return mine


def test_a_step_draws_a_view_of_each_photo(layout, tiny_layout, monkeypatch):
    assert (
        layout.encoder.name == tiny_layout.encoder.name
        and layout.features.name != tiny_layout.features.name
    )
    drawn, read = [], FeatureStore.rows

    def watched(self, image_ids, views=None, *args, **how):
        drawn.append(views and {i: views[i] for i in image_ids})
        return read(self, image_ids, views, *args, **how)

    monkeypatch.setattr(FeatureStore, "rows", watched)
    train_system(layout, "ar", 0)
    of_steps = [views for views in drawn if views]
    assert len(of_steps) == layout.config.training.steps
    assert len(drawn) > len(of_steps)  # validation reads the photos themselves
    counts = Counter(view for views in of_steps for view in views.values())
    assert (
        set(counts) == set(range(VIEWS)) and min(counts.values()) > sum(counts.values()) / VIEWS / 2
    )
    assert len({tuple(sorted(views.items())) for views in of_steps}) == len(of_steps)

    first = sha256(layout.system("ar", 0) / "model.safetensors")
    (layout.system("ar", 0)).rename(layout.root / "first")
    before = list(of_steps)
    drawn.clear()
    train_system(layout, "ar", 0)
    assert [views for views in drawn if views] == before and sha256(
        layout.system("ar", 0) / "model.safetensors"
    ) == first

    drawn.clear()
    caption_split(layout, "ar", 0)
    assert drawn and not any(drawn)


def test_one_view_draws_nothing(tiny_layout, tmp_path, monkeypatch):
    def read(self, image_ids, views=None, *_, **__):
        assert not any((views or {}).values())
        raise ZeroDivisionError

    monkeypatch.setattr(FeatureStore, "rows", read)
    mine = Layout(tiny_config(tmp_path))
    mine.root.mkdir(parents=True)
    for folder in ("data", "encoder", "features"):
        getattr(mine, folder).symlink_to(getattr(tiny_layout, folder))
    with pytest.raises(ZeroDivisionError):
        train_system(mine, "ar", 0)

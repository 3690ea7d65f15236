"""Features that the user has are read, or refused in one sentence with file and image id."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from dsacap.common import extras
from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.data.coco import CaptionedImage
from dsacap.vision.features import given
from dsacap.vision.features.shards import PhotoSet
from dsacap.vision.features.store import INDEX, FeatureStore

TOKENS, CHANNELS, WIDTH = 6, 5, 3
IDS = range(11, 18)
needs_h5py = pytest.mark.skipif(
    importlib.util.find_spec("h5py") is None, reason="h5py is not installed (extra h5)"
)


def images() -> PhotoSet:
    made = [
        CaptionedImage(i, f"COCO_val2014_{i:012d}.jpg", "x", "train" if i < 15 else "test", ("a",))
        for i in IDS
    ]
    return PhotoSet(made, {}, batch_size=2, shard_size=3, on_bad_image="error")


def features_of(image_id: int) -> np.ndarray:
    rng = np.random.default_rng(image_id)
    return rng.normal(image_id, 1, (TOKENS, CHANNELS)).astype(np.float32)


def pooled_of(image_id: int) -> np.ndarray:
    return np.array([image_id, 1, 0], np.float32)


def write_npz(folder: Path, **changes: dict[str, np.ndarray]) -> Path:
    """Write a file for each image; those in `changes`, such as i13, have other arrays."""
    folder.mkdir(exist_ok=True)
    for i in IDS:
        arrays = {"features": features_of(i), "g_feature": pooled_of(i)[None]}
        np.savez_compressed(folder / f"{i}.npz", **changes.get(f"i{i}", arrays))
    return folder


def check_store(folder: Path, has_pooled: bool) -> None:
    store = FeatureStore(folder)
    assert (store.tokens, store.channels, store.views) == (TOKENS, CHANNELS, 1)
    rows = store.rows(list(IDS)).float()
    expected = torch.from_numpy(np.stack([features_of(i) for i in IDS]))
    torch.testing.assert_close(rows, expected, atol=0.02, rtol=0)
    train = expected[:4].flatten(0, 1)
    torch.testing.assert_close(store.mean, train.mean(0), atol=0.01, rtol=0)
    vectors = np.stack([pooled_of(i) if has_pooled else features_of(i).mean(0) for i in IDS])
    unit = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1)
    torch.testing.assert_close(store.read_pooled(list(IDS)), unit, atol=2e-3, rtol=0)


def test_a_file_an_image(tmp_path):
    index = given.import_features(images(), write_npz(tmp_path / "mine"), tmp_path / "out")
    assert len(index["shards"]) == 3 and index["skipped"] == {}
    assert read_json(tmp_path / "out" / INDEX) == index
    check_store(tmp_path / "out", has_pooled=True)


def test_names_of_photos_keys_of_others_and_grids(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in IDS:
        grid = features_of(i).reshape(2, 3, CHANNELS)
        np.savez(folder / f"COCO_val2014_{i:012d}.npz", feat=grid)
    given.import_features(images(), folder, tmp_path / "out")
    check_store(tmp_path / "out", has_pooled=False)


def test_it_resumes_at_the_shard_that_is_missing(tmp_path, monkeypatch):
    mine, out = write_npz(tmp_path / "mine"), tmp_path / "out"
    given.import_features(images(), mine, out)
    kept = (out / "shard-00000.safetensors").stat().st_mtime_ns
    (out / "shard-00001.safetensors").unlink()
    given.import_features(images(), mine, out)
    assert (out / "shard-00000.safetensors").stat().st_mtime_ns == kept
    check_store(out, has_pooled=True)


WRONG = {
    "fewer regions": (
        {"features": features_of(13)[:4], "g_feature": pooled_of(13)},
        "4 tokens of 5 channels, but 6 tokens of 5 channels in the first image",
    ),
    "fewer channels": (
        {"features": features_of(13)[:, :3], "g_feature": pooled_of(13)},
        "6 tokens of 3 channels, but 6 tokens of 5",
    ),
    "one vector": (
        {"features": features_of(13)[0], "g_feature": pooled_of(13)},
        r"features have shape \(5,\)",
    ),
    "integers": (
        {"features": features_of(13).astype(int), "g_feature": pooled_of(13)},
        "features have type int64; save them as floats",
    ),
    "objects": (
        {"features": np.array([None, 1], object), "g_feature": pooled_of(13)},
        "cannot be read",
    ),
    "integers as the pooled vector": (
        {"features": features_of(13), "g_feature": pooled_of(13).astype(int)},
        "the pooled vector has type int64; save them as floats",
    ),
    "no pooled vector": ({"features": features_of(13)}, "the pooled vector is absent"),
    "another key": (
        {"boxes": features_of(13)},
        "has boxes, and none of features, feat, x",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_with_file_and_image(tmp_path, what):
    arrays, message = WRONG[what]
    folder = write_npz(tmp_path / "mine", i13=arrays)
    where = rf"{folder}/13\.npz \(image id 13\): .*{message}"
    with pytest.raises(UserError, match=where) as error:
        given.import_features(images(), folder, tmp_path / "out")
    assert "\n" not in str(error.value)


def test_damaged_files_and_values_that_do_not_fit(tmp_path):
    folder = write_npz(tmp_path / "mine")
    (folder / "16.npz").write_bytes((folder / "16.npz").read_bytes()[:200])
    with pytest.raises(UserError, match=r"16\.npz \(image id 16\): cannot be read"):
        given.import_features(images(), folder, tmp_path / "out")
    huge = {"features": features_of(12) * 1e6, "g_feature": pooled_of(12)}
    write_npz(folder, i12=huge)
    with pytest.raises(UserError, match="features of image id 12: have values that are not finite"):
        given.import_features(images(), folder, tmp_path / "again")
    given.import_features(images(), folder, tmp_path / "wider", torch.bfloat16)
    lost = {"features": features_of(13), "g_feature": pooled_of(13) * np.nan}
    write_npz(folder, i13=lost)
    with pytest.raises(UserError, match="features of image id 13: have values that are not finite"):
        given.import_features(images(), folder, tmp_path / "lost")


def test_an_npy_file_under_the_name_of_an_npz(tmp_path):
    folder = write_npz(tmp_path / "mine")
    with (folder / "13.npz").open("wb") as file:
        np.save(file, features_of(13))
    with pytest.raises(
        UserError, match=r"13\.npz \(image id 13\): cannot be read \(.* without a name"
    ):
        given.import_features(images(), folder, tmp_path / "out")


def test_absent_images_are_counted(tmp_path):
    folder = write_npz(tmp_path / "mine")
    for i in (12, 15):
        (folder / f"{i}.npz").unlink()
    with pytest.raises(UserError, match=r"2 of 7 images have no features here: 12 \(COCO_val2014"):
        given.import_features(images(), folder, tmp_path / "out")


def test_names_that_were_looked_for_and_found_are_said(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in IDS:
        np.save(folder / f"{i}.npy", features_of(i))
    found = r"in 11\.npz or COCO_val2014_000000000011\.npz, and the folder has 11\.npy, 12\.npy"
    with pytest.raises(UserError, match=found):
        given.import_features(images(), folder, tmp_path / "out")


def photos_numbered_from(first: int) -> PhotoSet:
    """Photos 11.jpg, 12.jpg, ... whose ids are `first`, `first` + 1, ..."""
    made = [
        CaptionedImage(first + at, f"{name}.jpg", "x", "train" if at < 4 else "test", ("a",))
        for at, name in enumerate(IDS)
    ]
    return PhotoSet(made, {}, batch_size=2, shard_size=3, on_bad_image="error")


def test_files_are_all_named_by_ids_or_all_like_photos(tmp_path):
    folder = write_npz(tmp_path / "mine")
    given.import_features(photos_numbered_from(12), folder, tmp_path / "out")
    store, ids = FeatureStore(tmp_path / "out"), [i + 1 for i in IDS]
    expected = torch.from_numpy(np.stack([features_of(i) for i in IDS]))
    torch.testing.assert_close(store.rows(ids).float(), expected, atol=0.02, rtol=0)
    np.savez(folder / "18.npz", features=features_of(18), g_feature=pooled_of(18))
    both = r"image id 12 may be 12\.npz by its id, or 11\.npz by its photo"
    with pytest.raises(UserError, match=both):
        given.import_features(photos_numbered_from(12), folder, tmp_path / "again")


def test_other_paths_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such folder or file"):
        given.import_features(images(), tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "features.tsv").write_text("1\t2")
    with pytest.raises(UserError, match=r"neither a folder of \.npz files nor an \.h5 file"):
        given.import_features(images(), tmp_path / "features.tsv", tmp_path / "out")
    monkeypatch.setattr(extras.metadata, "requires", lambda _: ['h5py>=3; extra == "h5"'])
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "features.h5").touch()
    with pytest.raises(UserError, match=r'h5py, which is not installed; pip install .*\[h5\]"'):
        given.import_features(images(), tmp_path / "features.h5", tmp_path / "out")


@needs_h5py
@pytest.mark.parametrize("form", ["arrays", "arrays, ids as texts", "a data set an image"])
def test_hdf5(tmp_path, form):
    import h5py

    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as file:
        if form.startswith("arrays"):
            file["features"] = np.stack([features_of(i) for i in reversed(IDS)])
            file["g_feature"] = np.stack([pooled_of(i) for i in reversed(IDS)])
            ids = list(reversed(IDS))
            file["image_ids"] = ids if form == "arrays" else [str(i) for i in ids]
        else:
            for i in IDS:
                file[f"{i}_features" if i % 2 else str(i)] = features_of(i)
    given.import_features(images(), path, tmp_path / "out")
    check_store(tmp_path / "out", has_pooled=form.startswith("arrays"))


@needs_h5py
def test_wrong_hdf5(tmp_path):
    import h5py

    path = tmp_path / "features.h5"

    def message(**arrays) -> str:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
        with pytest.raises(UserError) as error:
            given.import_features(images(), path, tmp_path / "out")
        return str(error.value)

    features = np.stack([features_of(i) for i in IDS])
    assert "7 image_ids, but features of 6 images" in message(features=features[1:], image_ids=IDS)
    assert "an id occurs twice" in message(features=features, image_ids=[11] * 7)
    assert "1 of 7 images have no features here: 17" in message(
        features=features[:6], image_ids=IDS[:6]
    )
    assert "(image id 11): features have type int64" in message(
        features=features.astype(int), image_ids=IDS
    )
    assert "image_ids has b'COCO_11', b'COCO_12', b'COCO_13', ...; save the ids" in message(
        features=features, image_ids=[f"COCO_{i}" for i in IDS]
    )
    assert "image_ids has 11.5, 12.5, 13.5" in message(
        features=features, image_ids=np.array(IDS) + 0.5
    )
    assert "7 image_ids, but g_feature of 3 images" in message(
        features=features, image_ids=IDS, g_feature=np.ones((3, WIDTH), np.float32)
    )
    assert "but features of no array of images" in message(features=1.0, image_ids=IDS)
    assert "the file has features, ids" in message(features=features, ids=IDS)
    groups = {f"{i}/features": features_of(i) for i in IDS}
    assert "(image id 11): cannot be read (a group of features, and no data set" in message(
        **groups
    )
    path.write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"features\.h5: not HDF5, or damaged"):
        given.import_features(images(), path, tmp_path / "out")

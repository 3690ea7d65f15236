"""Exported folders that are truncated, incomplete or malicious."""

import shutil

import pytest
import torch

import dsacap
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors, write_json, write_tensors, write_text
from exports import listed_again

READ = (
    "model.json",
    "vocabulary.json",
    "captioner.safetensors",
    "statistics.safetensors",
    "encoder.safetensors",
    "memory.safetensors",
)


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "system")


def test_the_files_that_are_read_are_all_listed(exported):
    assert (
        set(READ)
        <= set(read_json(exported / "index.json")["files"])
        == {path.name for path in exported.iterdir()}
        - {
            "README.md",
            "index.json",
        }
    )


@pytest.mark.parametrize("name", READ)
def test_one_flipped_bit_is_found(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"{name}: is truncated or was changed"):
        dsacap.load(folder)


@pytest.mark.parametrize("name", READ)
def test_truncated_missing_and_unlisted_files(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    with pytest.raises(UserError, match=rf"{name}: is truncated"):
        dsacap.load(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: is missing"):
        dsacap.load(folder)
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=rf"{name}: is missing"):
        dsacap.load(folder)
    index = read_json(folder / "index.json")
    del index["files"][name]
    write_json(folder / "index.json", index)
    if name != "memory.safetensors":  # not every system has one
        with pytest.raises(UserError, match=rf"{name}: not listed"):
            dsacap.load(folder)


def test_a_decoding_that_needs_a_missing_memory_is_refused(folder, photos):
    index = read_json(folder / "index.json")
    del index["files"]["memory.safetensors"]
    write_json(folder / "index.json", index)
    model = dsacap.load(folder)
    assert model.caption(list(photos)[:1], "noise")
    with pytest.raises(UserError, match="contains no captions of the train split"):
        model.caption(list(photos)[:1], "bigrams")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"captioner": "os:system"}, "unknown captioner 'os:system'"),
        (
            {"captioner": "show-and-tell", "release": "show-and-tell 1.0"},
            r"unknown captioner .*provided by show-and-tell 1.0",
        ),
        (
            {"release": "other 9"},
            "was provided by other 9 at the time of export, and is provided by dsacap-bench itself",
        ),
        ({"colour": "red"}, "colour: unknown key"),
        ({"tokens": "many"}, "tokens: "),
        ({"model": {"width": 16, "colour": 1}}, "model: unknown key 'colour'"),
        ({"model": {"width": "wide"}}, "model.width"),
        ({"model": {"width": 16, "heads": 0}}, "cannot be built"),
        ({"model": {"width": 24, "heads": 2}}, "cannot be built"),
        ({"model": {"readout": "eval"}}, "'eval' is not one of"),
        ({"max_words": 90}, "cannot hold captions of 90 words"),
        ({"decodings": {"noise": {"passes": 3}}}, "passes is not an option of readout: dag"),
        ({"decodings": {"noise": {"colour": 1}}}, "decodings.noise: unknown key 'colour'"),
        ({"default_decoding": "loud"}, "'loud' is not one of the decodings"),
        ({"encoder": {"kind": "pickle"}}, "encoder: "),
        ({"encoder": {"kind": "timm", "name": "../../net"}}, "encoder.timm.name"),
        ({"encoder": {"kind": "timm", "name": "hf-hub:somebody/net"}}, "encoder.timm.name"),
        ({"encoder": {"kind": "timm", "name": "no_such_net"}}, "no_such_net"),
        ({"encoder": {"kind": "open_clip", "name": "local-dir:x"}}, "encoder.open_clip.name"),
        ({"encoder": {"kind": "open_clip_folder"}}, "open_clip_config.json: not listed"),
    ],
)
def test_a_wrong_description_is_refused(folder, change, message):
    write_json(folder / "model.json", read_json(folder / "model.json") | change)
    listed_again(folder, "model.json")
    with pytest.raises(UserError, match=message):
        dsacap.load(folder)


def test_an_encoder_of_other_sizes_is_refused(folder):
    description = read_json(folder / "model.json")
    write_json(
        folder / "model.json", description | {"encoder": description["encoder"] | {"width": 16}}
    )
    listed_again(folder, "model.json")
    with pytest.raises(UserError, match="the encoder: cannot be built"):
        dsacap.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.json", "{", "not JSON"),
        ("model.json", "[" * 100_000, "JSON that cannot be read"),
        ("model.json", "9" * 5000, "JSON that cannot be read"),
        ("model.json", "7", "not a valid description of a system"),
        ("vocabulary.json", ["<pad>", "cat"], "not a list of words"),
        ("vocabulary.json", {"a": 1}, "not a list of words"),
        ("vocabulary.json", ["<pad>", "<bos>", "<eos>", "<unk>", 7], "not a list of words"),
        ("vocabulary.json", ["<pad>", "<bos>", "<eos>", "<unk>", "\x1b[2J"], "not a list of words"),
        ("vocabulary.json", ["<pad>", "<bos>", "<eos>", "<unk>", "cat"], "cannot be built"),
        ("captioner.safetensors", "torn", "not a safetensors file"),
        ("statistics.safetensors", "torn", "not a safetensors file"),
    ],
)
def test_other_contents_are_refused(folder, name, content, message):
    (write_text if isinstance(content, str) else write_json)(folder / name, content)
    listed_again(folder, name)
    with pytest.raises(UserError, match=message):
        dsacap.load(folder)


def test_tensors_too_many_too_few_or_of_another_shape_are_refused(folder):
    weights = read_tensors(folder / "captioner.safetensors")[0]
    name = next(iter(weights))
    for other in (
        weights | {"more": torch.zeros(1)},
        weights | {name: torch.zeros(3)},
        {n: t for n, t in weights.items() if n != name},
    ):
        write_tensors(folder / "captioner.safetensors", other)
        listed_again(folder, "captioner.safetensors")
        with pytest.raises(UserError, match=r"captioner.safetensors: cannot be built"):
            dsacap.load(folder)


def test_statistics_of_another_encoder_are_refused(folder):
    write_tensors(folder / "statistics.safetensors", {"mean": torch.zeros(3), "std": torch.ones(3)})
    listed_again(folder, "statistics.safetensors")
    with pytest.raises(UserError, match="of 256 channels each"):
        dsacap.load(folder)


def test_an_encoder_of_other_tokens_is_refused(folder, photos):
    description = read_json(folder / "model.json")
    write_json(
        folder / "model.json", description | {"encoder": description["encoder"] | {"grid": 1}}
    )
    listed_again(folder, "model.json")
    with pytest.raises(
        UserError, match="gives 1 tokens of 256 channels; the system needs 4 of 256"
    ):
        dsacap.load(folder).caption(list(photos)[:1])


@pytest.mark.parametrize(
    "captions",
    [
        torch.zeros(3, 5),
        torch.zeros(3, 33),
        torch.full((3, 33), 999).int(),
        torch.full((3, 33), -1).int(),
    ],
)
def test_a_memory_of_other_captions_is_refused(folder, photos, captions):
    write_tensors(folder / "memory.safetensors", {"captions": captions})
    listed_again(folder, "memory.safetensors")
    with pytest.raises(UserError, match="'captions' does not contain captions of the vocabulary"):
        dsacap.load(folder).caption(list(photos)[:1], "bigrams")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"format": 2, "files": {}}, "has format 2, but this version reads 1"),
        ({"format": 1}, "files: is missing"),
        ([], "not the index of an exported system"),
        (
            {"format": 1, "files": {"../../../etc/passwd": {"bytes": 1, "sha256": "0" * 64}}},
            "etc/passwd",
        ),
        ({"format": 1, "files": {"/etc/passwd": {"bytes": 1, "sha256": "0" * 64}}}, "etc/passwd"),
        ({"format": 1, "files": {"model.json": {"bytes": 1, "sha256": "x"}}}, "sha256"),
        ({"format": 1, "files": {}}, "model.json: not listed"),
    ],
)
def test_a_wrong_index_is_refused(folder, index, message):
    write_json(folder / "index.json", index)
    with pytest.raises(UserError, match=message):
        dsacap.load(folder)


def test_a_folder_that_is_not_an_exported_system_is_refused(tmp_path):
    with pytest.raises(UserError, match="absent: no such folder"):
        dsacap.load(tmp_path / "absent")
    with pytest.raises(
        UserError, match=r"has no index.json; give a folder that `dsacap export` wrote"
    ):
        dsacap.load(tmp_path)

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from dsacap.common.errors import UserError
from dsacap.common.files import (
    read_json,
    read_jsonl,
    read_tensors,
    replacing,
    sha256,
    write_json,
    write_jsonl,
    write_tensors,
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "kept.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError):
        write_json(path, {"new": float("nan")})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_was_deleted_meanwhile_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match=r"a\.json: cannot be written, since its folder was del"):
        write_json(Path("a.json"), {})


def test_jsonl_keeps_line_separators_inside_captions(tmp_path):
    rows = [{"caption": "a\u2028b\x85c\nd"}, {"caption": ""}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows


def test_truncated_tensors_are_refused_with_the_file_name(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"x": torch.arange(100.0)}, {"step": "3"})
    tensors, metadata = read_tensors(path)
    assert torch.equal(tensors["x"], torch.arange(100.0)) and metadata == {"step": "3"}
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"weights\.safetensors: truncated"):
        read_tensors(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="truncated"):
        read_tensors(path)


def test_a_flipped_bit_of_a_tensor_is_noticed(tmp_path):
    path = tmp_path / "weights.safetensors"
    tensors = {
        "x": torch.arange(4.0),
        "y": torch.tensor(True),
        "z": torch.ones(2, 3, dtype=torch.bfloat16),
        "none": torch.zeros(0),
    }
    write_tensors(path, tensors)
    whole = path.read_bytes()
    assert read_tensors(path)[0].keys() == tensors.keys()
    header = int.from_bytes(whole[:8], "little")
    for at in range(8 + header, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match=r"weights\.safetensors: changed since it was written"):
            read_tensors(path)


def test_files_without_a_hash_are_read_unchecked(tmp_path):
    save_file({"x": torch.arange(4.0)}, tmp_path / "theirs.safetensors")
    assert read_tensors(tmp_path / "theirs.safetensors")[1] == {}


def test_readers_report_the_fault_and_its_place(tmp_path):
    (tmp_path / "bad.json").write_text('{"a": 1,\n "b" 2}')
    with pytest.raises(UserError, match=r"bad\.json:2:6: not JSON"):
        read_json(tmp_path / "bad.json")
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a"')
    with pytest.raises(UserError, match=r"bad\.jsonl:2: not JSON"):
        read_jsonl(tmp_path / "bad.jsonl")
    (tmp_path / "latin.json").write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_json(tmp_path / "latin.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path)


def test_repeated_keys_and_huge_numbers_in_json_are_refused(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text('[{"image_id": 1, "caption": "a dog", "caption": "a cat"}]')
    with pytest.raises(UserError, match=r"captions\.json: .*the key 'caption' is repeated"):
        read_json(path)
    path.write_text('{"a": ' + "9" * 5000 + "}")
    with pytest.raises(UserError, match=r"captions\.json:1: JSON that cannot be read"):
        read_jsonl(path)


def test_hash_of_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        sha256(tmp_path)


def test_a_full_disk_is_an_oserror_with_its_number(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(2)})
    assert raised.value.errno == errno.ENOSPC and list(tmp_path.iterdir()) == []

import json
import multiprocessing
import random
import sqlite3

import pytest

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.spice_tuples import TupleCache

TUPLES = {"a red dog": [["dog", "red"], ["dog"]], "": [], "un café 🐕": [["café"]]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "tuples.sqlite"


def filled(path, tuples=TUPLES):
    cache = TupleCache(path, "parser 1")
    cache.put(tuples)
    cache.close()
    return TupleCache(path, "parser 1")


def test_gives_back_what_was_put(path):
    cache = filled(path)
    assert cache.get([*TUPLES, "a cat"]) == TUPLES
    assert TupleCache(path, "parser 2").get(TUPLES) == {}


def test_many_captions(path):
    tuples = {f"caption {n}": [[str(n)]] for n in range(3000)}
    assert filled(path, tuples).get(tuples) == tuples


@pytest.mark.parametrize("damage", ["text", "head", "torn", "pages"])
def test_a_damaged_file_is_noticed_and_begun_anew(path, damage, capfd):
    filled(path, {f"caption {n}": [[str(n)]] for n in range(3000)}).close()
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = b"not a database, but long enough to be read as one" * 100
    elif damage == "head":
        data[:100] = bytes(100)
    elif damage == "torn":
        data = data[: len(data) // 2]
    else:
        data[4096:] = random.Random(0).randbytes(len(data) - 4096)
    path.write_bytes(data)
    cache = TupleCache(path, "parser 1")
    cache.get(f"caption {n}" for n in range(3000))
    cache.put(TUPLES)
    assert cache.get(TUPLES) == TUPLES
    cache.close()
    assert "tuples.sqlite.damaged-" in capfd.readouterr().err
    assert len(list(path.parent.glob("*.damaged-*"))) == 1
    assert TupleCache(path, "parser 1").get(TUPLES) == TUPLES


def test_a_flipped_byte_in_a_row_is_noticed(path):
    filled(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE tuples SET tuples = ? WHERE tuples LIKE '%red%'",
            [json.dumps([["dog", "rad"], ["dog"]])],
        )
    connection.close()
    cache = TupleCache(path, "parser 1")
    assert cache.get(TUPLES) == {
        caption: tuples for caption, tuples in TUPLES.items() if caption != "a red dog"
    }
    cache.put(TUPLES)
    assert cache.get(TUPLES) == TUPLES


def write(path, start):
    cache = TupleCache(path, "parser 1")
    for n in range(start, start + 400):
        cache.put({f"caption {n}": [[str(n)]]})
        assert cache.get([f"caption {n}"])
    cache.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_several_processes_write_at_once(path, damaged):
    if damaged:
        path.parent.mkdir()
        path.write_bytes(b"no database" * 1000)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write, args=(path, start)) for start in (0, 200, 400)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    tuples = {f"caption {n}": [[str(n)]] for n in range(800)}
    assert TupleCache(path, "parser 1").get(tuples) == tuples
    assert len(list(path.parent.glob("*.damaged-*[0-9]"))) == damaged


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="set DSACAP_CACHE to a writable folder"):
        TupleCache(tmp_path / "file" / "tuples.sqlite", "parser 1").get(["a cat"])


def test_a_full_disk_or_locked_file_is_not_taken_for_damage(path, monkeypatch):
    cache = filled(path)
    cache.get(TUPLES)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    cache._connection.execute("PRAGMA busy_timeout=100")
    with pytest.raises(UserError, match="database is locked"):
        cache.put({"a cat": [["cat"]]})
    other.execute("ROLLBACK")
    other.close()
    assert list(path.parent.glob("*.damaged-*")) == []
    cache.put({"a cat": [["cat"]]})

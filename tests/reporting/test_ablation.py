from dsacap.common.files import write_jsonl
from dsacap.reporting.ablation import _health
from dsacap.runs.layout import Layout
from helpers import tiny_config


def test_health_is_shown_from_the_first_tenth_to_the_last(tmp_path):
    layout = Layout(tiny_config(tmp_path, seeds=[0, 1]))
    for seed in (0, 1):
        log = [
            {"step": step, "reward_cider": step + seed, "unique": 1 - step / 40, "words": 10.0}
            for step in range(20)
        ]
        write_jsonl(layout.system("dsacap-rl", seed) / "train.jsonl", log)
    header, _, row = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in _health(layout).splitlines()
    )
    assert header == [
        "System",
        "words",
        "repeats",
        "bad endings",
        "unique",
        "nats per word",
        "kl",
        "reward cider",
    ]
    assert row == ["dsacap-rl", "10.0 → 10.0", "-", "-", "99 → 54", "-", "-", "1.00 → 19.00"]

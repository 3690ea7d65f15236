import time

from dsacap.common.progress import progress


def test_progress_is_shown_when_the_clock_is_set_back(capsys, monkeypatch):
    bar = progress(None, "work", "step", total=3)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    bar.mininterval = 0
    for _ in range(3):
        bar.update()
    bar.close()
    output = capsys.readouterr().err
    assert "work: 2/3" in output and "-" not in output.split("work: 3/3", 1)[1].split(" left")[0]

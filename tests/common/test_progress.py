import time

from dsacap.common.progress import progress


def test_a_clock_that_jumps_back_silences_nobody(capsys, monkeypatch):
    bar = progress(None, "work", "step", total=3)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    bar.mininterval = 0
    for _ in range(3):
        bar.update()
    bar.close()
    said = capsys.readouterr().err
    assert "work: 2/3" in said and "-" not in said.split("work: 3/3", 1)[1].split(" left")[0]

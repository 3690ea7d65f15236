import re
import time

from tqdm import TMonitor, tqdm

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


def test_each_line_is_printed_once(capsys):
    bar = progress(None, "work", "step", total=30)
    bar.mininterval = bar.maxinterval = 0.02
    redrawing = TMonitor(tqdm, 0.005)
    for _ in range(3):
        time.sleep(0.1)
        bar.update(10)
    redrawing.exit()
    bar.close()
    counts = re.findall(r"work: (\d+)/30", capsys.readouterr().err)
    assert counts[-1] == "30" and len(set(counts)) == len(counts) > 1


def test_the_unit_of_a_slow_rate_follows_a_space(capsys):
    bar = progress(None, "work", "step", total=2, initial=0)
    bar.start_t -= 10
    bar.update()
    bar.close()
    assert " s/step" in capsys.readouterr().err

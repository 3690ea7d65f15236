from dsacap.audit.cause import UNCHANGED, Cause


def test_code_that_should_change_nothing_is_a_less_likely_cause_than_another_processor():
    quiet = Cause("code", f"dsacap/x.py ({UNCHANGED})", "a", "b")
    loud = Cause("code", "dsacap/x.py (meant to change the result: stage version 1 -> 2)", "a", "b")
    hardware, versions = Cause("hardware", "CPU", "a", "b"), Cause("versions", "torch", "1", "2")
    configuration = Cause("configuration", "training.steps", "1", "2")
    unknown = Cause("unknown", "nothing found", "", "")
    ordered = [configuration, loud, hardware, versions, quiet, unknown]
    assert sorted(reversed(ordered), key=lambda cause: cause.rank) == ordered

import pytest

from dsacap.audit.compare import compare
from dsacap.reporting.table_file import load_table


@pytest.fixture
def differ(made, tmp_path):
    """Return a function that compares a table with one changed by `change`.

    The value of the cell dsacap K=1 CIDEr is changed too.
    """

    def found(change, value=92.0, against=None):
        old, new = against or made(), made()
        change(new)
        new.set_value("dsacap", "K=1", value)
        return compare(load_table(old.write(tmp_path / "a")), load_table(new.write(tmp_path / "b")))

    return found

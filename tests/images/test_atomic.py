import math
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import OutputError
from firstlight.images.atomic import write_atomically, write_text_atomically
from firstlight.images.json_values import from_json, to_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_write_that_fails_half_way_leaves_only_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    write_text_atomically(path, "old")

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, fail)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nobody_sees_a_file_before_it_is_whole(tmp_path):
    path = tmp_path / "file"
    seen = []

    def write(file):
        file.write(b"first half")
        file.flush()
        seen.append(path.exists())
        file.write(b", second half")

    write_atomically(path, write)

    assert seen == [False]
    assert path.read_text() == "first half, second half"


def test_a_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_text_atomically(tmp_path / "file", "é")

    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "file")}
    assert len(modes) == 1
    assert (tmp_path / "file").read_bytes() == "é".encode()


def test_a_full_or_missing_folder_is_an_output_error(tmp_path):
    def fail(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"file: No space left"):
        write_atomically(tmp_path / "file", fail)
    with pytest.raises(OutputError, match="No such file"):
        write_text_atomically(tmp_path / "none" / "file", "")


@given(value=VALUES)
def test_plain_values_come_back_from_json(value):
    assert repr(from_json(to_json(value))) == repr(value)


def test_numbers_of_numpy_become_plain_and_tuples_lists():
    value = {"a": np.float32(0.5), "b": (np.int64(3), np.bool_(True)), "c": np.float64("inf")}

    assert from_json(to_json(value)) == {"a": 0.5, "b": [3, True], "c": math.inf}


def test_what_is_not_plain_is_refused():
    with pytest.raises(TypeError, match="ndarray"):
        to_json({"a": np.zeros(2)})

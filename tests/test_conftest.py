import os

from tests import conftest


def test_a_flag_that_xla_lacks_is_not_taken():
    """Its name may stand in the library all the same, as a text: XLA alone can say."""
    assert not conftest.takes("--xla_cpu_no_such_flag=1")


def test_xla_takes_what_the_tests_run_with():
    assert conftest.takes(*os.environ.get("XLA_FLAGS", "").split())

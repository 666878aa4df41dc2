"""Any bytes, and valid files damaged, where files of others are read: what is wrong is told in a line of ours."""

import pytest
from fuzz.mutations import damaged
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_read(name):
    """Else the damaged ones would say little."""
    target = TARGETS[name]
    read = [target(seed) for seed in target.seeds()]
    assert sum(read) > len(read) / 2


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_whatever_the_bytes_only_our_errors_come_out(name):
    target = TARGETS[name]

    @FEW
    @given(st.one_of(damaged(target.seeds()), damaged(target.seeds()), st.binary(max_size=200)))
    def holds(data):
        target(data)

    holds()

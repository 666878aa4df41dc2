"""Time limits as sbatch takes them. (What is asked of Slurm: test_onslurm.)"""

import pytest

from bench import slurm
from bench.errors import InputError


@pytest.mark.parametrize("text,minutes", [
    ("90", 90), ("1:30", 2), ("1:30:00", 90), ("0:00:30", 1), ("1-0", 1440), ("2-01:30", 2970), ("1-00:00:30", 1441),
])  # fmt: skip
def test_a_time_limit_is_read_as_sbatch_does(text, minutes):
    assert slurm.minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "soon", "-5", "1:2:3:4", "1.5"])
def test_a_time_limit_that_is_none_is_told(text):
    with pytest.raises(InputError, match=f"--time-limit {text}: allowed: MINUTES, HOURS:MINUTES:SECONDS"):
        slurm.minutes(text)

"""What the driver finds of cells in shared storage, and removes."""

import pytest
from objects import store
from test_answer import ANSWER

from bench import shared
from bench.errors import DataError, StoreError
from bench.kept import Kept
from bench.task import Returned

ID, DATA = ANSWER.cell_id, ANSWER.data_sha256


@pytest.fixture
def kept(tmp_path):
    return Kept(store(tmp_path / "bucket")[0])


def test_an_answer_that_is_left_is_found_until_it_is_forgotten(kept):
    assert kept.left(ID, DATA, with_net=False) is None
    kept.storage.write(shared.answer(ID), ANSWER.packed())
    kept.storage.write(shared.checkpoint(ID), b"state")
    assert kept.left(ID, DATA, with_net=False) == Returned(ID, ANSWER.value, ANSWER.place)
    kept.forget(ID)
    assert kept.left(ID, DATA, with_net=False) is None and kept.storage.has(shared.checkpoint(ID))
    kept.forget(ID, checkpoint=True)
    assert not kept.storage.has(shared.checkpoint(ID))


def test_where_nets_are_kept_an_answer_without_one_is_none(kept, tmp_path):
    kept.storage.write(shared.answer(ID), ANSWER.packed())
    assert kept.left(ID, DATA, with_net=True) is None
    with pytest.raises(StoreError, match=f"s3://bucket/study: the net of cell {ID} is not there"):
        kept.bring_net(ID, tmp_path / "net")
    kept.storage.write(shared.net(ID), b"net")
    assert kept.left(ID, DATA, with_net=True)
    kept.bring_net(ID, tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == b"net"


def test_what_is_damaged_is_told(kept):
    kept.storage.write(shared.answer(ID), ANSWER.packed()[:-3])
    with pytest.raises(DataError, match="damaged"):
        kept.left(ID, DATA, with_net=False)


def test_without_storage_there_is_nothing(tmp_path):
    nothing = Kept(None)
    nothing.forget(ID, checkpoint=True)
    nothing.bring_net(ID, tmp_path / "net")
    assert nothing.left(ID, DATA, with_net=True) is None

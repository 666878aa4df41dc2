"""What child processes say of images that training could not decode."""

import pytest
from images import encoded, photographs, pictures

from bench import decodable, folders


class Caller:
    def __init__(self):
        self.sent, self.stop = [], False

    def send(self, message):
        self.sent.append(message)

    def stopping(self):
        return self.stop


@pytest.fixture
def train(tmp_path):
    source = photographs(tmp_path / "d", each=4)
    folder = tmp_path / "d" / "train" / "a"
    whole = encoded(pictures(1, side=64)[0], "JPEG")
    (folder / "a_0.JPEG").write_bytes(whole[: len(whole) // 2])
    (folder / "a_1.JPEG").write_bytes(b"")
    (folder / "a_2.JPEG").write_bytes(b"junk")
    (folder / "png.JPEG").write_bytes(encoded(pictures(1)[0]))  # as one image of ImageNet is
    found = folders.pages(tmp_path / "d", folders.listed(source)[0])
    (folder / "a_3.JPEG").unlink()
    return found


def test_bad_images_are_named_with_the_reason(train):
    caller = Caller()
    decodable.examine([train], caller)
    ((seen, bad),) = caller.sent
    assert seen == 9
    assert [where.rpartition("/")[2] for where, _ in bad] == ["a_0.JPEG", "a_1.JPEG", "a_2.JPEG", "a_3.JPEG"]
    reasons = [why for _, why in bad]
    assert reasons[0] == "Image is incomplete or truncated" and "No such file" in reasons[3]
    assert all(why and "\n" not in why and ".cpp" not in why for why in reasons)


def test_it_says_how_far_it_is_and_stops_when_asked(train, monkeypatch):
    monkeypatch.setattr(decodable, "SECONDS", -1.0)
    caller = Caller()
    decodable.examine([train], caller)
    assert [seen for seen, _ in caller.sent] == [1] * 9 + [0]
    caller = Caller()
    caller.stop = True
    decodable.examine([train], caller)
    assert len(caller.sent) == 1

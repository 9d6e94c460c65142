"""What shows or identifies a person is refused, by name and by shape; Korean prose, numbers and URLs are not."""

import base64
import random
import time
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import Malformed
from app.events import contents
from app.events.contents import FORBIDDEN_COMPOUNDS, FORBIDDEN_FIELDS, FORBIDDEN_KOREAN, footage_in, is_forbidden

HEADS = {
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "jpeg, exif": b"\xff\xd8\xff\xe1\x12\x34Exif\x00",
    "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "webp": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "gif 87": b"GIF87a\x01\x00\x01\x00",
    "gif 89": b"GIF89a\x01\x00\x01\x00",
    "bmp": b"BM\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28",
    "tiff": b"II*\x00\x08\x00\x00\x00",
    "avif": b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00",
}
pictures = st.builds(
    lambda head, rest: head + rest, st.sampled_from(sorted(HEADS.values())), st.binary(min_size=48, max_size=300)
)


def styles(name: str) -> list[str]:
    """A name as people write it."""
    words = name.split("_")
    return [
        name, name.upper(), name.title().replace("_", ""), words[0] + "".join(word.title() for word in words[1:]),
        name.replace("_", "-"), name.replace("_", "."), name.replace("_", " "),
    ]  # fmt: skip


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(Malformed) as said:
        contents.check(data)
    field: str = said.value.extra["field"]
    return field


# Names


@pytest.mark.parametrize("word", [*FORBIDDEN_FIELDS, *FORBIDDEN_COMPOUNDS])
def test_names_of_footage_are_refused_however_they_are_written(word: str) -> None:
    around = [word, f"{word}_data", f"front_{word}", f"the_{word}_of_it", f"{word}_2", f"1_{word}"]
    for written in [style for name in around for style in styles(name)]:
        assert is_forbidden(written), written
    assert is_forbidden("".join(chr(ord(letter) + 0xFEE0) for letter in word)), "full-width letters"
    assert refused({"objects": [{word: "…"}]}) == "data.objects[0]"


@pytest.mark.parametrize("word", FORBIDDEN_KOREAN)
def test_korean_names_of_footage_are_refused_within_longer_ones(word: str) -> None:
    for name in (word, f"{word}정보", f"전면{word}", f"{word}_1", f"용의자 {word}"):
        assert is_forbidden(name)
    assert refused({f"{word}": 1}) == "data"


@pytest.mark.parametrize(
    "name",
    ["confidence", "확신도", "surface", "interface", "imagery", "framework", "plateau", "faceless", "preface", "template_d",
     "capture_at", "카메라", "영상각도", "장소", "비고", "people_per_m2", "irisation", "photosynthesis", "typeface", "", "1"],
)  # fmt: skip
def test_names_that_only_sound_alike_are_taken(name: str) -> None:
    assert is_forbidden(name) == (name == "template_d")


@given(st.text(alphabet="가나다라마바사아자차카타파하거너더러도로모보소오고구누두루무부수우주", max_size=30))
def test_korean_names_are_taken(name: str) -> None:
    assert not is_forbidden(name)


# Shapes


@given(picture=pictures, wrap=st.sampled_from([0, 64, 76]), before=st.sampled_from(["", " ", "img=", "b64:", "그림 "]))
@example(HEADS["jpeg"] + bytes(40), 0, "")
def test_an_encoded_picture_is_refused(picture: bytes, wrap: int, before: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(picture).decode()
        if wrap:
            text = "\n".join(text[start : start + wrap] for start in range(0, len(text), wrap))
        assert footage_in(before + text)
        assert footage_in(before + text.rstrip("="))
    for text in (picture.hex(), picture.hex().upper(), picture.hex(":"), picture.hex(" "), "0x" + picture.hex()):
        assert footage_in(text)
    assert refused({"a": ["b", {"내용": base64.b64encode(picture).decode()}]}) == "data.a[1].내용"


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_picture_that_was_read_as_text_is_refused(head: bytes) -> None:
    if head[0] > 0x7F:
        assert footage_in((head + bytes(range(1, 120))).decode("latin-1"))


@pytest.mark.parametrize(
    "uri",
    ["data:image/jpeg;base64,/9j/", "DATA:image/png;base64,iVBOR", " data:;base64,AAAA", "x data:image/svg+xml,%3Csvg",
     '<img src="data:image/webp;base64,UklGR">', "data:text/plain;charset=utf-8;base64,Zm9v"],
)  # fmt: skip
def test_a_data_uri_is_refused(uri: str) -> None:
    assert footage_in(uri.ljust(24)) == "a data: URI"


@given(
    data=st.binary(min_size=400, max_size=1500),
    wrap=st.sampled_from([0, 64, 76]),
    before=st.sampled_from(["", "특징 "]),
)
def test_a_long_block_of_bytes_is_refused(data: bytes, wrap: int, before: str) -> None:
    for text in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode(), data.hex()):
        lines = "\r\n".join(text[start : start + (wrap or 9999)] for start in range(0, len(text), wrap or 9999))
        assert footage_in(before + lines)


@given(st.lists(st.floats(-1e9, 1e9), min_size=65, max_size=300))
def test_a_row_of_numbers_is_refused_however_it_is_written(numbers: list[float]) -> None:
    square = [numbers[start : start + 8] for start in range(0, len(numbers), 8)]
    assert refused({"v": numbers}) == "data.v"
    assert refused({"a": {"v": square}}) == "data.a.v"
    assert refused({"v": [f"{number:.6f}" for number in numbers]}) == "data.v"
    for text in (", ".join(map(repr, numbers)), str(numbers), " ".join(map(repr, numbers)), str(square)):
        assert footage_in(text)


@pytest.mark.parametrize(
    "plate", ["12가3456", "123나 4567", " 서울 1바2345 ", "경기12아 3456", "45허 6789", "78배1234"]
)
def test_a_text_that_is_a_plate_is_refused_and_not_repeated(plate: str) -> None:
    assert footage_in(plate) == "a number plate"
    with pytest.raises(Malformed) as said:
        contents.check({"vehicle": plate})
    assert plate.strip() not in said.value.detail
    assert refused({plate: 1}) == "data"


# What is harmless

SYLLABLES = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
words = st.one_of(
    st.text(SYLLABLES, min_size=1, max_size=8),
    st.sampled_from(
        ["CCTV", "3번", "10:30", "112", "2명", "(북측)", "공원 입구.", "data:", "BM", "GIF", "1.5m", "-", "A-12"]
    ),
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12),
)
prose = st.lists(words, min_size=1, max_size=300).map(lambda some: " ".join(some)[: contents.MOST_TEXT])
segments = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=1, max_size=40)
urls = st.builds(
    lambda host, path, name, token: f"https://{host}.example.kr/{'/'.join(path)}?{name}={token}",
    st.text("abcdefghijklmnop", min_size=1, max_size=12),
    st.lists(segments | st.text(SYLLABLES, max_size=5).map(quote), max_size=9),
    segments,
    (st.binary(max_size=60) | st.binary(min_size=400, max_size=700)).map(
        lambda raw: base64.urlsafe_b64encode(b"t" + raw).decode()
    ),
)


@given(prose)
def test_prose_is_taken(text: str) -> None:
    assert not footage_in(text)
    contents.check({"note": text, "비고": [text[:50]]})


@given(st.lists(urls | prose.map(lambda text: text[:60]), min_size=1, max_size=4))
def test_urls_are_taken_also_with_long_tokens(parts: list[str]) -> None:
    assert not footage_in(" ".join(parts))


@given(
    st.dictionaries(
        st.text(SYLLABLES, min_size=1, max_size=3),
        st.one_of(
            st.uuids(version=4).map(str),
            st.datetimes().map(lambda moment: moment.isoformat()),
            st.integers(-(2**53), 2**53),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
            st.none(),
            st.binary(min_size=32, max_size=32).map(bytes.hex),
            st.lists(st.floats(0, 1), max_size=64),
            st.lists(st.sampled_from(["CAM-1", "0212", "13"]), max_size=100),
        ),
        max_size=12,
    )
)
def test_ordinary_data_is_taken_and_written_as_it_is(data: dict[str, Any]) -> None:
    if any(is_forbidden(name) for name in data):
        return
    assert orjson.loads(contents.check(data)) == data


@pytest.mark.parametrize(
    "text", ["제12조 3456", "101호", "12시 3456", "2026가1234567", "12가3456호 앞", "02-1234-5678", "3만 1234"]
)
def test_what_is_no_plate_is_taken(text: str) -> None:
    assert not footage_in(text)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (2**70, "data"), (float("nan"), "data.a"), ([float("inf")], "data.a[0]"), ("\ud800", "data"), (b"x", "data"),
        ({1: 2}, "data"), ("x" * 4001, "data.a"), (["x" * 3000] * 6, "data"), ("nul\0", "data.a"),
    ],
)  # fmt: skip
def test_what_is_no_json_or_too_large_is_refused_by_its_field(value: Any, field: str) -> None:
    assert refused({"a": value}) == field


def test_no_text_takes_long_to_look_at() -> None:
    """Hostile texts of the greatest length: each pattern passes over them once."""
    generator = random.Random(1)
    texts = [letter * 4000 for letter in "1a-= ,.:/fA0가"] + ["1 " * 2000, "ab" * 2000, "a" * 39 + " ", "data:" * 800]
    texts += ["".join(generator.choices("0123456789abcdef:/+=-_. data,;", k=4000)) for _ in range(50)]
    texts += [("1." * 2000), ("data:a/a;" * 444), ("http://" * 571), "a:" * 2000, ("A" * 39 + "\n") * 100]
    began = time.process_time()
    for text in texts:
        footage_in(text)
    assert time.process_time() - began < 2, "a pattern goes back and forth"

"""One setting says in which language people read."""

import threading

import pytest

import tinygrad_vi
from tinygrad_vi import Value, language, modes, set_language, words
from tinygrad_vi.course import lecture_picture


@pytest.fixture(autouse=True)
def _english():
    yield
    modes.language.default = "en"


def begins_in():
    return Value(3.0, "x").step_through().language


def test_english_until_somebody_says_otherwise():
    assert begins_in() == words.LANGUAGES[0] == "en"
    with language("vi"):
        assert begins_in() == "vi"
        with language("en"):
            assert begins_in() == "en"
        assert Value(3.0, "x").step_through(language="en").language == "en"
        assert begins_in() == "vi"
    assert begins_in() == "en"
    assert language("vi")(begins_in)() == "vi"


def test_set_language_holds_in_every_thread_and_a_block_in_its_own():
    def in_a_thread():
        found = []
        worker = threading.Thread(target=lambda: found.append(begins_in()))
        worker.start()
        worker.join()
        return found[0]

    with language("vi"):
        assert in_a_thread() == "en"
    set_language("vi")
    assert begins_in() == in_a_thread() == "vi"
    with language("en"):
        assert begins_in() == "en"
    assert begins_in() == "vi"


@pytest.mark.parametrize("wrong", ["fr", "VI", "", None, 3, ["vi"]])
@pytest.mark.parametrize("say", [tinygrad_vi.language, tinygrad_vi.set_language])
def test_a_language_that_there_is_not_is_refused_with_those_that_there_are(say, wrong):
    with pytest.raises(ValueError, match="the languages are 'en', 'vi', got"):
        say(wrong)
    assert begins_in() == "en"


def test_the_course_speaks_vietnamese_by_itself():
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text

    shown = {t.get_text() for t in lecture_picture("S1-neuron").figure.findobj(Text)}
    assert set(words.words_of("analogies")["vi"].values()) <= shown
    assert begins_in() == "en"


@pytest.mark.parametrize("part", ["analogies", "demo", "derivation", "page", "tables"])
def test_a_part_has_words_in_every_language(part):
    assert set(words.words_of(part)) == set(words.LANGUAGES)

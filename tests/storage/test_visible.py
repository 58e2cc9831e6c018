"""Names that can be shown anywhere."""

from fewlabels.storage.visible import visible


def test_what_keeps_letters_of_persian_apart_is_left_and_elsewhere_written_out():
    assert visible("می\u200cخواهم") == "می\u200cخواهم"
    assert visible("\u200cمی") == "\\u200cمی"
    assert visible("cat\u200ddog") == "cat\\u200ddog"


def test_what_makes_one_picture_of_several_is_left():
    woman, skin, laptop, heart, fire = "\U0001f469", "\U0001f3fd", "\U0001f4bb", "\u2764\ufe0f", "\U0001f525"
    for picture in (f"{woman}\u200d{laptop}", f"{woman}{skin}\u200d{laptop}", f"{heart}\u200d{fire}"):
        assert visible(f"a {picture}") == f"a {picture}"
    assert visible(f"{woman}\u200c{laptop}") == f"{woman}\\u200c{laptop}"
    assert visible(f"{woman}\u200d") == f"{woman}\\u200d"

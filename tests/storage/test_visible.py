"""Names that can be shown anywhere."""

from fewlabels.storage.visible import visible


def test_what_keeps_letters_of_persian_apart_is_left_and_elsewhere_written_out():
    assert visible("می\u200cخواهم") == "می\u200cخواهم"
    assert visible("\u200cمی") == "\\u200cمی"
    assert visible("cat\u200ddog") == "cat\\u200ddog"

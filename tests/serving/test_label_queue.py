import threading

import pytest

from fewlabels.serving.label_queue import LabelQueue
from fewlabels.storage.errors import InputError

NAMES = [f"{number}.png" for number in range(20)]


class Disk(list):
    def write(self, name, label):
        self.append((name, label))


@pytest.fixture
def disk():
    return Disk()


def queue_of(disk, **options):
    return LabelQueue(NAMES, ["cat", "dog"], disk.write, batch=3, **options)


def test_a_label_is_on_the_disk_before_the_next_image_comes(disk):
    queue = queue_of(disk)
    assert queue.batch("a") == NAMES[:3]
    queue.label("a", NAMES[0], "cat")
    assert disk == [(NAMES[0], "cat")]
    assert queue.batch("a") == NAMES[1:4]
    assert (queue.labeled, queue.left) == (1, 19)
    assert queue.counts() == {"cat": 1, "dog": 0}


def test_a_label_that_could_not_be_written_was_not_given():
    def full(name, label):
        raise OSError("no room")

    queue = LabelQueue(NAMES, ["cat"], full, batch=3)
    queue.batch("a")
    with pytest.raises(OSError, match="no room"):
        queue.label("a", NAMES[0], "cat")
    assert queue.labeled == 0
    assert queue.batch("a")[0] == NAMES[0]


def test_two_people_never_see_the_same_image(disk):
    queue = queue_of(disk)
    assert set(queue.batch("a")).isdisjoint(queue.batch("b"))


def test_what_a_closed_page_held_goes_to_others_after_a_while(disk):
    now = [0.0]
    queue = queue_of(disk, clock=lambda: now[0])
    assert queue.batch("a") == NAMES[:3]
    assert queue.batch("b") == NAMES[3:6]
    now[0] = 601.0
    queue.label("b", NAMES[3], "dog")
    assert queue.batch("b") == [*NAMES[4:6], NAMES[0]]


def test_who_comes_back_after_a_while_sees_none_of_what_others_have_by_then(disk):
    now = [0.0]
    queue = queue_of(disk, clock=lambda: now[0])
    assert queue.batch("a") == NAMES[:3]
    now[0] = 601.0
    assert queue.batch("b") == NAMES[:3]
    # What a looks at is theirs to label still.
    queue.label("a", NAMES[0], "cat")
    assert queue.batch("a") == NAMES[3:6]
    assert queue.batch("b") == [*NAMES[1:3], NAMES[6]]


def test_what_a_page_showed_goes_to_others_when_it_is_closed(disk):
    queue = queue_of(disk)
    assert queue.batch("a") == NAMES[:3]
    queue.leave("a")
    assert queue.batch("b") == NAMES[:3]
    queue.leave("nobody")


def test_skipped_images_come_last_and_come_again(disk):
    queue = queue_of(disk)
    queue.batch("a")
    queue.skip("a", NAMES[0])
    assert queue.batch("a") == NAMES[1:4]
    for name in NAMES[1:]:
        queue.label("a", name, "cat")
    assert queue.batch("a") == [NAMES[0]]
    assert disk[0] == (NAMES[1], "cat")


def test_undo_takes_the_label_back_and_shows_the_image_again(disk):
    queue = queue_of(disk)
    queue.batch("a")
    queue.label("a", NAMES[0], "cat")
    queue.label("a", NAMES[1], "dog")
    assert queue.undo("a") == NAMES[1]
    assert queue.batch("a")[0] == NAMES[1]
    queue.label("a", NAMES[1], "cat")
    assert disk == [(NAMES[0], "cat"), (NAMES[1], "dog"), (NAMES[1], None), (NAMES[1], "cat")]
    assert queue.labels() == {NAMES[0]: "cat", NAMES[1]: "cat"}


def test_undo_goes_back_through_all_that_one_gave_and_no_further(disk):
    queue = queue_of(disk)
    for name in NAMES[:2]:
        queue.label("a", name, "cat")
    queue.label("b", NAMES[2], "dog")
    assert [queue.undo("a") for _ in range(3)] == [NAMES[1], NAMES[0], None]
    assert queue.labels() == {NAMES[2]: "dog"}


def test_undo_brings_a_skipped_image_back_before_labels_that_are_older(disk):
    queue = queue_of(disk)
    queue.batch("a")
    queue.label("a", NAMES[0], "cat")
    for name in NAMES[1:3]:
        queue.skip("a", name)
    assert queue.undo("a") == NAMES[2]
    assert queue.batch("a")[0] == NAMES[2]
    assert disk == [(NAMES[0], "cat")]
    # It is no skipped one any more: whoever comes next is asked for it before those.
    queue.leave("a")
    assert queue.batch("b") == NAMES[2:5]
    assert [queue.undo("a") for _ in range(3)] == [NAMES[1], NAMES[0], None]
    assert disk == [(NAMES[0], "cat"), (NAMES[0], None)]


def test_a_skip_of_an_image_that_has_a_label_by_now_is_not_taken_back(disk):
    queue = queue_of(disk)
    queue.skip("a", NAMES[0])
    queue.skip("a", NAMES[1])
    queue.label("b", NAMES[1], "dog")
    queue.label("a", NAMES[0], "cat")
    assert [queue.undo("a"), queue.undo("a")] == [NAMES[0], None]
    assert queue.labels() == {NAMES[1]: "dog"}


def test_undo_works_still_for_whoever_could_not_be_reached_for_a_moment(disk):
    queue = queue_of(disk)
    queue.batch("a")
    queue.label("a", NAMES[0], "cat")
    queue.leave("a")
    assert queue.batch("b") == NAMES[1:4]
    assert queue.undo("a") == NAMES[0]
    assert queue.batch("a") == [NAMES[0], *NAMES[4:6]]
    assert queue.labels() == {}


def test_undo_leaves_the_label_that_another_person_gave_later(disk):
    queue = queue_of(disk)
    for name in NAMES[:2]:
        queue.label("a", name, "cat")
    # The page of b showed the image since before.
    queue.label("b", NAMES[1], "dog")
    assert queue.undo("a") == NAMES[0]
    assert queue.labels() == {NAMES[1]: "dog"}


def test_undo_gives_back_the_label_that_another_person_gave_before(disk):
    queue = queue_of(disk)
    queue.label("b", NAMES[0], "cat")
    # Twice, as by a key that was hit and another meant.
    queue.label("a", NAMES[0], "dog")
    queue.label("a", NAMES[0], "dog")
    assert queue.undo("a") == NAMES[0]
    assert disk[-1] == (NAMES[0], "cat")
    assert queue.labels() == {NAMES[0]: "cat"}
    assert NAMES[0] not in queue.batch("a")
    assert queue.undo("a") is None


def test_undo_gives_back_no_label_that_was_taken_out_of_the_file(disk):
    queue = queue_of(disk)
    queue.label("b", NAMES[0], "cat")
    queue.label("a", NAMES[0], "dog")
    queue.label("a", NAMES[1], "dog")
    queue.read_anew(lambda: {NAMES[1]: "dog"})
    assert [queue.undo("a"), queue.undo("a")] == [NAMES[1], None]
    assert queue.labels() == {}


def test_a_skipped_image_that_has_its_label_from_the_file_is_not_asked_for_again(disk):
    queue = queue_of(disk)
    queue.skip("a", NAMES[0])
    queue.read_anew(lambda: dict.fromkeys(NAMES, "cat"))
    assert (queue.batch("a"), queue.left) == ([], 0)


def test_an_image_that_nobody_holds_is_found_again_after_undo(disk):
    queue = queue_of(disk)
    for name in NAMES[:6]:
        queue.label("a", name, "cat")
    queue.batch("a")
    queue.undo("a")
    queue.skip("a", NAMES[5])
    for name in NAMES[6:]:
        queue.label("a", name, "cat")
    assert queue.batch("a") == [NAMES[5]]


def test_a_late_click_labels_what_was_seen(disk):
    queue = queue_of(disk)
    queue.batch("a")
    queue.label("a", NAMES[0], "cat")
    queue.label("a", NAMES[0], "dog")
    assert queue.labels() == {NAMES[0]: "dog"}
    assert queue.labeled == 1


@pytest.mark.parametrize(("name", "label"), [("other.png", "cat"), (NAMES[0], "cow")])
def test_images_and_classes_from_elsewhere_are_refused(disk, name, label):
    queue = queue_of(disk)
    with pytest.raises(InputError, match="reload the page"):
        queue.label("a", name, label)
    assert disk == []


def test_a_new_ranking_goes_on_without_what_has_a_label(disk):
    queue = queue_of(disk)
    for name in NAMES[:3]:
        queue.label("a", name, "cat")
    queue.rank(NAMES[::-1])
    assert queue.batch("b") == NAMES[::-1][:3]
    queue.rank(NAMES)
    assert queue.batch("c")[0] == NAMES[3]


def test_labels_of_an_earlier_day_count(disk):
    queue = queue_of(disk, labels={NAMES[0]: "cat", "gone.png": "dog"})
    assert queue.labeled == 1
    assert queue.batch("a")[0] == NAMES[1]


def test_many_people_at_once_lose_and_double_nothing(disk):
    names = [str(number) for number in range(400)]
    queue = LabelQueue(names, ["cat"], disk.write, batch=4)

    def work(person):
        while batch := queue.batch(person):
            queue.label(person, batch[0], "cat")

    people = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(name for name, _ in disk) == sorted(names)


def test_people_who_left_are_forgotten(disk):
    queue = queue_of(disk)
    for number in range(1500):
        queue.batch(str(number))
    assert len(queue._people) == 1000

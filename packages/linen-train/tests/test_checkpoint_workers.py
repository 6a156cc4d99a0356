import threading
import time

import pytest

from linen_train.checkpoint._workers import Workers


@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_every_item_once(count: int) -> None:
    seen: list[int] = []
    with Workers() as workers:
        for _ in range(2):
            seen.clear()
            workers.map(seen.append, range(1, count + 1))
            assert sorted(seen) == list(range(1, count + 1))


def test_the_first_error_stops_all() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise OSError("third")
        time.sleep(0.001)
        done.append(item)

    with Workers() as workers:
        with pytest.raises(OSError, match="third"):
            workers.map(work, range(1, 1000))
        assert len(done) < 900
        workers.map(done.append, [7])  # and they work on
    assert done[-1] == 7


def test_an_interruption_waits_for_the_others() -> None:
    """What is interrupted closes its files next, and no thread may write into them after that."""
    running = threading.Semaphore(0)
    main = threading.current_thread()
    ended = []

    def work(item: int) -> None:
        if threading.current_thread() is main:
            running.acquire()  # until another thread is in the middle of its item
            raise KeyboardInterrupt
        running.release()
        time.sleep(0.05)
        ended.append(item)

    with Workers() as workers:
        with pytest.raises(KeyboardInterrupt):
            workers.map(work, range(1, 100))
        count = len(ended)
        time.sleep(0.1)
        assert len(ended) == count > 0

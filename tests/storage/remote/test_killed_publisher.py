"""A publisher dies before, or just after, each of its requests in turn."""

import os
import signal
import threading

import pytest

from storage.remote import open_replica, publish_replica, verify_replicated_snapshot
from storage.snapshots import current_snapshot

KILLED = -signal.SIGKILL
MAX_REQUESTS = 200


class Killer:
    """Kills the publisher at a request of some number, before or after the server has it."""

    def __init__(self, proxy, number, moment):
        self.number, self.moment, self.proxy = number, moment, proxy
        self.is_known = threading.Event()
        self.victim = None
        proxy.before = self._before
        proxy.after = self._after

    def aim_at(self, process_id):
        self.victim = process_id
        self.is_known.set()

    def _kill(self):
        assert self.is_known.wait(10)
        os.kill(self.victim, signal.SIGKILL)
        return self.proxy.CUT

    def _before(self, number, _, __):
        return self._kill() if (number, self.moment) == (self.number, "before") else None

    def _after(self, number, _, __):
        return self._kill() if (number, self.moment) == (self.number, "after") else None


def kill_at(number, moment, layout, place, proxied, start_publisher, *, with_features):
    """Publish in a process that dies at a request; give its exit status."""
    with proxied() as proxy:
        killer = Killer(proxy, number, moment)
        process_id, wait = start_publisher(
            store=str(layout.root),
            url=place.url,
            endpoint=proxy.endpoint,
            with_features=with_features,
        )
        killer.aim_at(process_id)
        return wait()


def check_readers(place, old, new):
    """What readers find is the old snapshot or the new one, wholly."""
    assert place.current() in {old, new}
    if place.current() is not None:
        replica = open_replica(place.bucket())
        assert verify_replicated_snapshot(replica, replica.current()[0])[0] == []


def without_pins(place):
    return {path: data for path, data in place.objects().items() if "pending/" not in path}


def kill_at_each(numbers, old, layout, place, proxied, start_publisher, *, with_features):
    """Kill at these requests, check readers, publish again; give whether one was never reached."""
    whole = place.within("undisturbed")
    if old is not None:
        whole = place.within("undisturbed-second")
        publish_old(layout, whole, old)
    publish_replica(layout, whole.bucket(), with_features=with_features)
    for number in numbers:
        moment = "before" if number % 2 else "after"
        here = place.within(f"killed/{number}/{moment}")
        if old is not None:
            publish_old(layout, here, old)
        status = kill_at(
            *(number // 2, moment, layout, here, proxied, start_publisher),
            with_features=with_features,
        )
        check_readers(here, old, current_snapshot(layout).number)
        if status == 0:
            return True
        assert status == KILLED
        publish_replica(layout, here.bucket(), with_features=with_features)
        assert here.current() == current_snapshot(layout).number
        assert without_pins(here) == without_pins(whole)
    return False


def publish_old(layout, place, old):
    """Publish the snapshot before the current one."""
    now = layout.current_path.read_bytes()
    layout.current_path.write_bytes(f"{old}\n".encode())
    publish_replica(layout, place.bucket())
    layout.current_path.write_bytes(now)


def test_the_next_snapshot_survives_a_kill_at_sampled_requests(
    published, place, publish_next, proxied, start_publisher
):
    publish_next(published)
    arguments = (1, published, place, proxied, start_publisher)
    assert kill_at_each(range(3, MAX_REQUESTS, 7), *arguments, with_features=False)


@pytest.mark.slow  # a minute
@pytest.mark.timeout(900)
def test_the_next_snapshot_survives_a_kill_at_every_request(
    published, place, publish_next, proxied, start_publisher
):
    publish_next(published)
    arguments = (1, published, place, proxied, start_publisher)
    assert kill_at_each(range(MAX_REQUESTS), *arguments, with_features=False)


@pytest.mark.slow  # a minute
@pytest.mark.timeout(900)
def test_the_first_snapshot_survives_a_kill_at_sampled_requests(
    published, place, proxied, start_publisher
):
    """With features; the first of all, so before and after the marker and the pointer exist."""
    arguments = (None, published, place, proxied, start_publisher)
    assert kill_at_each(range(0, MAX_REQUESTS, 3), *arguments, with_features=True)

"""BuildNotifier: tells the sink how builds go on, once their Jobs exist.

Every replica sees every Job, so only the leader tells. What the sink has taken is marked on the
Job, and what is not marked is told by the next leader: the Jobs themselves are the queue, and the
outbox holds only what is on its way. So each piece of news arrives at least once, in order.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.errors import Refused
from lambda_builder.journal import Outbox, OutboxMessage
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.status import Job
from lambda_builder.kube.watcher import JobChange, JobWatcher
from lambda_builder.lifecycle.asked import Asked
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.lifecycle.explanations import Explanations
from lambda_builder.lifecycle.marks import JobMarks
from lambda_builder.lifecycle.news import due_news, is_final, later, news_result, when
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.outgoing.messages import BuildNews
from lambda_builder.precedence import Precedence
from lambda_builder.threads import Background

_WINDOW = 256
"""Messages on their way at a time."""
_LOOKED_AT_IN_A_ROW = 32
"""Jobs that are looked at, to be told of, between two marks: each of those waits for the API."""
_LOOK_SECONDS = 0.25
"""How soon it is seen that leadership was gained or lost."""
_GONE_SECONDS = 60.0
"""How long a deleted Job is remembered, in case its leader went away before it told of it."""
_GONE_MAX = 1000
"""Deleted Jobs that are remembered: what has to be told of more goes to the outbox at once."""
_AGAIN_SECONDS = 300.0
"""A full outbox may drop a message, so what was not delivered for so long is put there again."""


class Leads(Protocol):
    """Who knows whether this replica is the one that tells."""

    @property
    def is_leader(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Sent:
    record: JobRecord
    news: BuildNews
    message: OutboxMessage
    at: float


def _unknown(_result: BuildResult, _job: Job | None) -> None:
    return None


class BuildNotifier:
    """Tells of Jobs while ``leadership`` says so; thread-safe, starts and stops as ``Background``.

    Its one thread marks the Jobs, so that neither the watch nor a worker waits for that; why one
    failed it has ``diagnosis`` find out.
    """

    def __init__(
        self,
        watcher: JobWatcher,
        leadership: Leads,
        marks: JobMarks,
        outbox: Outbox,
        announcer: Announcer,
        diagnosis: JobDiagnosis,
        *,
        provenance: Callable[[BuildResult, Job | None], dict[str, Any] | None] = _unknown,
        window: int = _WINDOW,
        precedence: Precedence | None = None,
    ) -> None:
        """``provenance`` states where an image came from, by its Job where the watch showed that.

        ``window`` bounds what is on its way; to tell of a Job is a turn of ``precedence``.
        """
        self._watcher = watcher
        self._leadership = leadership
        self._marks = marks
        self._outbox = outbox
        self._announcer = announcer
        self._diagnosis = diagnosis
        self._provenance = provenance
        self._explanations = Explanations(diagnosis)
        self._window = window
        self._precedence = precedence or Precedence()
        self._changed = threading.Condition()
        self._leading = False
        self._due: OrderedDict[str, str] = OrderedDict()
        """Names of Jobs, by uid, with news that is not held nor on its way; the oldest first."""
        self._gone: dict[str, tuple[JobRecord, float]] = {}
        """Deleted Jobs with news that nobody was seen to tell, and since when they are gone."""
        self._asked = Asked()
        self._sent: dict[str, _Sent] = {}
        """Messages on their way, by id."""
        self._taken_back: set[str] = set()
        """Messages that were, until this replica led no more; the sink may hold them still."""
        self._furthest: dict[str, BuildNews] = {}
        """The last news of a Job that was sent from here, delivered or not."""
        self._announced: dict[str, BuildNews] = {}
        """The last news of a Job that was delivered from here, until its mark is seen."""
        self._refused = False
        """Whether the outbox took nothing the last time."""
        self._thread = Background("build-notifier", self._loop, wake=self._wake)

    def start(self) -> None:
        """Begin to tell; does nothing after ``stop``."""
        self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; returns its name if it is alive after ``timeout`` seconds."""
        return self._thread.stop(timeout)

    # -- what is told to it --------------------------------------------------------------------

    def job_changed(self, change: JobChange) -> None:
        """Listen to the watcher."""
        record = change.record
        with self._changed:
            has_news = bool(self._news_of(record))
            if change.kind == "gone" and has_news:
                self._gone[record.uid] = record, time.monotonic()
            elif change.kind == "gone" or is_final(record.announced):
                self._forget(record.uid)
            if self._leading and has_news:
                if change.job is not None and record.state is BuildState.SUCCEEDED:
                    self._asked.keep(change.job)
                self._due.setdefault(record.uid, record.name)
                self._explanations.let_go(record.uid)
                self._changed.notify_all()

    def may_send(self, message_id: str) -> bool:
        """Return whether a message may leave now: one of a Job's only while this replica leads."""
        if message_id in self._taken_back:
            return False
        return message_id not in self._sent or self._leadership.is_leader

    def delivered(self, message_id: str) -> None:
        """The sink has taken a message."""
        with self._changed:
            sent = self._sent.pop(message_id, None)
            if sent is None:
                return
            record, news = sent.record, sent.news
            exists = self._exists(record)
            if exists or record.uid in self._gone:
                self._announced[record.uid] = news
            if exists:
                self._marks.add(record, news)
            elif is_final(news):
                self._forget(record.uid)
            self._changed.notify_all()

    # -- the thread ----------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _loop(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self._follow_leadership()
                self._pass_gone_on()
                if not (self._tell_due() | self._marks.write_next()):
                    self._rest(stopping)
            except Exception:  # noqa: BLE001 - nothing marked is lost by it
                structlog.get_logger().exception("build_news_failed")
                stopping.wait(_LOOK_SECONDS)
        self._follow_leadership()

    def _rest(self, stopping: threading.Event) -> None:
        now = time.monotonic()
        with self._changed:
            self._forget_gone(now - _GONE_SECONDS)
            if not stopping.is_set():
                self._changed.wait(self._marks.pause(_LOOK_SECONDS))
        if self._leading:
            self._send_again(now - _AGAIN_SECONDS)

    # -- leading -------------------------------------------------------------------------------

    def _follow_leadership(self) -> None:
        leads = self._leadership.is_leader and self._watcher.synced
        if leads == self._leading:
            return
        with self._changed:
            self._leading = leads
            if leads:
                self._take_over()
            else:
                self._step_back()

    def _take_over(self) -> None:
        self._taken_back.clear()
        for record in (*self._watcher.records(), *(gone for gone, _ in self._gone.values())):
            if self._news_of(record):
                self._due.setdefault(record.uid, record.name)

    def _step_back(self) -> None:
        """Take back what is on its way: the next leader tells it, and nobody may overtake that.

        Except for Jobs that are gone, which the next leader may not know of.
        """
        self._due.clear()
        self._asked.clear()
        self._explanations.forget_all()
        for message_id, sent in list(self._sent.items()):
            uid = sent.record.uid
            if self._exists(sent.record):
                self._taken_back.add(message_id)
                self._outbox.delivered(message_id)
                del self._sent[message_id]
                self._furthest.pop(uid, None)
                if uid in self._announced:
                    self._furthest[uid] = self._announced[uid]

    # -- telling -------------------------------------------------------------------------------

    def _tell_due(self) -> bool:
        """Tell of a few Jobs; False when there was nothing to do."""
        with self._changed:
            over = self._explanations.over()
            self._due.update(over)
            for uid in reversed(over):  # before those that ended since
                self._due.move_to_end(uid, last=False)
        looked_at = 0
        while self._may_tell and looked_at < _LOOKED_AT_IN_A_ROW:
            with self._precedence.turn():
                if not self._tell_next():
                    break
            looked_at += 1
        return looked_at > 0

    @property
    def _may_tell(self) -> bool:
        """Whether it may be worth a turn."""
        return bool(self._due) and len(self._sent) < self._window

    def _tell_next(self) -> bool:
        """Look at the next Job, and tell of it unless more may soon be known of it."""
        with self._changed:
            if not self._may_tell:
                return False
            uid, name = self._due.popitem(last=False)
            record = self._latest(uid, name)
            try:
                if record is not None and self._explanations.holds(record):
                    return True
            except BaseException:
                self._due[uid] = name
                raise
            self._explanations.forget(uid)
            asked = self._asked.take(uid)
            if record is None:
                return True  # told of already, and gone
            news = self._news_of(record)
        before = self._furthest.get(record.uid)
        try:
            messages = self._messages(record, news, asked)
        except BaseException:
            self._put_off(record, [], before)
            raise
        with self._changed:
            if not self._leadership.is_leader:
                self._due.setdefault(record.uid, record.name)
                return False
            for kind, message in messages:
                self._sent[message.id] = _Sent(record, kind, message, time.monotonic())
                self._furthest[record.uid] = kind
        if not self._put([message for _, message in messages]):
            self._put_off(record, messages, before)
            return False
        return True

    def _put_off(
        self,
        record: JobRecord,
        messages: list[tuple[BuildNews, OutboxMessage]],
        furthest: BuildNews | None,
    ) -> None:
        """Let news that could not be made, or that the outbox did not take, be due again."""
        with self._changed:
            for _, message in messages:
                self._sent.pop(message.id, None)
            self._furthest.pop(record.uid, None)
            if furthest is not None:
                self._furthest[record.uid] = furthest
            self._due.setdefault(record.uid, record.name)

    def _messages(
        self, record: JobRecord, news: list[BuildNews], asked: Job | None
    ) -> list[tuple[BuildNews, OutboxMessage]]:
        result = self._diagnosis.known(record).result()
        return [
            (kind, message)
            for kind in news
            for message in self._announcer.news(
                kind,
                news_result(kind, result),
                at=when(kind, result),
                provenance=self._provenance(result, asked) if kind == "complete" else None,
            )
        ]

    def _pass_gone_on(self) -> None:
        """Keep no more than so many deleted Jobs: nothing else is left of them to be the queue.

        The outbox, which has bounds of its own, takes their news past the window.
        """
        while len(self._gone) > _GONE_MAX:
            with self._changed:
                uid, (record, _) = next(iter(self._gone.items()))
                news = self._news_of(record) if self._leading else []
                self._due.pop(uid, None)
                self._explanations.forget(uid)
                asked = self._asked.take(uid)
                self._forget(uid)
            messages = self._messages(record, news, asked)
            self._put([message for _, message in messages])

    def _put(self, messages: list[OutboxMessage]) -> bool:
        """Hand messages to the outbox; False while it is not open: no Job is marked, then."""
        try:
            self._outbox.put(messages)
        except Refused as refusal:
            if not self._refused:
                structlog.get_logger().warning("build_news_not_sent", error=refusal.detail)
            self._refused = True
            return False
        self._refused = False
        return True

    def _send_again(self, before: float) -> None:
        with self._changed:
            lost = [sent for sent in self._sent.values() if sent.at < before]
            for sent in lost:
                again = _Sent(sent.record, sent.news, sent.message, time.monotonic())
                self._sent[sent.message.id] = again
        if lost:
            self._put([sent.message for sent in lost])

    # -- with the lock held --------------------------------------------------------------------

    def _news_of(self, record: JobRecord) -> list[BuildNews]:
        return due_news(record, later(record.announced, self._furthest.get(record.uid)))

    def _latest(self, uid: str, name: str) -> JobRecord | None:
        known = self._watcher.by_name(name)
        if known is not None and known.uid == uid:
            return known
        gone, _ = self._gone.get(uid, (None, 0.0))
        return gone

    def _exists(self, record: JobRecord) -> bool:
        known = self._watcher.by_name(record.name)
        return known is not None and known.uid == record.uid

    def _forget(self, uid: str) -> None:
        self._gone.pop(uid, None)
        self._furthest.pop(uid, None)
        self._announced.pop(uid, None)
        self._asked.take(uid)
        self._marks.forget(uid)

    def _forget_gone(self, before: float) -> None:
        if self._leading:
            return  # all of them are on their way, and forgotten when they arrive
        for uid, (_, since) in list(self._gone.items()):
            if since > before:
                return
            self._forget(uid)

"""CommandExecution: carries cancel and retry events out on the builds that they mean."""

from __future__ import annotations

from lambda_builder.builds import Action, BuildResult, CommandRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.pipeline.live_builds import LiveBuilds
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.problems import kubernetes_away
from lambda_builder.steering.audit import Actor, Audit, Target
from lambda_builder.steering.commands import BuildCommands
from lambda_builder.steering.queries import BuildFinder, Results, of_tenants
from lambda_builder.tenants import Tenants

_DELETE_SECONDS = 2.0
"""Longest wait for an old Job to be gone: others wait for their turn meanwhile."""

WORTH_WAITING = frozenset(
    {
        RefusalCode.KUBERNETES_UNAVAILABLE,
        RefusalCode.JOURNAL_UNAVAILABLE,
        RefusalCode.QUEUE_FULL,
        RefusalCode.TENANT_LIMIT,
        RefusalCode.SHUTTING_DOWN,
    }
)
"""Refusals that end by themselves."""


class CommandExecution:
    """Finds what a command event means and does it; thread-safe."""

    def __init__(
        self,
        commands: BuildCommands,
        finder: BuildFinder,
        live: LiveBuilds,
        results: ResultStore,
        watcher: JobWatcher,
        audit: Audit,
    ) -> None:
        self._commands = commands
        self._finder = finder
        self._live = live
        self._results = results
        self._watcher = watcher
        self._audit = audit

    def carry_out(self, request: CommandRequest, *, newest: int | None, done: set[str]) -> None:
        """Do what a command asks for; nothing is left to do where its builds have gone on.

        ``done`` has the events that earlier tries were about, to which this one adds its own. A
        cancel goes on to mean those, but no builds that came later: this replica knows them by
        numbers above ``newest`` or, where a restart has made the numbers anew (None), by their
        time. A retry means what is dead or failed when it is carried out, but for those.
        Raises ``Refused``: ``not_found`` where no such build is known here or has a Job,
        ``not_retryable`` where none of them is dead or failed, and what the try itself met.
        """
        found = self._meant(request)
        if request.action is Action.CANCEL:
            meant = [
                build
                for build in found
                # One that this replica has since taken over got a number as if it came later.
                if build.request.event_hash in done or not self._is_later(build, request, newest)
            ]
            done.update(build.request.event_hash for build in meant)
        elif _build_id(request):
            meant = found
        else:  # what failed before the newest build of a target has been superseded
            meant = found[:1]
        # What is known of builds that may not be meant says nothing of those that may.
        is_open = request.tenants is not None or not self.knows(request)
        if not meant and (found or is_open):
            if not self._watcher.following:
                raise kubernetes_away("the Jobs there are cannot be known yet")
            raise Refused(RefusalCode.NOT_FOUND, "no such build is known here")
        if request.action is Action.CANCEL:
            self._cancel(meant, request)
        else:
            self._retry(meant, request, done)

    def knows(self, request: CommandRequest) -> bool:
        """Whether this replica or the watch knows a build that a command means.

        Asks nobody; what only the journal knows has ended or is about to be queued again, and a
        dead build is known by its ids alone.
        """
        if build_id := _build_id(request):
            return bool(
                self._results.by_id(build_id)
                or self._watcher.by_name(build_id)
                or self._watcher.of_correlation(build_id)
            )
        target = _target(request)
        return self._live.has_target(*target) or bool(self._watcher.of_target(*target))

    def needs_api(self, request: CommandRequest) -> bool:
        """Whether a call has to be made: for every retry, and to cancel an unfinished Job."""
        if request.action is Action.RETRY:
            return True
        if build_id := _build_id(request):
            record = self._watcher.by_name(build_id)
            records = [record] if record else self._watcher.of_correlation(build_id)
        else:
            records = self._watcher.of_target(*_target(request))
        return any(record.active for record in records)

    def _meant(self, request: CommandRequest) -> Results:
        """Return the builds that a command means, as far as whoever sent it may mean them."""
        found = self._found(request)
        return found if request.tenants is None else of_tenants(found, Tenants(request.tenants))

    def _found(self, request: CommandRequest) -> Results:
        is_cancel = request.action is Action.CANCEL
        if build_id := _build_id(request):
            return self._finder.find_known(build_id, active=is_cancel)
        if is_cancel and not self.knows(request):
            # Cheap to see, where finding looks at every build there is.
            return self._finder.find_waiting(*_target(request))
        return self._finder.find_target(*_target(request), active=is_cancel)

    def _is_later(self, result: BuildResult, request: CommandRequest, newest: int | None) -> bool:
        number = self._results.number_of(result.request.event_hash)
        if number is None:  # accepted elsewhere, by another clock
            return False
        if newest is None:
            return 0 < request.accepted_at < result.request.accepted_at
        return number > newest

    def _cancel(self, meant: Results, request: CommandRequest) -> None:
        refusals = []
        for result in meant:
            try:
                if not result.state.final:
                    self._commands.cancel_one(result)
                    self._note(result, request)
            except Refused as refusal:
                if refusal.code is not RefusalCode.ALREADY_FINISHED:
                    refusals.append(refusal)
        _raise_first(refusals)

    def _retry(self, meant: Results, request: CommandRequest, done: set[str]) -> None:
        # One that died again since is not let go without end.
        wanted = [result for result in meant if result.request.event_hash not in done]
        retryable = [result for result in wanted if result.state.retryable]
        if wanted and not retryable:
            raise Refused(RefusalCode.NOT_RETRYABLE, "the build is neither dead nor failed")
        refusals = []
        for result in retryable:
            try:
                self._commands.retry_one(result, wait_seconds=_DELETE_SECONDS)
                done.add(result.request.event_hash)
                self._note(result, request)
            except Refused as refusal:
                refusals.append(refusal)
        _raise_first(refusals)

    def without_effect(self, request: CommandRequest, code: RefusalCode) -> None:
        """Note a command that is given up."""
        self._audit.failed(_actor(request), request.action, [Target.named_by(request)], code)

    def _note(self, result: BuildResult, request: CommandRequest) -> None:
        target = Target.of(result, "event", request.event_id)
        self._audit.done(_actor(request), request.action, [target])


def _actor(request: CommandRequest) -> Actor:
    return Actor(request.identity, request.address)


def _raise_first(refusals: list[Refused]) -> None:
    """Raise one of them, each build having had its turn; what can be tried again comes first."""
    if refusals:
        raise min(refusals, key=lambda refusal: refusal.code not in WORTH_WAITING)


def _build_id(request: CommandRequest) -> str | None:
    return request.job_name or request.target_correlation_id


def _target(request: CommandRequest) -> tuple[str, str]:
    return request.third_party_id or "", request.parser_id or ""

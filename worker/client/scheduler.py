"""luigi's RemoteScheduler that keeps asking: every address, again and again, until one of them answers.

Guarantees
* A call is over only when a scheduler has answered it, has refused it for good (Refused), or the caller's patience is
  over (GaveUp). What a proxy or a dying node says (5xx, cut-off replies, pages that are no JSON) is no answer.
* All attempts at one call carry one Idempotency-Key: a scheduler that knows it gives the first answer again, and so
  does its successor. So repeating is right even when an earlier attempt was executed and its reply was lost.
* A ping is tried once on each address and not repeated: the next one follows soon, and luigi's thread that sends them
  holds the lock without which no task can start.

Usable from processes forked from this one. Not promised: that calls which wait are served in order.
"""

import json
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote_plus

from luigi.rpc import RemoteScheduler
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from luigi_ha.worker import log
from luigi_ha.worker.client.addresses import Address
from luigi_ha.worker.client.credentials import Credentials, Tls
from luigi_ha.worker.client.errors import Denied, GaveUp, NoAnswer, Refused, Stale
from luigi_ha.worker.client.exchange import Answer, Exchange
from luigi_ha.worker.client.patience import Patience
from luigi_ha.worker.client.resolving import Resolver

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
LOG_EVERY = 30.0  # s between two lines about one outage

_log = log.get()
Rest = Callable[[float, bool], None]  # sleep so many seconds; may raise GaveUp. True: the call may have been executed


class PatientScheduler(RemoteScheduler):
    """Every method of luigi's scheduler, and `post` for the others. Thread-safe."""

    def __init__(
        self,
        addresses: Sequence[Address],
        patience: Patience | None = None,
        credentials: Credentials | None = None,
        tls: Tls | None = None,
        resolver: Resolver | None = None,
        rest: Rest | None = None,
    ) -> None:
        """`rest` waits between two rounds, and may end the call by raising GaveUp; None: sleep."""
        self._addresses = list(addresses)
        self._patience = patience or Patience()
        self._exchange = Exchange(
            credentials or Credentials(), tls or Tls(), resolver or Resolver(), self._patience.connect
        )
        self._rest = rest
        self._first = 0  # index of the address that answered last
        self.failed_attempts = 0
        self.calls = 0

    @property
    def shown(self) -> str:
        """Its addresses, for logs."""
        return ",".join(map(str, self._addresses))

    def close(self) -> None:
        """Close the connections of this thread."""
        self._exchange.close()

    def _request(self, url: str, data: Any, attempts: int = 3, allow_null: bool = True) -> Any:
        """What luigi's methods call. `attempts` is luigi's way to say that this is a ping: 1, otherwise 3."""
        body = b"data=" + quote_plus(json.dumps(data)).encode()
        call = Call(self, url, body, FORM, _response if allow_null else _work)
        return self._made(call, patient=attempts > 1)

    def post(self, path: str, value: Any) -> Any:
        """Send JSON, get JSON; None for 204. CallError."""
        return self._made(self.prepared(path, value), patient=True)

    def look(self, path: str) -> Any:
        """GET what the REST API shows. CallError: Refused with 404 if there is no such thing."""
        return self._made(Call(self, path, b"", JSON, _value, "GET"), patient=True)

    def prepared(self, path: str, value: Any) -> "Call":
        """A call to be made by `once`, and to be made again if that may have been executed."""
        return Call(self, path, json.dumps(value).encode(), JSON, _value)

    def once(self, call: "Call") -> Any:
        """Ask each address once. GaveUp, Refused."""
        return self._made(call, patient=False)

    def put_once(self, path: str, value: Any) -> Any:
        """PUT JSON; each address is asked once. GaveUp, Refused."""
        return self._made(Call(self, path, json.dumps(value).encode(), JSON, _value, "PUT"), patient=False)

    def _made(self, call: "Call", *, patient: bool) -> Any:
        self.calls += 1
        try:
            return call.round()
        except NoAnswer as error:
            if not patient:
                raise GaveUp(f"no scheduler answered ({self.shown}): {error}", doubtful=call.doubtful) from None
            return call.persist(error)

    def attempt(self, call: "Call", index: int) -> Any:
        """Ask one address. NoAnswer, Refused."""
        answer = self._exchange.send(
            self._addresses[index], call.path, call.body, call.headers, self._patience.attempt, call.verb
        )
        result = _judged(answer, call)
        self._first = index
        return result

    @property
    def order(self) -> list[int]:
        """Addresses in the order to ask them: the one that answered last is first."""
        return [(self._first + step) % len(self._addresses) for step in range(len(self._addresses))]

    @property
    def patience(self) -> Patience:
        return self._patience

    def rest(self, seconds: float, doubtful: bool) -> None:
        """Wait until the next round."""
        if self._rest is None:
            time.sleep(seconds)
        else:
            self._rest(seconds, doubtful)


class Call:
    """One logical call and what became of its attempts."""

    def __init__(
        self, client: PatientScheduler, path: str, body: bytes, kind: str, wanted: Callable[[bytes], Any],
        verb: str = "POST",
    ) -> None:  # fmt: skip
        self._client = client
        self.path = path
        self.body = body
        self.headers = {"Content-Type": kind, "Idempotency-Key": uuid.uuid4().hex}
        self.wanted = wanted
        self.verb = verb
        self.doubtful = False  # an attempt may have been executed
        self._began = time.monotonic()
        self._denied_since: float | None = None
        self._logged = 0.0

    def round(self) -> Any:
        """Each address once. NoAnswer of the last one, Refused."""
        failed: list[tuple[int, NoAnswer]] = []
        for index in self._client.order:
            try:
                return self._client.attempt(self, index)
            except NoAnswer as error:
                self._client.failed_attempts += 1
                self.doubtful = self.doubtful or (error.sent and not isinstance(error, Denied))
                failed.append((index, error))
        retry_after = max(error.retry_after for _, error in failed)
        reasons = "; ".join(f"{self._client._addresses[index]}: {error}" for index, error in failed)  # noqa: SLF001 - its own
        kind = Denied if any(isinstance(error, Denied) for _, error in failed) else NoAnswer
        raise kind(reasons, sent=self.doubtful, retry_after=retry_after)

    def persist(self, first: NoAnswer) -> Any:
        """Rounds until one brings an answer. GaveUp, Refused."""
        patience = self._client.patience
        outcomes = iter([first])

        def again() -> Any:
            for error in outcomes:  # the round that failed already
                raise error
            return self.round()

        retrying = Retrying(
            wait=patience.wait, retry=retry_if_exception_type(NoAnswer), before_sleep=self._told, stop=self._over,
            sleep=lambda seconds: self._client.rest(seconds, self.doubtful), reraise=True,
        )  # fmt: skip
        try:
            answer = retrying(again)
        except Denied as error:
            raise Refused(401, str(error)) from None
        except NoAnswer as error:
            waited = time.monotonic() - self._began
            raise GaveUp(f"no scheduler answered for {waited:.0f} s: {error}", doubtful=self.doubtful) from None
        if self._logged:
            _log.info("scheduler_answers_again", call=self.path, seconds=round(time.monotonic() - self._began, 1))
        return answer

    def _over(self, state: RetryCallState) -> bool:
        patience, now = self._client.patience, time.monotonic()
        error = state.outcome.exception() if state.outcome is not None else None
        if not isinstance(error, Denied):
            self._denied_since = None
        elif self._denied_since is None:
            self._denied_since = now
        if self._denied_since is not None and patience.denied_for is not None:
            return now - self._denied_since >= patience.denied_for
        return patience.give_up_after is not None and now - self._began >= patience.give_up_after

    def _told(self, state: RetryCallState) -> None:
        now = time.monotonic()
        if not self._logged or now - self._logged >= LOG_EVERY:
            self._logged = now
            error = state.outcome.exception() if state.outcome is not None else None
            _log.warning("no_scheduler_answers", call=self.path, error=str(error), seconds=round(now - self._began, 1))


# -- what an answer means --------------------------------------------------------------------------------------


def _judged(answer: Answer, call: Call) -> Any:
    status = answer.status
    if status in (200, 201, 204):
        try:
            return call.wanted(answer.body)
        except (ValueError, KeyError, TypeError):
            raise NoAnswer("a reply that is not a scheduler's", sent=True) from None
    reason = _reason(answer)
    if status == 409:
        raise Stale(status, reason)
    if status in (401, 403):
        raise Denied(f"{status} {reason}", sent=True)
    if status >= 500 or status in (408, 421, 425, 429):
        raise NoAnswer(f"{status} {reason}", sent=True, retry_after=answer.retry_after)
    if call.wanted is not _value and not answer.body.lstrip().startswith(b"{"):
        # Every scheduler knows luigi's calls: a proxy says this, in front of schedulers that are away.
        raise NoAnswer(f"{status} {reason}", sent=True)
    raise Refused(status, reason)


def _response(body: bytes) -> Any:
    return json.loads(body)["response"]


def _work(body: bytes) -> Any:
    found = _response(body)
    if found is None:
        raise ValueError("null")  # luigid under load; asked again
    return found


def _value(body: bytes) -> Any:
    return json.loads(body) if body else None


def _reason(answer: Answer) -> str:
    """One line of why, from any of the forms that refusals have."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        way = f", by way of the proxy {answer.proxy}" if answer.proxy else ""
        return f"without a reason{way}" if not answer.body else f"with a page that is not a scheduler's{way}"
    if isinstance(found, dict):
        told = found.get("error") if isinstance(found.get("error"), dict) else found
        assert isinstance(told, dict)  # noqa: S101 - either way
        words = [told.get("detail") or told.get("what") or told.get("title"), told.get("where")]
        return " at ".join(str(word)[:300] for word in words if word) or "without a reason"
    return "without a reason"

"""First answers, by the key that a caller gave its call: who asks again with that key is told the same.

They are part of the state, so the next leader gives them too. They are kept for a while and in bounded number and size,
oldest forgotten first; a call repeated after that is a new one.
"""

from typing import NamedTuple

from luigi_ha.appliance.engine.changes import AnswerPut, AnswersForgotten
from luigi_ha.appliance.engine.state import State

ENTRY_BYTES = 400  # of an answer, besides its texts


class Answer(NamedTuple):
    """What was answered. `fingerprint` is of the arguments: another call must not get this answer."""

    method: str
    fingerprint: str
    status: int  # HTTP's
    reply: str


class Answers(State):
    """Remembering answers, and forgetting them."""

    def answered(self, key: str) -> Answer | None:
        """The answer that the call with this key was given."""
        kept = self._answers.get(key)
        return None if kept is None else Answer(kept.method, kept.fingerprint, kept.status, kept.reply)

    def remember(self, key: str, method: str, fingerprint: str, status: int, reply: str) -> None:
        """Keep an answer; it is one more change, to be stored with those of its call."""
        put = AnswerPut(self._number(), key, method, fingerprint, status, reply, self._clock())
        self._keep_answer(put)
        self._new_answers.append(put)
        most = self.settings.answers_most
        if len(self._answers) > most + most // 8 or self._answers_bytes > self.settings.answers_bytes:
            self._forget_answers()

    def _keep_answer(self, put: AnswerPut) -> None:
        before = self._answers.pop(put.key, None)  # the newest comes last
        self._answers_bytes += _size(put) - (0 if before is None else _size(before))
        self._answers[put.key] = put

    def _forget_answers(self) -> None:
        """Forget those that are too old or too many."""
        before = self._clock() - self.settings.answers_kept
        surplus = len(self._answers) - self.settings.answers_most
        heavy = self._answers_bytes - self.settings.answers_bytes
        if heavy > 0:  # some room at once: not one is forgotten for each that comes
            heavy += self.settings.answers_bytes // 8
        gone: list[AnswerPut] = []
        for put in self._answers.values():
            if put.at >= before and len(gone) >= surplus and heavy <= 0:
                break
            heavy -= _size(put)
            gone.append(put)
        if gone:
            self._drop_answers(gone[-1].num)
            self._new_answers.append(AnswersForgotten(gone[-1].num))

    def _drop_answers(self, up_to: int) -> None:
        """Drop the oldest, up to this number: they stand in the order of their numbers."""
        gone: list[str] = []
        for put in self._answers.values():
            if put.num > up_to:
                break
            gone.append(put.key)
        for key in gone:
            self._answers_bytes -= _size(self._answers.pop(key))


def _size(put: AnswerPut) -> int:
    """What an answer takes, about."""
    return len(put.reply) + len(put.key) + ENTRY_BYTES

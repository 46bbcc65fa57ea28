"""The rule of the address: should it be here, and what does the kernel show? Whatever differs is put right.

Level by level, never by steps: after each event, each renewal and each second the kernel is asked anew, so a change
that was missed or failed is made good by the next look, and a quick loss and win leaves nothing behind.

Invariants: the address is added or extended only before `until`, with a kernel lifetime that ends before it: rounded
down to whole seconds, and given once more when a whole number of them is left, so that it does not end up to a second
too early. After each addition `until` is looked at again, because any time may have passed in between, and the address
is removed if it has come. What this program did not add is never removed.

Not promised: that a process that is frozen removes anything. The kernel does, up to 0.3 s after the lifetime.

All methods belong to one thread; only `until` may be set by another. Times: seconds of the given clock.
"""

import math
import socket
from collections.abc import Sequence

from luigi_ha.ha.clock import Clock
from luigi_ha.ha.log import Events
from luigi_ha.ha.vip.callers import Callers
from luigi_ha.ha.vip.configured import Ip, Vip
from luigi_ha.ha.vip.kernel import Kernel, KernelError, Link, Shown, link, own_macs
from luigi_ha.ha.vip.wire import Wire

BURST = (0.0, 0.1, 1.0, 5.0)  # s after an address was added: a switch may drop one announcement
REPEAT = 30.0  # s between announcements afterwards
ASK = 10.0  # s between two questions whether somebody else has it, too
LOOK = 1.0  # s between two looks at the kernel without an event
EARLY = 0.01  # s; see `_extend`
AGAIN = 0.2  # s after something failed
QUIET = 1.0  # s at least between two contradictions of a foreign claim, and between two events of a kind
LAST_MOMENTS = 0.45  # s before an end that no renewal has put off; whoever leads takes no new callers in the last 0.35
SELDOM = 30.0  # s between two events about a state that lasts

_log = Events("vip")


class Holder:
    """Addresses on one interface. `until` is the deadline: 0 for not ours."""

    def __init__(
        self, kernel: Kernel, vips: Sequence[Vip], interface: str, clock: Clock, callers: Callers | None = None
    ) -> None:
        self.until = 0.0
        self.shown: tuple[str, ...] = ()
        self.wire: Wire | None = None
        self._kernel = kernel
        self._vips = {vip.ip: vip for vip in vips}
        self._interface = interface
        self._clock = clock
        self._callers = callers
        self._link: Link | None = None
        self._had: set[Ip] = set()  # here and announced
        self._ended = 0.0  # the deadline that has been acted upon
        self._nearing = 0.0  # the deadline whose last moments have been acted upon
        self._announcements: list[float] = []  # when to announce, in order
        self._look = math.inf  # when to do so next: from the first time on, which is the owner's
        self._ask = 0.0
        self._extend = math.inf  # when a whole number of seconds is left: then a lifetime ends with the deadline
        self._contradict = math.inf
        self._said: dict[str, float] = {}

    def _wanted(self) -> bool:
        return self._clock() < self.until

    # ------------------------------------------------------------------------------------------------- what to do when

    def next(self) -> float:
        """The moment at which `turn` has something to do."""
        return min(
            self._look, self._deadline(), self._extend, self._contradict, *self._announcements[:1], *self._asks(),
            *self._last_moments(), math.inf if self._callers is None else self._callers.next,
        )  # fmt: skip

    def turn(self) -> None:
        """Do what is due."""
        now = self._clock()
        if self._deadline() <= now:
            self._ended, self._look = self.until, now
            if self._ended and self.shown:
                _log.warning("address_expired", interface=self._interface)
        if now >= self._extend:
            self.look(extend=self.until - now >= round(self.until - self._extend))  # not if that would shorten it
        if now >= self._look:
            self.look()
        if self._announcements and now >= self._announcements[0]:
            self._announcements = [moment for moment in self._announcements if moment > now] or [now + REPEAT]
            self._announce()
        if now >= self._contradict:
            self._contradict, self._said["contradicted"] = math.inf, now
            self._announce()
        if any(now >= moment for moment in self._asks()):
            self._ask = now + ASK
            self.ask()
        if any(now >= moment for moment in self._last_moments()):
            self._nearing = self.until
            self.keep_callers()
        if self._callers is not None:
            self._callers.turn()

    def _deadline(self) -> float:
        return self.until if self.until != self._ended else math.inf

    def _asks(self) -> tuple[float, ...]:
        return (self._ask,) if self._announcements else ()

    def _last_moments(self) -> tuple[float, ...]:
        near = self.shown and self._wanted() and self._nearing != self.until
        return (self.until - LAST_MOMENTS,) if near else ()

    # ---------------------------------------------------------------------------------------------- the kernel's state

    def look(self, *, extend: bool = False) -> None:
        """Compare and put right; with `extend` the lifetimes, too."""
        self._look, self._extend = self._clock() + LOOK, math.inf
        try:
            found = self._found()
            if found is None:
                return
            if self._wanted():
                self._keep(found, extend)
                if self._wanted():
                    self._announce_new()
                    return
                _log.warning("address_too_late", interface=self._interface)
            self._clear(found)
        except KernelError as error:
            self._failed(error)

    def _found(self) -> Link | None:
        found, before = link(self._interface), self._link
        self._link = found
        if found is None:
            self._look = self._clock() + AGAIN
            self._close_wire()
            self.shown = ()
            self._event("interface_missing", every=SELDOM, interface=self._interface)
            return None
        if before is None or (before.index, before.mac) != (found.index, found.mac):
            self._open_wire(found)
        if not found.up:
            self._event("interface_down", every=SELDOM, interface=self._interface, holding=self._wanted())
        if before is not None and found.running and not before.running and self._announcements:
            self._announce_anew()  # the cable is back: perhaps in another switch
        return found

    def _keep(self, found: Link, extend: bool) -> None:
        """Add what is missing, extend what ends too early or too late."""
        before = self._on_interface(found)
        if not found.up:  # an IPv6 address added now would be without its routes when the interface is back
            return self._note(before)
        seconds, part = divmod(self.until - self._clock(), 1.0)
        if seconds >= 1 and part > 2 * EARLY:
            self._extend = self.until - seconds - EARLY
        for vip in self._vips.values():
            try:
                self._keep_one(vip, found, [one for one in before if one.ip == vip.ip], extend)
            except KernelError as error:  # the others are held nevertheless
                self._failed(error)
        return self._note(self._on_interface(found))

    def _keep_one(self, vip: Vip, found: Link, shown: Sequence[Shown], extend: bool) -> None:
        here = [one for one in shown if one.prefix == vip.prefix]
        if not self._usable(vip, here):
            self._kernel.delete(vip, found.index)
            here = []
        seconds = math.floor(self.until - self._clock())
        if not here and vip.ip in self._had:
            self._had.discard(vip.ip)
            if seconds >= 1:
                self._event("address_was_taken_away", address=vip, interface=self._interface)
        too_long = any(one.valid is None or one.valid > seconds + 1 for one in here)
        if seconds >= 1 and (extend or too_long or not here):
            self._kernel.put(vip, found.index, seconds)
        self._remove([one for one in shown if one.ours and one.prefix != vip.prefix])

    def _usable(self, vip: Vip, here: Sequence[Shown]) -> bool:
        """IPv6: False if the kernel will not use it, and it has not been tried anew within the last second."""
        bad = [one.unusable for one in here if one.unusable]
        return not (bad and self._event("address_unusable", address=vip, interface=self._interface, state=bad[0]))

    def _announce_new(self) -> None:
        new = [ip for ip in self._vips if str(ip) in self.shown and ip not in self._had]
        if new:
            self._had.update(new)
            _log.info("address_added", addresses=" ".join(map(str, new)), interface=self._interface)
            if self._callers is not None:
                self._callers.watch(self._interface)
            self._announce_anew()

    def _clear(self, found: Link) -> None:
        """Remove what is ours; forget the announcements."""
        self._announcements.clear()
        self._had.clear()
        self._contradict = math.inf
        shown = self._on_interface(found)
        if self._callers is not None and any(one.ours for one in shown):
            self._callers.listen(self._interface, recent=True)
        for one in shown:
            if not one.ours:
                self._event("address_not_ours", every=SELDOM, address=one.ip, interface=self._interface)
        ours = [one for one in shown if one.ours]
        if self._callers is not None and ours:
            self._callers.reset()
        self._note(self._on_interface(found) if self._remove(ours) else shown)

    def _failed(self, error: KernelError) -> None:
        self._look = self._clock() + AGAIN
        self._event("address_failed", interface=self._interface, error=str(error))

    def _remove(self, shown: Sequence[Shown]) -> bool:
        for one in shown:
            if self._kernel.delete(Vip(one.ip, one.prefix), one.index):
                _log.info("address_removed", address=f"{one.ip}/{one.prefix}", interface=self._interface)
        return bool(shown)

    def _on_interface(self, found: Link) -> list[Shown]:
        return [one for one in self._kernel.addresses(found.index) if one.ip in self._vips]

    def _note(self, shown: Sequence[Shown]) -> None:
        there = {one.ip for one in shown}
        self.shown = tuple(str(ip) for ip in self._vips if ip in there)

    # ------------------------------------------------------------------------------------------------------ the segment

    def ask(self) -> None:
        """Ask the segment who else has the addresses; the answers come by `heard`."""
        if self.wire is not None:
            for ip in self._vips:
                self.wire.ask(ip)

    def heard(self) -> list[tuple[Ip, bytes]]:
        """Claims of other hosts; while the address is ours they are contradicted."""
        claims = [] if self.wire is None else self.wire.heard()
        own = own_macs() if claims else set()
        foreign = [(ip, mac) for ip, mac in claims if mac not in own]
        if self._callers is not None and not self._wanted():
            for ip, mac in foreign:
                self._callers.pass_on(ip, mac)
        if foreign and self._wanted() and self._announcements:
            ip, mac = foreign[-1]
            self._event("address_conflict", address=ip, mac=mac.hex(":"), interface=self._interface)
            self._contradict = max(self._clock(), self._said.get("contradicted", 0.0) + QUIET)
        return foreign

    def keep_callers(self) -> None:
        """The address goes soon: whom nobody answers from now on is passed on to who has it next."""
        if self._callers is not None:
            self._callers.listen(self._interface, recent=False)

    def readable(self) -> list[socket.socket]:
        """What may have something to read: see `heard` and `turn`."""
        return [one for each in (self.wire, self._callers) if each is not None for one in each.readable()]

    def _announce_anew(self) -> None:
        now = self._clock()
        self._announcements = [now + after for after in BURST]
        self._ask = now + BURST[-2]
        self.turn()

    def _announce(self) -> None:
        for ip in self._vips:
            if self.wire is not None and str(ip) in self.shown and self._wanted():
                self.wire.announce(ip)

    def _open_wire(self, found: Link) -> None:
        self._close_wire()
        if found.mac is None:
            _log.warning("address_not_announced", interface=self._interface, error="it is not an Ethernet interface")
            return
        try:
            self.wire = Wire(self._interface, found.mac, list(self._vips))
        except OSError as error:  # it has just gone, or no descriptor is left: tried again at the next look
            self._link = None
            self._event("address_not_announced", interface=self._interface, error=str(error.strerror))

    def _close_wire(self) -> None:
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def close(self) -> None:
        """Nothing is removed by this."""
        self._close_wire()
        if self._callers is not None:
            self._callers.close()
        self._kernel.close()

    def _event(self, event: str, every: float = QUIET, **fields: object) -> bool:
        """A warning, at most one of its kind in so many seconds; whether it was given."""
        now = self._clock()
        if now < self._said.get(event, -math.inf) + every:
            return False
        self._said[event] = now
        _log.warning(
            event, **{name: value if isinstance(value, bool) else str(value) for name, value in fields.items()}
        )
        return True

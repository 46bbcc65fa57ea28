"""E-mails, sent after the change they tell of is committed.

With `luigi` installed they go through its own notifications (so `[email]`, `[smtp]`, SES, SNS and SendGrid settings
of luigi.cfg mean what they mean to luigid); without it, through the `[smtp]` server given in our configuration.

Sending runs on a thread of its own and may take as long as it takes. A failure is logged, and that e-mail is lost:
the scheduler never waits for, nor stops because of, a mail server. At most MAX_QUEUED e-mails wait.
"""

import importlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from luigi_ha.appliance import log
from luigi_ha.appliance.engine.changes import Mail

MAX_QUEUED = 1000
_log = log.get("mail")

Send = Callable[[Mail], None]


@dataclass(frozen=True, slots=True)
class MailOptions:
    """Used when luigi is not installed; `receivers` also when it is, if luigi itself names nobody."""

    sender: str = "luigi-ha@localhost"
    receivers: tuple[str, ...] = ()
    prefix: str = ""
    host: str = "localhost"
    port: int = 0
    username: str = ""
    password: str = ""
    ssl: bool = False
    no_tls: bool = False
    timeout: float = 10.0  # s
    html: bool = False
    off: bool = False  # no e-mail is sent


class Postman:
    """Holds e-mails until their change is committed, then sends them one by one."""

    def __init__(self, send: Send, *, off: bool = False) -> None:
        self._send = send
        self._off = off
        self._held: deque[tuple[int, list[Mail]]] = deque()
        self._queue: deque[Mail] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mail", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hold(self, position: int, mails: list[Mail]) -> None:
        """Keep until `release` says that `position` is committed; nothing if e-mails are off."""
        if not self._off:
            self._held.append((position, mails))

    def release(self, committed: int) -> None:
        """Send what was held for positions up to `committed`."""
        while self._held and self._held[0][0] <= committed:
            _position, mails = self._held.popleft()
            with self._wake:
                for mail in mails:
                    if len(self._queue) >= MAX_QUEUED:
                        _log.error("mail_dropped", subject=mail.subject, waiting=len(self._queue))
                    else:
                        self._queue.append(mail)
                self._wake.notify()

    def forget(self) -> None:
        """The changes that were not committed never will be: neither are their e-mails."""
        self._held.clear()

    def close(self, timeout: float) -> None:
        """Send what is queued, for at most `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._queue:
            _log.error("mail_unsent_at_stop", count=len(self._queue))

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                if not self._queue:
                    return
                mail = self._queue.popleft()
            try:
                self._send(mail)
                _log.info("mail_sent", subject=mail.subject, owner=mail.owner)
            except Exception as error:  # noqa: BLE001 - a mail system may fail in any way; none is ours to die of
                _log.error(
                    "mail_failed", subject=mail.subject, owner=mail.owner, error=f"{type(error).__name__}: {error}"
                )


def sender(options: MailOptions) -> Send:
    """Luigi's own notifications if luigi is installed, else plain SMTP. Decided at the first e-mail."""

    def send(mail: Mail) -> None:
        try:
            notifications = importlib.import_module("luigi.notifications")
        except ImportError:
            send_smtp(options, mail)
        else:
            _send_by_luigi(notifications, options, mail)

    return send


def _send_by_luigi(notifications: ModuleType, options: MailOptions, mail: Mail) -> None:
    config: Any = notifications.email()
    configured = [address for address in (config.receiver or "").split(",") if address]
    recipients = [mail.owner] if mail.owner else configured or list(options.receivers)
    if recipients:
        notifications.send_email(mail.subject, mail.body, config.sender, recipients)


def send_smtp(options: MailOptions, mail: Mail) -> None:
    """Send one e-mail by SMTP; raises OSError or SMTPException."""
    import smtplib  # noqa: PLC0415 - every command reads the options above; few send anything
    from email.message import EmailMessage  # noqa: PLC0415

    recipients = [mail.owner] if mail.owner else list(options.receivers)
    if not recipients:
        return
    message = EmailMessage()
    message["From"], message["To"] = options.sender, ", ".join(recipients)
    message["Subject"] = f"{options.prefix} {mail.subject}".strip().replace("\n", " ")
    message.set_content(mail.body, subtype="html" if options.html else "plain")
    connect = smtplib.SMTP_SSL if options.ssl else smtplib.SMTP
    with connect(options.host, options.port, timeout=options.timeout) as server:
        server.ehlo()
        if not options.ssl and not options.no_tls and server.has_extn("STARTTLS"):
            server.starttls()
        if options.username:
            server.login(options.username, options.password)
        server.send_message(message)

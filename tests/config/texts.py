"""Texts of luigi.cfg and luigi.toml, from a generator of random numbers."""

import random
from collections.abc import Callable

VARIABLES = {
    "HOME": "/home/luigi",
    "DELAY": "45",
    "EMPTY": "",
    "my-var": "v",
    "MAIL": "ops@example.org",
    "PERCENT": "%(a)s ${HOME}",
}

WHOLE = [
    "0",
    "1",
    "5",
    "100",
    "3600",
    "999999999",
    "-1",
    "-600",
    "1_000",
    "+7",
    "0007",
    "٣",
    "9" * 25,
    "${DELAY}",
    " 12",
    "-0",
]
NUMBER = [*WHOLE, "0.5", "1e3", "1e400", "inf", "-inf", "Infinity", "nan", "NaN", ".5", "5.", "1e-9", "1_0.5", "300.0"]
TRUTH = ["true", "True", "TRUE", "false", "False", "FALSE", "tRuE"]
TEXT = [
    "%(root)s/%(root)s", "%%(root)s", "$HOME", "${HOME", "$${HOME}", "${EMPTY}", "${PERCENT}",
    "${my-var}", "${}", "%(deep)s",
    "x\n  y",
    "", "x", "[luigi]", "luigi@example.org", "a b  c", '"quoted"', "100%%", "${HOME}/x", "%(root)s/y",
    "a = b", "ü",
]  # fmt: skip
MAILS = ["", "a@b.c", "a@b.c,d@e.f", "a@b.c, d@e.f", ",a@b.c,,", "${MAIL}", "a@b.c;d@e.f"]
ORIGINS = ["[]", '["http://a"]', '["http://a", "null", "*"]', '["http://a", 5, null, ["x"]]', '"ab"', '{"http://a": 1}']
WRONG = [
    "", "soon", "5 ; seconds", "5 # seconds", "yes", "1.5.2", '"5"', "${UNSET}", "%(unset)s", "50%", "0x10", "[",
    "null", "None", "1__0", "1" * 5000,
]  # fmt: skip

Pool = list[str]
SCHEDULER: dict[str, Pool] = {
    "retry_delay": NUMBER, "remove_delay": NUMBER, "worker_disconnect_delay": NUMBER, "batch_emails": TRUTH,
    "disable_window": WHOLE, "retry_count": WHOLE, "disable_hard_timeout": WHOLE, "disable_persist": WHOLE,
    "max_shown_tasks": WHOLE, "max_graph_nodes": WHOLE, "record_task_history": TRUTH, "prune_on_get_work": TRUTH,
    "pause_enabled": TRUTH, "send_messages": TRUTH, "stable_done_cooldown_secs": WHOLE,
    "state_path": ["/var/lib/luigi/state.pickle", "${HOME}/state"],
    "disable_failures": WHOLE, "disable-num-failures": WHOLE, "disable-window-seconds": WHOLE,
    "disable-persist-seconds": WHOLE, "max-reschedules": WHOLE, "use_task_history": TRUTH, "retry_dealy": NUMBER,
    "Retry_Delay": NUMBER, "RETRY_DELAY": NUMBER, "visualization-graph": ["svg"], "worker-timeout": WHOLE,
}  # fmt: skip
CORS: dict[str, Pool] = {
    "enabled": TRUTH, "allowed_origins": ORIGINS, "allow_any_origin": TRUTH, "allow_null_origin": TRUTH,
    "max_age": WHOLE, "allowed_methods": TEXT, "allowed_headers": TEXT, "exposed_headers": TEXT,
    "allow_credentials": TRUTH, "allow_all": TRUTH,
}  # fmt: skip
EMAIL: dict[str, Pool] = {
    "format": ["plain", "html", "none"], "receiver": MAILS, "sender": TEXT, "prefix": TEXT, "force_send": TRUTH,
    "method": ["smtp", "ses", "sns", "sendgrid"], "traceback_max_length": WHOLE, "recievers": MAILS,
}  # fmt: skip
SMTP: dict[str, Pool] = {
    "host": TEXT, "port": WHOLE, "username": TEXT, "password": [*TEXT, "p%%w", "p%w"], "ssl": TRUTH, "no_tls": TRUTH,
    "timeout": NUMBER, "local_hostname": TEXT,
}  # fmt: skip
BATCH: dict[str, Pool] = {
    "email_interval": WHOLE, "batch_mode": ["all", "family", "unbatched_params"], "error_lines": WHOLE,
    "error_messages": WHOLE, "group_by_error_messages": TRUTH, "email_interval_minutes": WHOLE,
    "email-interval-minutes": WHOLE,
}  # fmt: skip
CORE: dict[str, Pool] = {
    "error-email": MAILS, "email-sender": TEXT, "email-prefix": TEXT, "email-type": ["plain", "html", "none"],
    "smtp_host": TEXT, "smtp_port": WHOLE, "smtp_login": TEXT, "smtp_password": TEXT, "smtp_ssl": TRUTH,
    "smtp_without_tls": TRUTH, "smtp_timeout": NUMBER, "default-scheduler-host": ["${UNSET}", "scheduler"],
    "no_configure_logging": TRUTH, "logging_conf_file": ["${APP}/logging.conf"], "max_shown_tasks": WHOLE,
    "hdfs-tmp-dir": ["%(nowhere)s/tmp"], "disable-num-failures": WHOLE,
}  # fmt: skip
OTHERS: dict[str, Pool] = {
    "ping_interval": NUMBER, "keep_alive": TRUTH, "dsn": ["postgres://u:p%w@h/d", "${SECRET_URL}"], "path": ["%(x)s"],
    "date": ["2026-05-01"], "format": ["%(asctime)s %(message)s"], "keys": ["root,luigi"],
}  # fmt: skip
SECTIONS: dict[str, dict[str, Pool]] = {
    "scheduler": SCHEDULER, "cors": CORS, "email": EMAIL, "smtp": SMTP, "batch_email": BATCH, "batch_notifier": BATCH,
    "batch-notifier": BATCH, "core": CORE, "worker": OTHERS, "MyTask": OTHERS, "etl.Load": OTHERS,
    "formatter_x": OTHERS, "task_history": {"db_connection": ["sqlite:///h.db", "${UNSET}"]},
    "Scheduler": SCHEDULER, " scheduler ": SCHEDULER, "schedulers": SCHEDULER,
}  # fmt: skip
WEIGHTS = {"scheduler": 12, "cors": 3, "email": 4, "smtp": 2, "batch_email": 3, "core": 4}
NAMES = [
    "a:b",
    "gpu",
    "GPU",
    "my-gpu",
    "my_gpu",
    "tape drive",
    "gpu.v100",
    "hive",
    "ünit",
    "port",
    "retry_delay",
    "root",
]
AMOUNTS = ["0", "1", "4", "100", "-1", "1_000", "9" * 25, "${DELAY}"]
QUOTED_AMOUNT = '"4"'
WRONG_AMOUNTS = ["2.5", "many", "", "1e3", "${UNSET}", "true"]


def encoded(rng: random.Random, text: str) -> bytes:
    """Return the text as bytes of a file: mostly UTF-8."""
    chance = rng.random()
    if chance < 0.05:
        text = text.replace("\n", "\r\n")
    elif chance < 0.06:
        return b"\xef\xbb\xbf" + text.encode()
    elif chance < 0.07:
        return text.encode("utf-16")
    elif chance < 0.09:
        return text.encode("latin-1", "replace")
    return text.encode()


def ini(rng: random.Random) -> str:
    """Return a luigi.cfg."""
    wrong = rng.choice([0.0, 0.0, 0.0, 0.01, 0.1])
    lines = [] if rng.random() < 0.8 else ["# luigi's configuration", "", "; of this host"]
    if rng.random() < 0.75:
        lines += ["[DEFAULT]", "root = /data", "deep = %(root)s/%(nice)s", "nice=[${HOME}]", *_defaults(rng)]
    heads = rng.choices(list(SECTIONS), [WEIGHTS.get(name, 1) for name in SECTIONS], k=rng.randint(0, 6))
    if rng.random() < 0.4:
        heads.append("resources")
    if rng.random() > 0.01:
        heads = list(dict.fromkeys(heads))
    rng.shuffle(heads)
    for head in heads:
        lines += ["", f"[{head}]" + rng.choice(["", "", "", "  ", " ; comment"])]
        lines += _totals(rng, wrong) if head == "resources" else _section(rng, SECTIONS[head], wrong)
    if rng.random() < 0.01:
        odd = rng.choice(["no section", "key only", "= 5", "[", "[]", "  indented = 1"])
        lines.insert(rng.randint(0, len(lines)), odd)
    return "\n".join(lines) + rng.choice(["\n", "", "\n\n"])


def _section(rng: random.Random, pools: dict[str, Pool], wrong: float) -> list[str]:
    names = rng.sample(list(pools), k=min(len(pools), rng.randint(0, 5)))
    if names and rng.random() < 0.01:
        names.append(names[0])
    lines = [_line(rng, name, rng.choice(WRONG if rng.random() < wrong else pools[name])) for name in names]
    if lines and rng.random() < 0.1:
        lines.insert(rng.randint(0, len(lines)), rng.choice(["# comment", "; comment", "", "# retry_delay = 1"]))
    return lines


def _line(rng: random.Random, name: str, value: str) -> str:
    form = rng.random()
    if form < 0.3:
        name = name.replace("_", "-")
    elif form < 0.33:
        name = name.replace("_", "-", 1)
    elif form < 0.35:
        name = name.upper()
    equals = rng.choice([" = ", "=", ": ", ":", " : ", "\t=\t"])
    if rng.random() < 0.02:
        return f"  {name}{equals}{value}"
    if rng.random() < 0.03 and value:
        return f"{name}{equals}\n    {value}"
    return f"{name}{equals}{value}{rng.choice(['', '', '', '  '])}"


def _defaults(rng: random.Random) -> list[str]:
    """Names that are also options, in [DEFAULT]."""
    found: list[str] = []
    for _ in range(rng.randint(0, 4)):
        pools = rng.choice([SCHEDULER, SCHEDULER, SCHEDULER, CORS, EMAIL, SMTP, BATCH, BATCH, CORE])
        name = rng.choice(list(pools))
        found.append(_line(rng, name, rng.choice(pools[name])))
    if rng.random() < 0.3:
        found.append(f"{rng.choice(NAMES)} = {rng.choice(AMOUNTS)}")
    by_name = {line.split("=")[0].split(":")[0].strip(): line for line in found if not line.startswith("root")}
    return list(by_name.values())


def _totals(rng: random.Random, wrong: float) -> list[str]:
    names = rng.sample(NAMES, k=rng.randint(0, 4))
    return [f"{name} = {rng.choice(WRONG_AMOUNTS if rng.random() < wrong else AMOUNTS)}" for name in names]


def toml(rng: random.Random) -> str:
    """Return a luigi.toml."""
    wrong = rng.choice([0.0, 0.0, 0.0, 0.05])
    lines: list[str] = []
    heads = rng.choices(list(SECTIONS), [WEIGHTS.get(name, 1) for name in SECTIONS], k=rng.randint(0, 5))
    if rng.random() < 0.5:
        heads.append("resources")
    heads += [head for head in ("logging", "DEFAULT", "scheduler.retry_delay") if rng.random() < 0.05]
    for head in dict.fromkeys(heads):
        lines.append(f"[{head}]" if head.replace("_", "").replace("-", "").isalpha() else f'["{head}"]')
        if head == "resources":
            names = rng.sample(NAMES, k=rng.randint(0, 3))
            lines += [f'"{name}" = {rng.choice(["0", "4", "2.5", "-1", "true", QUOTED_AMOUNT])}' for name in names]
        elif head == "logging":
            lines += ["version = 1", "disable_existing_loggers = false"]
        else:
            pools = SECTIONS.get(head, SCHEDULER)
            for name in rng.sample(list(pools), k=min(len(pools), rng.randint(0, 5))):
                lines.append(f'"{_spelled(rng, name)}" = {_toml_value(rng, pools[name], wrong)}')
        lines.append(rng.choice(["", "# comment"]))
    if rng.random() < 0.01:
        lines.insert(rng.randint(0, len(lines)), rng.choice(["key", "[", "a = ", "a = 1"]))
    return "\n".join(lines) + "\n"


def _spelled(rng: random.Random, name: str) -> str:
    return name.replace("_", "-") if rng.random() < 0.1 else name


def _toml_value(rng: random.Random, pool: Pool, wrong: float) -> str:
    if rng.random() < wrong:
        return _quoted(rng.choice(WRONG))
    choices: dict[int, Callable[[], str]] = {
        id(WHOLE): lambda: rng.choice(
            [
                "0",
                "5",
                "3600",
                "-1",
                "5.7",
                "true",
                "1_000",
                "1e2",
                "inf",
                "2026-05-01",
                "[5]",
                _quoted(rng.choice(WHOLE)),
            ]
        ),
        id(NUMBER): lambda: rng.choice(
            ["0", "0.5", "1e3", "45", "-2.5", "false", "inf", "-inf", "nan", "1e300", "[]", _quoted(rng.choice(NUMBER))]
        ),
        id(TRUTH): lambda: rng.choice(["true", "false", "true", "false", _quoted(rng.choice(TRUTH))]),
        id(TEXT): lambda: rng.choice(
            [_quoted(rng.choice(TEXT)), _quoted(rng.choice(TEXT)), "5", "5.0", "true", "2026-05-01", "'a\\b'"]
        ),
    }
    return choices.get(id(pool), lambda: _quoted(rng.choice(pool)))()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

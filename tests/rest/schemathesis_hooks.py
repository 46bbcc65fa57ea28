"""For schemathesis: who asks for work waits a moment at most, or a run would take hours."""

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("wait"), (int, float)) and 0.05 < body["wait"] <= 30:
        body["wait"] = 0.05

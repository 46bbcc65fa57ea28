"""Cross-origin rules: luigid's `[cors]` section, by the same names."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cors:
    """Who may call from another origin's page. Off by default."""

    enabled: bool = False
    allowed_origins: tuple[str, ...] = ()  # used only without allow_any_origin; "*" and "null" are not origins
    allow_any_origin: bool = False
    allow_null_origin: bool = False
    max_age: int = 86400  # s a browser may remember a preflight
    allowed_methods: str = "GET, OPTIONS"
    allowed_headers: str = "Accept, Content-Type, Origin"
    exposed_headers: str = ""
    allow_credentials: bool = False

    def allowed(self, origin: str | None) -> str | None:
        """The Access-Control-Allow-Origin for this Origin, or None."""
        if not self.enabled or not origin:
            return None
        if origin == "null":
            return "null" if self.allow_null_origin else None
        if self.allow_any_origin:
            return "*"
        return origin if origin in self.allowed_origins and origin != "*" else None

    def headers(self, origin: str | None) -> dict[str, str]:
        """For the reply to a call."""
        allowed = self.allowed(origin)
        if allowed is None:
            return {}
        vary = {"Vary": "Origin"} if allowed == origin and origin != "null" else {}
        return {"Access-Control-Allow-Origin": allowed, **vary}

    def preflight(self, origin: str | None) -> dict[str, str]:
        """For the reply to OPTIONS."""
        allowed = self.allowed(origin)
        if allowed is None:
            return {}
        headers = {
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Max-Age": str(self.max_age),
            "Access-Control-Allow-Methods": self.allowed_methods,
            "Access-Control-Allow-Headers": self.allowed_headers,
        }
        if self.allow_credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        if self.exposed_headers:
            headers["Access-Control-Expose-Headers"] = self.exposed_headers
        return headers

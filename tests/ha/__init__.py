"""Leadership: the rules on virtual time, the adapters against the real thing."""

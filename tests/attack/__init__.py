"""What anybody who reaches the port can send: tests named by what must not happen, and the attacker's hour."""

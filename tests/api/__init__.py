"""The wire, with a real node behind it: real engine, real store on SQLite, real sockets."""

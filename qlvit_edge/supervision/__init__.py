"""A run under a service manager: when it is ready, what it does, and that it is alive.

`notifier` speaks systemd's protocol (sd_notify), `heartbeat` turns the signs of life of a run
into what is said. Without a service manager nothing is said.
"""

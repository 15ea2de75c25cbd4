"""Bringing a signed model to a device over OpenSSH, having it installed and validated there."""

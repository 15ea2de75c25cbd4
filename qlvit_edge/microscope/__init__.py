"""A run at the microscope: frames in, cells found and classified, results stored.

`session` ties it together: a camera's frames go through `pipeline`, a `writer` thread stores
them in `results` (SQLite) and draws them with `annotate`; `stopping` ends it cleanly.
"""

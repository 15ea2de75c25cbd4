"""Tables of a results file that `qlvit_edge.review` and `qlvit_edge.exchange` write."""

from __future__ import annotations

REVIEW = """
CREATE TABLE samples (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created REAL NOT NULL
);
CREATE TABLE operators (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE reviews (
    run_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    content TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (run_id, number)
);
CREATE TABLE review_heads (
    run_id INTEGER PRIMARY KEY,
    records INTEGER NOT NULL,
    hash TEXT NOT NULL,
    state TEXT NOT NULL
);
"""
"""What people say of a run; `qlvit_edge.review` writes it. Run 0 is the file itself."""

OUTBOX = """
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL,
    control_id TEXT NOT NULL,
    destination TEXT NOT NULL,
    created TEXT NOT NULL,
    by_name TEXT NOT NULL,
    result TEXT NOT NULL,
    message TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    changed TEXT NOT NULL,
    answer TEXT NOT NULL,
    hash TEXT NOT NULL,
    UNIQUE (control_id, destination)
);
"""
"""What of a run is on its way to other systems."""

REVIEW_COLUMNS = {
    "samples": ("id", "name", "created"),
    "operators": ("id", "name"),
    "reviews": ("run_id", "number", "content", "hash"),
    "review_heads": ("run_id", "records", "hash", "state"),
}

OUTBOX_COLUMNS = (
    *("id", "run_id", "control_id", "destination", "created", "by_name", "result"),
    *("message", "state", "attempts", "changed", "answer", "hash"),
)

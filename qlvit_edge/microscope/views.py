"""What people ask of a results file: local times, percent, a row per run, frame, cell or class."""

from __future__ import annotations

_LOCAL = "strftime('%Y-%m-%d %H:%M:{seconds}', {column}, 'unixepoch', 'localtime')"


def _local(column: str, seconds: str = "%S") -> str:
    return _LOCAL.format(column=column, seconds=seconds)


VIEWS = f"""
CREATE VIEW IF NOT EXISTS counted_cells AS
SELECT
    frames.run_id AS run,
    cells.id AS cell,
    unique_cells.number AS unique_cell,
    cells.label AS label,
    cells.verdict AS verdict,
    cells.cut AS cut,
    unique_cells.doubtful AS doubtful
FROM cells JOIN frames ON frames.id = cells.frame_id JOIN runs ON runs.id = frames.run_id
LEFT JOIN unique_cells ON runs.counted_once = 1
    AND unique_cells.run_id = frames.run_id AND unique_cells.number = cells.unique_cell
WHERE runs.counted_once IS NOT 1 OR unique_cells.best = cells.id;
CREATE VIEW IF NOT EXISTS run_list AS
SELECT
    runs.id AS run,
    {_local("started")} AS started_local,
    {_local("coalesce(ended, max(frames.timestamp))")} AS ended_local,
    round(coalesce(ended, max(frames.timestamp)) - started, 1) AS duration_s,
    outcome,
    model,
    camera,
    find,
    count(frames.id) AS frames,
    dropped_frames,
    (SELECT count(*) FROM counted_cells WHERE run = runs.id) AS cells,
    (SELECT count(*) FROM counted_cells WHERE run = runs.id AND verdict = 'uncertain')
        AS uncertain_cells,
    (SELECT count(*) FROM counted_cells
        WHERE run = runs.id AND verdict = 'accepted' AND doubtful IS NOT 1) AS accepted_cells,
    CASE familiar WHEN 1 THEN 'yes' WHEN 0 THEN 'no' ELSE 'not known' END AS familiar,
    statement,
    round(100 * accept_at, 1) AS accept_at_percent,
    program,
    (SELECT name FROM samples WHERE samples.id = runs.sample_id) AS sample,
    (SELECT name FROM operators WHERE operators.id = runs.operator_id) AS operator,
    coalesce((SELECT state FROM review_heads WHERE run_id = runs.id), 'collected') AS review,
    CASE counted_once WHEN 1 THEN 'yes' ELSE 'no' END AS counted_once,
    CASE counted_once WHEN 1 THEN (SELECT count(*) FROM counted_cells
        WHERE run = runs.id AND doubtful = 1 AND cut = 0) END AS doubtful_cells
FROM runs LEFT JOIN frames ON frames.run_id = runs.id
GROUP BY runs.id;
CREATE VIEW IF NOT EXISTS frame_list AS
SELECT
    frames.run_id AS run,
    frames.number AS frame,
    {_local("frames.timestamp", "%f")} AS taken_local,
    round(frames.position_ms / 1000, 3) AS position_s,
    frames.source AS source,
    frames.width AS width_px,
    frames.height AS height_px,
    (SELECT count(*) FROM cells WHERE cells.frame_id = frames.id) AS cells,
    frames.unfit AS unfit,
    frames.saved_as AS picture
FROM frames;
CREATE VIEW IF NOT EXISTS cell_list AS
SELECT
    frames.run_id AS run,
    frames.number AS frame,
    cells.id AS cell,
    {_local("frames.timestamp", "%f")} AS taken_local,
    round(frames.position_ms / 1000, 3) AS position_s,
    frames.source AS source,
    cells.label AS label,
    round(100 * cells.probability, 1) AS probability_percent,
    cells.verdict AS verdict,
    cells.reason AS reason,
    CASE cells.cut WHEN 0 THEN 'no' ELSE 'yes' END AS cut_by_edge,
    cells.x AS x_px,
    cells.y AS y_px,
    cells.width AS width_px,
    cells.height AS height_px,
    round(nullif(cells.nucleus_area, 0), 1) AS nucleus_px2,
    cells.unique_cell AS unique_cell,
    CASE coalesce(unique_cells.doubtful, cells.doubtful) WHEN 0 THEN 'no' WHEN 1 THEN 'yes' END
        AS doubtful,
    coalesce(islands.joined_to, islands.number) AS island,
    round(cells.slide_x + islands.x, 1) AS slide_x_px,
    round(cells.slide_y + islands.y, 1) AS slide_y_px,
    frames.saved_as AS picture
FROM cells JOIN frames ON frames.id = cells.frame_id
LEFT JOIN islands ON islands.run_id = frames.run_id AND islands.number = cells.island
LEFT JOIN unique_cells ON unique_cells.run_id = frames.run_id
    AND unique_cells.number = cells.unique_cell;
CREATE VIEW IF NOT EXISTS class_counts AS
SELECT
    run,
    label,
    count(*) AS cells,
    sum(verdict = 'accepted' AND doubtful IS NOT 1) AS accepted,
    sum(verdict = 'uncertain') AS uncertain,
    sum(verdict = 'unknown cell') AS unknown_cells,
    sum(verdict = 'foreign image') AS foreign_images,
    sum(verdict = 'abstained') AS abstained,
    round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY run), 1) AS share_percent,
    sum(verdict = 'accepted' AND doubtful IS 1) AS doubtful
FROM counted_cells
GROUP BY run, label;
CREATE VIEW IF NOT EXISTS review_list AS
SELECT
    run_id AS run,
    number,
    json_extract(content, '$.at') AS at_utc,
    json_extract(content, '$.by') AS by_name,
    json_extract(content, '$.kind') AS kind,
    json_array_length(content, '$.cells') AS cells,
    json_extract(content, '$.label') AS label,
    json_extract(content, '$.reason') AS reason,
    hash
FROM reviews;
CREATE VIEW IF NOT EXISTS signatures AS
SELECT run, number, at_utc, by_name, hash FROM review_list WHERE kind = 'sign';
CREATE VIEW IF NOT EXISTS outbox_list AS
SELECT
    run_id AS run,
    control_id,
    destination,
    created AS created_utc,
    by_name,
    state,
    attempts,
    changed AS changed_utc,
    answer
FROM outbox;
"""  # noqa: S608 - fixed text

CENSUS = """
CREATE TABLE IF NOT EXISTS census (
    frame_id INTEGER NOT NULL REFERENCES frames (id),
    kind TEXT NOT NULL,
    cells INTEGER NOT NULL,
    PRIMARY KEY (frame_id, kind)
) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS census_list AS
SELECT
    frames.run_id AS run,
    frames.number AS frame,
    frames.source AS source,
    census.kind AS kind,
    census.cells AS cells
FROM census JOIN frames ON frames.id = census.frame_id;
"""
"""Cells counted in a frame beside those that are classified; made in files of any format by the
first run that counts."""

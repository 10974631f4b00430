-- Why a run was made, and how it was computed where that can move the last digits.

DROP VIEW IF EXISTS grid_progress;
DROP VIEW IF EXISTS best_scales;
DROP VIEW IF EXISTS curves;

ALTER TABLE runs ADD COLUMN role VARCHAR DEFAULT 'grid';        -- grid, extension, job
ALTER TABLE runs ADD COLUMN execution VARCHAR DEFAULT '{}';     -- JSON object

-- The accuracy curve of every task, source and recipe. A diverged run counts as chance, as it does in training.
CREATE VIEW curves AS
SELECT t.name AS task, t.origin, s.name AS source, r.name AS recipe, runs.task_id, runs.source_id, runs.recipe_id,
       runs.scale, bool_or(runs.role = 'extension') AS is_extension, count(*) AS n_seeds, count(*) FILTER (WHERE status = 'diverged') AS n_diverged,
       avg(CASE WHEN status != 'diverged' THEN val_accuracy WHEN n_val > 0 THEN 1 / n_classes END) AS val_accuracy,
       avg(CASE WHEN status != 'diverged' THEN test_accuracy WHEN n_test > 0 THEN 1 / n_classes END) AS test_accuracy,
       avg(seconds) AS seconds
FROM runs JOIN tasks t USING (task_id) JOIN sources s USING (source_id) JOIN recipes r USING (recipe_id)
GROUP BY ALL;

-- The scale with the best validation accuracy, and what a choice on the test pictures would show, which flatters.
-- Of equal accuracies the smallest scale wins; means that differ in the last bits are equal.
CREATE VIEW best_scales AS
SELECT task, origin, source, recipe, task_id, source_id, recipe_id,
       arg_max(scale, round(val_accuracy, 9) ORDER BY scale) AS scale,
       max(val_accuracy) AS val_accuracy,
       arg_max(test_accuracy, round(val_accuracy, 9) ORDER BY scale) AS test_accuracy,
       arg_max(scale, round(test_accuracy, 9) ORDER BY scale) AS naive_best_scale,
       max(test_accuracy) AS naive_best_test_accuracy
FROM curves WHERE scale IS NOT NULL
GROUP BY ALL;

-- How far each grid has come.
CREATE VIEW grid_progress AS
SELECT t.name AS task, s.name AS source, r.name AS recipe, runs.task_id, runs.source_id, runs.recipe_id,
       count(*) AS n_runs, count(DISTINCT seed) AS n_seeds, count(DISTINCT scale) AS n_scales,
       count(*) FILTER (WHERE status = 'diverged') AS n_diverged, max(finished_at) AS last_finished_at
FROM runs JOIN tasks t USING (task_id) JOIN sources s USING (source_id) JOIN recipes r USING (recipe_id)
GROUP BY ALL;

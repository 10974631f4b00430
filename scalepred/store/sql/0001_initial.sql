-- Rows are added and never changed. Ids are hashes of content, so there are no foreign keys; verify() looks for orphans.

CREATE TABLE tasks (
    task_id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    origin VARCHAR NOT NULL,
    n_classes INTEGER NOT NULL,
    n_train INTEGER NOT NULL,
    n_val INTEGER NOT NULL,
    n_test INTEGER NOT NULL,
    label_counts VARCHAR NOT NULL,      -- JSON object: class -> pictures in all splits
    median_width_px INTEGER NOT NULL,
    median_height_px INTEGER NOT NULL,
    data_hash VARCHAR NOT NULL
);

CREATE TABLE sources (
    source_id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    facts VARCHAR NOT NULL              -- JSON object
);

CREATE TABLE recipes (
    recipe_id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    json VARCHAR NOT NULL               -- the canonical JSON that recipe_id hashes
);

CREATE TABLE features (
    task_id VARCHAR NOT NULL,
    source_id VARCHAR NOT NULL,
    feature_set VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    seconds DOUBLE NOT NULL,
    PRIMARY KEY (task_id, source_id, feature_set, name)
);

CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    task_id VARCHAR NOT NULL,
    source_id VARCHAR NOT NULL,
    recipe_id VARCHAR NOT NULL,
    scale DOUBLE,                       -- NULL for a recipe without a scale, such as the baseline
    seed BIGINT NOT NULL,
    status VARCHAR NOT NULL,            -- done, diverged
    diverged_step BIGINT,
    val_accuracy DOUBLE,
    val_loss DOUBLE,
    test_accuracy DOUBLE,
    test_loss DOUBLE,
    val_correct BLOB,                   -- a bit for each picture, first picture in the highest bit
    test_correct BLOB,
    epoch_losses DOUBLE[] NOT NULL,
    rates DOUBLE[][] NOT NULL,          -- epochs x (conv1..conv5, head)
    seconds DOUBLE NOT NULL,
    device VARCHAR NOT NULL,
    versions VARCHAR NOT NULL,          -- JSON object: package -> version
    finished_at VARCHAR NOT NULL        -- ISO 8601, UTC
);

CREATE TABLE predictions (
    prediction_id VARCHAR PRIMARY KEY,
    created_at VARCHAR NOT NULL,
    task_id VARCHAR NOT NULL,
    source_id VARCHAR NOT NULL,
    recipe_id VARCHAR NOT NULL,
    scale DOUBLE NOT NULL,
    "by" VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    predicted VARCHAR NOT NULL,         -- JSON object
    val_accuracy DOUBLE,
    test_accuracy DOUBLE
);

-- The accuracy curve of every task, source and recipe. A diverged run counts as chance, as it does in training.
CREATE VIEW curves AS
SELECT t.name AS task, t.origin, s.name AS source, r.name AS recipe, runs.task_id, runs.source_id, runs.recipe_id,
       runs.scale, count(*) AS n_seeds, count(*) FILTER (WHERE status = 'diverged') AS n_diverged,
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

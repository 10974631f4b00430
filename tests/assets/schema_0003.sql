CREATE TABLE features (
    "task_id" VARCHAR NOT NULL,
    "source_id" VARCHAR NOT NULL,
    "feature_set" VARCHAR NOT NULL,
    "name" VARCHAR NOT NULL,
    "value" DOUBLE NOT NULL,
    "seconds" DOUBLE NOT NULL,
    PRIMARY KEY (task_id, source_id, feature_set, name)
);

CREATE TABLE predictions (
    "prediction_id" VARCHAR NOT NULL,
    "created_at" VARCHAR NOT NULL,
    "task_id" VARCHAR NOT NULL,
    "source_id" VARCHAR NOT NULL,
    "recipe_id" VARCHAR NOT NULL,
    "scale" DOUBLE NOT NULL,
    "by" VARCHAR NOT NULL,
    "reason" VARCHAR NOT NULL,
    "predicted" VARCHAR NOT NULL,
    "val_accuracy" DOUBLE,
    "test_accuracy" DOUBLE,
    PRIMARY KEY (prediction_id)
);

CREATE TABLE recipes (
    "recipe_id" VARCHAR NOT NULL,
    "name" VARCHAR NOT NULL,
    "json" VARCHAR NOT NULL,
    PRIMARY KEY (recipe_id)
);

CREATE TABLE runs (
    "run_id" VARCHAR NOT NULL,
    "task_id" VARCHAR NOT NULL,
    "source_id" VARCHAR NOT NULL,
    "recipe_id" VARCHAR NOT NULL,
    "scale" DOUBLE,
    "seed" BIGINT NOT NULL,
    "status" VARCHAR NOT NULL,
    "diverged_step" BIGINT,
    "val_accuracy" DOUBLE,
    "val_loss" DOUBLE,
    "test_accuracy" DOUBLE,
    "test_loss" DOUBLE,
    "val_correct" BLOB,
    "test_correct" BLOB,
    "epoch_losses" DOUBLE[] NOT NULL,
    "rates" DOUBLE[][] NOT NULL,
    "seconds" DOUBLE NOT NULL,
    "device" VARCHAR NOT NULL,
    "versions" VARCHAR NOT NULL,
    "finished_at" VARCHAR NOT NULL,
    "role" VARCHAR,
    "execution" VARCHAR,
    "course" VARCHAR,
    PRIMARY KEY (run_id)
);

CREATE TABLE schema_migrations (
    "name" VARCHAR NOT NULL,
    "applied_at" VARCHAR NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE sources (
    "source_id" VARCHAR NOT NULL,
    "name" VARCHAR NOT NULL,
    "facts" VARCHAR NOT NULL,
    PRIMARY KEY (source_id)
);

CREATE TABLE tasks (
    "task_id" VARCHAR NOT NULL,
    "name" VARCHAR NOT NULL,
    "origin" VARCHAR NOT NULL,
    "n_classes" INTEGER NOT NULL,
    "n_train" INTEGER NOT NULL,
    "n_val" INTEGER NOT NULL,
    "n_test" INTEGER NOT NULL,
    "label_counts" VARCHAR NOT NULL,
    "median_width_px" INTEGER NOT NULL,
    "median_height_px" INTEGER NOT NULL,
    "data_hash" VARCHAR NOT NULL,
    PRIMARY KEY (task_id)
);

-- view best_scales:
--     task VARCHAR
--     origin VARCHAR
--     source VARCHAR
--     recipe VARCHAR
--     task_id VARCHAR
--     source_id VARCHAR
--     recipe_id VARCHAR
--     scale DOUBLE
--     val_accuracy DOUBLE
--     test_accuracy DOUBLE
--     naive_best_scale DOUBLE
--     naive_best_test_accuracy DOUBLE

-- view curves:
--     task VARCHAR
--     origin VARCHAR
--     source VARCHAR
--     recipe VARCHAR
--     task_id VARCHAR
--     source_id VARCHAR
--     recipe_id VARCHAR
--     scale DOUBLE
--     is_extension BOOLEAN
--     n_seeds BIGINT
--     n_diverged BIGINT
--     val_accuracy DOUBLE
--     test_accuracy DOUBLE
--     seconds DOUBLE

-- view grid_progress:
--     task VARCHAR
--     source VARCHAR
--     recipe VARCHAR
--     task_id VARCHAR
--     source_id VARCHAR
--     recipe_id VARCHAR
--     n_runs BIGINT
--     n_seeds BIGINT
--     n_scales BIGINT
--     n_diverged BIGINT
--     last_finished_at VARCHAR

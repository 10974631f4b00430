-- What was measured in the course of a run: epochs done -> the factor on all rates at which the loss is back where it is.

ALTER TABLE runs ADD COLUMN course VARCHAR DEFAULT '{}';        -- JSON object

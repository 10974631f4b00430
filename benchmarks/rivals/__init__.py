"""The rivals of one finetune: each is told a task's folder, learns, and answers with its test accuracy."""

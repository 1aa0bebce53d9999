"""Label Studio's API and its formats: label configs, tasks, drawings and results."""

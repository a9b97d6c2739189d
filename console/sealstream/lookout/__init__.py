"""Who looks after the pipeline itself."""

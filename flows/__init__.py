"""The graph of dvc.yaml as a Prefect flow: parallel, with retries, progress and a UI. DVC stays the only cache."""

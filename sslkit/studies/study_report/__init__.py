"""The report of a study: its numbers (`values`, `cells`, `references`), their places (`plan`, `layout`), its charts."""

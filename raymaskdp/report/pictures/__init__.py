"""Images of the report: plots, filmstrips, contact sheets, players."""

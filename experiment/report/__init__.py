"""The report over run folders: what they hold, seeds put together, tables, tests, areas, pictures, one page."""

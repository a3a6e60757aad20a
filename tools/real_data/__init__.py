"""Public product data as the two files of docs/data_format.md; one module per source."""

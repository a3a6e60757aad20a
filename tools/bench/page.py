"""Where a benchmark's page goes."""

import pathlib


def write_page(text: str, output: pathlib.Path | None) -> None:
    """Prints a page, and writes it if a file is given."""
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    print(text)

"""Tables in Markdown that are also good to read as they are."""


def markdown(rows):
    """The first row is the header; names to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    alignments = ["<"] + [">"] * (len(widths) - 1)
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        cells = (f"{cell:{a}{w}}" for cell, a, w in zip(row, alignments, widths))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)

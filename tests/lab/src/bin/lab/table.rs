//! Tables in Markdown that are also good to read as they are.

/// The first row is the header; names to the left, numbers to the right.
pub(crate) fn markdown<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut lines: Vec<_> = rows.iter().map(|row| line(row, widths, ' ')).collect();
    let rule = std::array::from_fn(|column| if column == 0 { "" } else { ":" }.to_owned());
    lines.insert(1.min(lines.len()), line(&rule, widths, '-'));
    lines.join("\n")
}

fn line<const COLUMNS: usize>(
    cells: &[String; COLUMNS],
    widths: [usize; COLUMNS],
    filler: char,
) -> String {
    let mut line = String::from("|");
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding: String =
            std::iter::repeat_n(filler, width.saturating_sub(cell.chars().count())).collect();
        let cell = if column == 0 { [cell, &*padding] } else { [&*padding, cell] };
        line.extend([" ", &*cell.concat(), " |"]);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_to_the_left_and_numbers_to_the_right() {
        let rows = [["", "failed"], ["1 pod", "0.0 %"], ["two pods", "51.2 %"]];

        let table = markdown(&rows.map(|row| row.map(str::to_owned)));

        let lines = [
            "|          | failed |",
            "| -------- | -----: |",
            "| 1 pod    |  0.0 % |",
            "| two pods | 51.2 % |",
        ];
        assert_eq!(table, lines.join("\n"));
    }
}

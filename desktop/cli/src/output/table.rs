//! Columns of text, as Docker aligns them.

/// A table with a head.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

/// The least width of a column, and the blanks between two.
const LEAST_WIDTH: usize = 10;
const GAP: usize = 3;

impl Table {
    pub(crate) fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self::default();
        table.add(head);
        table
    }

    pub(crate) fn add<S: Into<String>>(&mut self, row: impl IntoIterator<Item = S>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// Returns the table, each row with its line's end.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            (longest + GAP).max(LEAST_WIDTH)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (cell, width) in row.iter().zip(&widths) {
                text.push_str(&format!("{cell:<width$}"));
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let mut table = Table::new(["ID", "NAME", "PORTS"]);
        table.add(["0123456789ab", "x", ""]);
        table.add(["0123456789cd", "söme-längér-name", "80/tcp"]);
        assert_eq!(
            table.render(),
            "ID             NAME               PORTS\n\
             0123456789ab   x\n\
             0123456789cd   söme-längér-name   80/tcp\n"
        );
    }
}

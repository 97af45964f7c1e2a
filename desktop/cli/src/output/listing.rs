//! Lists in the formats of `--format`: a table, JSON or a template.

use serde_json::Value;

use super::{Table, Template, print};
use crate::failure::Failure;

/// A list of rows, each an object of the same fields.
pub(crate) struct Listing<'a> {
    /// The rows.
    pub(crate) rows: Vec<Value>,
    /// The columns of the plain table: heading and field.
    pub(crate) columns: &'a [(&'a str, &'a str)],
    /// The headings of fields that are in no plain table.
    pub(crate) headings: &'a [(&'a str, &'a str)],
}

/// Returns the list as `--format` says: `table`, `table TEMPLATE`, `json` or a template.
fn render(listing: &Listing<'_>, format: Option<&str>) -> Result<String, Failure> {
    match format.unwrap_or("table") {
        "table" => {
            let mut table = Table::new(listing.columns.iter().map(|(heading, _)| *heading));
            for row in &listing.rows {
                table.add(
                    listing.columns.iter().map(|(_, field)| {
                        row.get(field).and_then(Value::as_str).unwrap_or_default()
                    }),
                );
            }
            Ok(table.render())
        }
        "json" => Ok(listing.rows.iter().map(|row| format!("{row}\n")).collect()),
        format => match format.strip_prefix("table ") {
            Some(columns) => {
                let template = Template::parse(columns)?;
                let heading = |field: &str| {
                    let mut known = listing.columns.iter().chain(listing.headings);
                    known.find(|(_, known)| *known == field).map_or_else(
                        || field.to_uppercase(),
                        |(heading, _)| (*heading).to_owned(),
                    )
                };
                let mut table = Table::new(template.headings(heading).split('\t'));
                for row in &listing.rows {
                    table.add(template.render(row)?.split('\t'));
                }
                Ok(table.render())
            }
            None => {
                let template = Template::parse(format)?;
                listing
                    .rows
                    .iter()
                    .map(|row| Ok(format!("{}\n", template.render(row)?)))
                    .collect()
            }
        },
    }
}

/// Prints the list to standard output.
pub(crate) fn print_listing(listing: &Listing<'_>, format: Option<&str>) -> Result<(), Failure> {
    print(&render(listing, format)?)
}

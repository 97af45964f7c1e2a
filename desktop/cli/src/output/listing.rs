//! Lists in the formats of `--format`: a table, JSON or a template.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Table, Template, print};
use crate::failure::Failure;

/// A row of a list.
pub(crate) struct Row {
    /// An object, with the same fields in each row.
    pub(crate) fields: Value,
    /// What `{{.Label "key"}}` looks in.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Row {
    /// A row of what has labels.
    pub(crate) fn labelled<'a>(
        fields: Value,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        let labels = labels.into_iter();
        Self {
            fields,
            labels: labels
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }
}

impl From<Value> for Row {
    fn from(fields: Value) -> Self {
        Self {
            fields,
            labels: BTreeMap::new(),
        }
    }
}

/// A list of rows.
pub(crate) struct Listing<'a> {
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// The columns of the plain table: heading and field.
    pub(crate) columns: &'a [(&'a str, &'a str)],
    /// The headings of fields that are in no plain table.
    pub(crate) headings: &'a [(&'a str, &'a str)],
}

/// Returns the list as `--format` says: `table`, `table TEMPLATE`, `json` or a template.
fn render(listing: &Listing<'_>, format: Option<&str>) -> Result<String, Failure> {
    match format
        .filter(|format| !format.is_empty())
        .unwrap_or("table")
    {
        "table" => {
            let mut table = Table::new(listing.columns.iter().map(|(heading, _)| *heading));
            for row in &listing.rows {
                table.add(listing.columns.iter().map(|(_, field)| {
                    row.fields
                        .get(field)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                }));
            }
            Ok(table.render())
        }
        "json" => Ok(listing
            .rows
            .iter()
            .map(|row| format!("{}\n", row.fields))
            .collect()),
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
                let mut table = Table::new(template.headings(heading)?.split('\t'));
                for row in &listing.rows {
                    table.add(template.render_row(&row.fields, &row.labels)?.split('\t'));
                }
                Ok(table.render())
            }
            None => {
                let template = Template::parse(format)?;
                listing
                    .rows
                    .iter()
                    .map(|row| {
                        Ok(format!(
                            "{}\n",
                            template.render_row(&row.fields, &row.labels)?
                        ))
                    })
                    .collect()
            }
        },
    }
}

/// Prints the list to standard output.
pub(crate) fn print_listing(listing: &Listing<'_>, format: Option<&str>) -> Result<(), Failure> {
    print(&render(listing, format)?)
}

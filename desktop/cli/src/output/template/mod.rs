//! Go's templates over JSON, as `--format` takes them: text/template with the
//! functions that Docker adds. A field that is not there is told with those that
//! are.
//!
//! No crate does this well enough (November 2026): gtmpl 0.7 goes through maps in
//! any order, and has neither `slice`, `html`, `break` nor assignment.

mod datum;
mod evaluator;
mod functions;
mod lexer;
mod parser;
mod print;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::failure::Failure;
use parser::{Command, Node, Operand, Pipeline};

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Node>);

impl Template {
    /// Parses a template.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        parser::parse(text).map(Self).map_err(|why| wrong(&why))
    }

    /// Returns the template with the fields of `value`.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Failure> {
        evaluator::render(&self.0, value, None).map_err(|why| wrong(&why))
    }

    /// Returns the template with the fields of a row, and its labels for
    /// `.Label "key"`.
    pub(crate) fn render_row(
        &self,
        fields: &Value,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, Failure> {
        evaluator::render(&self.0, fields, Some(labels)).map_err(|why| wrong(&why))
    }

    /// Tells whether it has a field of this name in it.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|node| node_names(node, name))
    }

    /// Returns the heads of the columns of a `table` template: the last name of
    /// each field, as `heading` writes it.
    pub(crate) fn headings(&self, heading: impl Fn(&str) -> String) -> Result<String, Failure> {
        evaluator::heads(&self.0, &heading).map_err(|why| wrong(&why))
    }
}

fn wrong(why: &str) -> Failure {
    Failure::new(format!("--format: {why}"))
}

fn node_names(node: &Node, name: &str) -> bool {
    match node {
        Node::Text(_) | Node::Break | Node::Continue => false,
        Node::Show(pipeline) => pipeline_names(pipeline, name),
        Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
            let mut nodes = branch.then.iter().chain(&branch.otherwise);
            pipeline_names(&branch.pipeline, name) || nodes.any(|node| node_names(node, name))
        }
    }
}

fn pipeline_names(pipeline: &Pipeline, name: &str) -> bool {
    let operands = |command: &Command| {
        operand_names(&command.first, name)
            || command
                .arguments
                .iter()
                .any(|operand| operand_names(operand, name))
    };
    pipeline.commands.iter().any(operands)
}

fn operand_names(operand: &Operand, name: &str) -> bool {
    match operand {
        Operand::Field(path) | Operand::Variable(_, path) => {
            path.first().is_some_and(|first| first == name)
        }
        Operand::Parenthesized(pipeline, _) => pipeline_names(pipeline, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

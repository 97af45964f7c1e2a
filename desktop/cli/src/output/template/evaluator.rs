//! Shows a template with a value, as Go's text/template/exec does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::datum::{Datum, show};
use super::functions;
use super::parser::{Branch, Command, Node, Operand, Pipeline};
use super::print::sorted;

/// How the walk goes on.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// What a template is shown with.
pub(super) struct Evaluator<'a> {
    variables: Vec<(&'a str, Datum<'a>)>,
    /// What `.Label "key"` looks in, where rows have labels.
    labels: Option<&'a BTreeMap<String, String>>,
    /// The head of the column of a field, where the heads are wanted.
    heading: Option<&'a dyn Fn(&str) -> String>,
    text: String,
}

/// Shows a template with a value and its labels.
pub(super) fn render<'a>(
    nodes: &'a [Node],
    value: &'a Value,
    labels: Option<&'a BTreeMap<String, String>>,
) -> Result<String, String> {
    let evaluator = Evaluator {
        variables: Vec::new(),
        labels,
        heading: None,
        text: String::new(),
    };
    evaluator.show(nodes, &Datum::borrowed(value))
}

/// Shows a template with the heads of columns in the places of fields.
pub(super) fn heads<'a>(
    nodes: &'a [Node],
    heading: &'a dyn Fn(&str) -> String,
) -> Result<String, String> {
    let evaluator = Evaluator {
        variables: Vec::new(),
        labels: None,
        heading: Some(heading),
        text: String::new(),
    };
    evaluator.show(nodes, &Datum::Heads)
}

impl<'a> Evaluator<'a> {
    fn show(mut self, nodes: &'a [Node], dot: &Datum<'a>) -> Result<String, String> {
        self.variables.push(("$", dot.clone()));
        self.walk(nodes, dot)?;
        Ok(self.text)
    }

    fn walk(&mut self, nodes: &'a [Node], dot: &Datum<'a>) -> Result<Flow, String> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.text.push_str(text);
                    Flow::Next
                }
                Node::Show(pipeline) => {
                    let datum = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        show(&datum, &mut self.text);
                    }
                    Flow::Next
                }
                Node::If(branch) => {
                    let known = self.variables.len();
                    let truth = self.pipeline(&branch.pipeline, dot)?.is_true();
                    let nodes = if truth {
                        &branch.then
                    } else {
                        &branch.otherwise
                    };
                    let flow = self.walk(nodes, dot)?;
                    self.variables.truncate(known);
                    flow
                }
                Node::With(branch) => {
                    let known = self.variables.len();
                    let datum = self.pipeline(&branch.pipeline, dot)?;
                    let flow = match datum.is_true() {
                        true => self.walk(&branch.then, &datum)?,
                        false => self.walk(&branch.otherwise, dot)?,
                    };
                    self.variables.truncate(known);
                    flow
                }
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, branch: &'a Branch, dot: &Datum<'a>) -> Result<Flow, String> {
        let known = self.variables.len();
        // The variables are set for each item, and not to the whole.
        let over = self.commands(&branch.pipeline, dot)?;
        let mut empty = true;
        for (key, item) in items(over)? {
            empty = false;
            let pipeline = &branch.pipeline;
            let values = match pipeline.variables.len() {
                2 => vec![key, item.clone()],
                _ => vec![item.clone()],
            };
            for (name, value) in pipeline.variables.iter().zip(values) {
                self.set(name, value, pipeline.assigns);
            }
            let flow = self.walk(&branch.then, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        if empty {
            let flow = self.walk(&branch.otherwise, dot)?;
            self.variables.truncate(known);
            return Ok(flow);
        }
        Ok(Flow::Next)
    }

    fn set(&mut self, name: &'a str, value: Datum<'a>, assigns: bool) {
        let known = self.variables.iter_mut().rev();
        match known
            .into_iter()
            .find(|(known, _)| assigns && *known == name)
        {
            Some(variable) => variable.1 = value,
            None => self.variables.push((name, value)),
        }
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Datum<'a>) -> Result<Datum<'a>, String> {
        let datum = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, datum.clone(), pipeline.assigns);
        }
        Ok(datum)
    }

    fn commands(&mut self, pipeline: &'a Pipeline, dot: &Datum<'a>) -> Result<Datum<'a>, String> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Datum::Missing))
    }

    fn command(
        &mut self,
        command: &'a Command,
        dot: &Datum<'a>,
        last: Option<Datum<'a>>,
    ) -> Result<Datum<'a>, String> {
        let Command { first, arguments } = command;
        if let Operand::Function(name) = first {
            return self.function(name, arguments, dot, last);
        }
        let given = arguments.len() + usize::from(last.is_some());
        match first {
            Operand::Field(path) if given == 1 && path.len() == 1 && path[0] == "Label" => {
                let key = match (arguments.first(), last) {
                    (Some(argument), _) => self.operand(argument, dot)?,
                    (None, last) => last.unwrap_or(Datum::Missing),
                };
                self.label(key.value())
            }
            Operand::Nil => Err("nil alone shows nothing".to_owned()),
            _ if given > 0 => Err(match first {
                Operand::Field(path) => format!(".{} takes no arguments", path.join(".")),
                Operand::Variable(name, _) => format!("{name} takes no arguments"),
                _ => "only functions take arguments".to_owned(),
            }),
            first => self.operand(first, dot),
        }
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Datum<'a>) -> Result<Datum<'a>, String> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Datum::from(Value::Null)),
            Operand::Literal(value) => Ok(Datum::borrowed(value)),
            Operand::Field(path) => self.path(dot.clone(), "", path),
            Operand::Variable(name, path) => {
                let mut known = self.variables.iter().rev();
                let found = known.find(|(known, _)| known == name);
                let datum = found.map_or(Datum::Missing, |(_, datum)| datum.clone());
                self.path(datum, name, path)
            }
            Operand::Function(name) => self.function(name, &[], dot, None),
            Operand::Parenthesized(pipeline, path) => {
                let datum = self.pipeline(pipeline, dot)?;
                self.path(datum, "", path)
            }
        }
    }

    fn path(&self, datum: Datum<'a>, from: &str, path: &'a [String]) -> Result<Datum<'a>, String> {
        if let (Datum::Heads, Some(heading), Some(name)) = (&datum, self.heading, path.last()) {
            return Ok(Datum::from(heading(name)));
        }
        let mut called = from.to_owned();
        path.iter().try_fold(datum, |datum, name| {
            called = format!("{called}.{name}");
            datum.field(name, &called)
        })
    }

    /// Returns the label of a row, or the head of its column: its key's last
    /// part, as Docker has it.
    fn label(&self, key: &Value) -> Result<Datum<'a>, String> {
        let key = key
            .as_str()
            .ok_or_else(|| "write .Label \"key\"".to_owned())?;
        if self.heading.is_some() {
            let last = key.rsplit('.').next().unwrap_or(key);
            return Ok(Datum::from(last.replace(['-', '_'], " ")));
        }
        let labels = self
            .labels
            .ok_or_else(|| ".Label: there are no labels here".to_owned())?;
        Ok(Datum::from(labels.get(key).cloned().unwrap_or_default()))
    }

    fn function(
        &mut self,
        name: &str,
        arguments: &'a [Operand],
        dot: &Datum<'a>,
        last: Option<Datum<'a>>,
    ) -> Result<Datum<'a>, String> {
        if name == "and" || name == "or" {
            // What decides ends it: what follows may fail.
            let mut datum = None;
            for argument in arguments {
                let found = self.operand(argument, dot)?;
                let decides = found.is_true() == (name == "or");
                datum = Some(found);
                if decides {
                    break;
                }
            }
            let decided = datum
                .as_ref()
                .is_some_and(|datum: &Datum<'_>| datum.is_true() == (name == "or"));
            return match (datum, last) {
                (Some(datum), None) => Ok(datum),
                (Some(datum), Some(_)) if decided => Ok(datum),
                (_, Some(last)) => Ok(last),
                (None, None) => Err(format!("{name} takes an argument at least")),
            };
        }
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        // As Docker's: what changes a value leaves the head of its column.
        if self.heading.is_some()
            && matches!(
                name,
                "json" | "title" | "lower" | "upper" | "truncate" | "pad" | "join"
            )
            && let Some(datum) = values.first()
        {
            return Ok(datum.clone());
        }
        functions::call(name, values)
    }
}

/// Returns the keys and items that `range` goes through.
fn items<'a>(over: Datum<'a>) -> Result<Vec<(Datum<'a>, Datum<'a>)>, String> {
    let (value, field) = match over {
        Datum::Missing => return Ok(Vec::new()),
        Datum::Heads => return Ok(vec![(Datum::Heads, Datum::Heads)]),
        Datum::Known { value, field } => (value, field),
    };
    let key = |place: usize| Datum::from(Value::from(place));
    let item = |value: Cow<'a, Value>| Datum::Known { value, field };
    match value {
        Cow::Borrowed(Value::Array(items)) => {
            let items = items.iter().enumerate();
            Ok(items
                .map(|(place, value)| (key(place), item(Cow::Borrowed(value))))
                .collect())
        }
        Cow::Owned(Value::Array(items)) => {
            let items = items.into_iter().enumerate();
            Ok(items
                .map(|(place, value)| (key(place), item(Cow::Owned(value))))
                .collect())
        }
        Cow::Borrowed(value @ Value::Object(_)) => {
            let fields = sorted(value).into_iter();
            Ok(fields
                .map(|(key, value)| (Datum::from(key.clone()), Datum::borrowed(value)))
                .collect())
        }
        Cow::Owned(value) if value.is_object() => {
            let fields = sorted(&value).into_iter();
            Ok(fields
                .map(|(key, value)| (Datum::from(key.clone()), Datum::from(value.clone())))
                .collect())
        }
        value => match &*value {
            Value::Null => Ok(Vec::new()),
            Value::Number(number) if !number.is_f64() => {
                let count = number.as_i64().unwrap_or(0).max(0);
                let count = usize::try_from(count).unwrap_or(0);
                if count > MOST {
                    return Err(format!("range goes to {MOST} at most, and not to {count}"));
                }
                Ok((0..count).map(|place| (key(place), key(place))).collect())
            }
            other => Err(format!("range cannot go through {other}")),
        },
    }
}

/// The highest number that `range` counts to.
const MOST: usize = 1_000_000;

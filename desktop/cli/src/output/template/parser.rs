//! Reads a template's words into a tree, as Go's text/template/parse does.

use std::collections::VecDeque;

use serde_json::Value;

use super::functions;
use super::lexer::{Token, split};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// A pipeline whose value is shown.
    Show(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
}

/// What an `if`, `with` or `range` has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    /// The variables that get its value; with `range` two may get key and value.
    pub(super) variables: Vec<String>,
    /// Whether these are there already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function, field or value with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) first: Operand,
    pub(super) arguments: Vec<Operand>,
}

/// What a command is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Dot,
    Nil,
    Literal(Value),
    /// `.A.B`
    Field(Vec<String>),
    /// `$a.B`
    Variable(String, Vec<String>),
    Function(String),
    /// `(…).A.B`
    Parenthesized(Box<Pipeline>, Vec<String>),
}

/// How deep blocks and parentheses may lie in each other.
const DEPTH: usize = 100;

/// What ends a list of nodes.
#[derive(Debug, PartialEq)]
enum Ending {
    Template,
    End,
    /// `{{else}}`, with the words of an `if` or `with` behind it.
    Else(Option<String>),
}

/// Reads a template.
pub(super) fn parse(template: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser {
        tokens: split(template)?.into(),
        variables: vec!["$".to_owned()],
        depth: 0,
        loops: 0,
    };
    match parser.list()? {
        (nodes, Ending::Template) => Ok(nodes),
        (_, Ending::End) => Err("there is an {{end}} without {{if}}, {{with}} or {{range}}".into()),
        (_, Ending::Else(_)) => {
            Err("there is an {{else}} without {{if}}, {{with}} or {{range}}".into())
        }
    }
}

struct Parser {
    tokens: VecDeque<Token>,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, Ending), String> {
        let mut nodes = Vec::new();
        loop {
            match self.tokens.pop_front() {
                None => return Ok((nodes, Ending::Template)),
                Some(Token::Text(text)) => nodes.push(Node::Text(text)),
                // Outside of an action there is nothing but text.
                Some(_) => {
                    self.skip_space();
                    match self.keyword().as_deref() {
                        Some("end") => {
                            self.close("end")?;
                            return Ok((nodes, Ending::End));
                        }
                        Some("else") => return Ok((nodes, Ending::Else(self.after_else()?))),
                        Some(keyword) => nodes.push(self.statement(keyword)?),
                        None => {
                            let pipeline = self.pipeline(false, &Token::Close)?;
                            nodes.push(Node::Show(pipeline));
                        }
                    }
                }
            }
        }
    }

    fn keyword(&mut self) -> Option<String> {
        const KEYWORDS: [&str; 10] = [
            "if", "with", "range", "else", "end", "break", "continue", "define", "template",
            "block",
        ];
        match self.tokens.front() {
            Some(Token::Word(word)) if KEYWORDS.contains(&word.as_str()) => {
                let word = word.clone();
                self.tokens.pop_front();
                Some(word)
            }
            _ => None,
        }
    }

    fn statement(&mut self, keyword: &str) -> Result<Node, String> {
        match keyword {
            "if" | "with" | "range" => self.branch(keyword),
            "break" | "continue" => {
                self.close(keyword)?;
                match (self.loops, keyword) {
                    (0, _) => Err(format!("{{{{{keyword}}}}} is outside of {{{{range}}}}")),
                    (_, "break") => Ok(Node::Break),
                    _ => Ok(Node::Continue),
                }
            }
            _ => Err(format!(
                "{{{{{keyword}}}}} is not supported: a format is one template"
            )),
        }
    }

    /// Reads the rest of `{{else}}`: what begins another branch, if anything.
    fn after_else(&mut self) -> Result<Option<String>, String> {
        self.skip_space();
        match self.keyword().as_deref() {
            Some(keyword @ ("if" | "with")) => Ok(Some(keyword.to_owned())),
            Some(keyword) => Err(format!("{{{{else {keyword}}}}} means nothing")),
            None => self.close("else").map(|()| None),
        }
    }

    fn branch(&mut self, keyword: &str) -> Result<Node, String> {
        self.deeper()?;
        let known = self.variables.len();
        let pipeline = self.pipeline(keyword == "range", &Token::Close)?;
        let unended = || format!("{{{{{keyword}}}}} has no {{{{end}}}}");
        self.loops += usize::from(keyword == "range");
        let (then, ending) = self.list()?;
        self.loops -= usize::from(keyword == "range");
        let otherwise = match ending {
            Ending::Template => return Err(unended()),
            Ending::End => Vec::new(),
            Ending::Else(None) => match self.list()? {
                (nodes, Ending::End) => nodes,
                (_, Ending::Else(_)) => {
                    return Err(format!("{{{{{keyword}}}}} has two {{{{else}}}}"));
                }
                (_, Ending::Template) => return Err(unended()),
            },
            // One {{end}} ends both.
            Ending::Else(Some(next)) if next == keyword => vec![self.branch(&next)?],
            Ending::Else(Some(next)) => {
                return Err(format!(
                    "{{{{else {next}}}}} does not belong to {{{{{keyword}}}}}"
                ));
            }
        };
        self.variables.truncate(known);
        self.depth -= 1;
        let branch = Branch {
            pipeline,
            then,
            otherwise,
        };
        Ok(match keyword {
            "if" => Node::If(branch),
            "with" => Node::With(branch),
            _ => Node::Range(branch),
        })
    }

    /// Reads a pipeline and its end.
    fn pipeline(&mut self, range: bool, end: &Token) -> Result<Pipeline, String> {
        self.skip_space();
        let (variables, assigns) = self.declarations(range)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            let command = self.command(end)?;
            if !commands.is_empty()
                && matches!(
                    command.first,
                    Operand::Nil | Operand::Dot | Operand::Literal(_)
                )
            {
                return Err("behind a | there is a function".to_owned());
            }
            commands.push(command);
            match self.tokens.pop_front() {
                Some(Token::Pipe) => {}
                Some(token) if token == *end => break,
                // A command ends at nothing else.
                _ => return Err(UNCLOSED.to_owned()),
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline {
            variables,
            assigns,
            commands,
        })
    }

    /// Reads `$a :=`, `$a =`, and with `range` `$a, $b :=`.
    fn declarations(&mut self, range: bool) -> Result<(Vec<String>, bool), String> {
        let mut names = Vec::new();
        let mut place = 0;
        while let Some(Token::Variable(name)) = self.tokens.get(place) {
            names.push(name.clone());
            place += 1;
            place += usize::from(self.tokens.get(place) == Some(&Token::Space));
            match self.tokens.get(place) {
                Some(Token::Comma) if range && names.len() == 1 => {
                    place += 1;
                    place += usize::from(self.tokens.get(place) == Some(&Token::Space));
                }
                Some(Token::Comma) => {
                    return Err("only {{range}} has two variables, for key and value".to_owned());
                }
                Some(token @ (Token::Declare | Token::Assign)) => {
                    let assigns = *token == Token::Assign;
                    self.tokens.drain(..=place);
                    for name in names.iter().filter(|_| assigns) {
                        self.known(name)?;
                    }
                    return Ok((names, assigns));
                }
                _ => break,
            }
        }
        match names.len() {
            // A value to range over, or to show.
            0 | 1 => Ok((Vec::new(), false)),
            _ => Err(format!("behind {} there is no :=", names.join(", "))),
        }
    }

    fn command(&mut self, end: &Token) -> Result<Command, String> {
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
            match self.tokens.front() {
                Some(Token::Space) => self.skip_space(),
                Some(Token::Pipe) => break,
                Some(token) if token == end => break,
                Some(Token::Close) | None => return Err(UNCLOSED.to_owned()),
                Some(_) => return Err("operands are parted by blanks".to_owned()),
            }
        }
        let mut operands = operands.into_iter();
        match operands.next() {
            None => Err("there is nothing to show in {{ }}, or at one side of |".to_owned()),
            Some(first) => Ok(Command {
                first,
                arguments: operands.collect(),
            }),
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let operand = match self.tokens.front().cloned() {
            Some(Token::Dot) => {
                self.tokens.pop_front();
                Operand::Dot
            }
            Some(Token::Literal(value)) => {
                self.tokens.pop_front();
                Operand::Literal(value)
            }
            Some(Token::Field(_)) => return Ok(Some(Operand::Field(self.path()))),
            Some(Token::Variable(name)) => {
                self.known(&name)?;
                self.tokens.pop_front();
                return Ok(Some(Operand::Variable(name, self.path())));
            }
            Some(Token::Word(word)) => {
                self.tokens.pop_front();
                match word.as_str() {
                    "nil" => Operand::Nil,
                    "true" => Operand::Literal(true.into()),
                    "false" => Operand::Literal(false.into()),
                    name if functions::NAMES.contains(&name) => Operand::Function(word),
                    name => {
                        return Err(format!(
                            "there is no function {name}: the functions are {}; fields begin with a dot, such as .{name}",
                            functions::NAMES.join(", ")
                        ));
                    }
                }
            }
            Some(Token::LeftParenthesis) => {
                self.tokens.pop_front();
                self.deeper()?;
                let pipeline = self.pipeline(false, &Token::RightParenthesis)?;
                self.depth -= 1;
                return Ok(Some(Operand::Parenthesized(
                    Box::new(pipeline),
                    self.path(),
                )));
            }
            _ => return Ok(None),
        };
        match (self.tokens.front(), &operand) {
            (Some(Token::Field(name)), Operand::Function(function)) => Err(format!(
                "{function} and what it takes are parted by a blank: write {{{{{function} .{name}}}}}"
            )),
            (Some(Token::Field(name)), _) => {
                Err(format!("only fields, variables and (…) have a .{name}"))
            }
            _ => Ok(Some(operand)),
        }
    }

    /// Reads the fields that follow each other.
    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Token::Field(name)) = self.tokens.front() {
            path.push(name.clone());
            self.tokens.pop_front();
        }
        path
    }

    fn known(&self, name: &str) -> Result<(), String> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(format!(
            "there is no variable {name}: write {{{{{name} := …}}}} before it"
        ))
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("blocks and parentheses lie more than {DEPTH} deep"));
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        while self.tokens.front() == Some(&Token::Space) {
            self.tokens.pop_front();
        }
    }

    /// Reads the end of an action that has nothing more in it.
    fn close(&mut self, keyword: &str) -> Result<(), String> {
        self.skip_space();
        match self.tokens.pop_front() {
            Some(Token::Close) => Ok(()),
            _ => Err(format!("{{{{{keyword}}}}} stands alone")),
        }
    }
}

const UNCLOSED: &str = "a ( has no closing ), or a ) no opening (";

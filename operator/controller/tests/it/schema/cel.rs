//! As much of CEL as the rules of Stack use. What it does not know it says, and the test fails: a rule is never taken to hold.

use std::collections::BTreeMap;

use serde_json::{Value, json};

type Outcome = Result<Value, String>;

/// Whether a rule holds for a value.
pub(super) fn holds(rule: &str, this: &Value, old: &Value) -> Result<bool, String> {
    let names = [("self".to_owned(), this.clone()), ("oldSelf".to_owned(), old.clone())].into();
    let mut parser = Parser { tokens: tokens(rule)?, at: 0 };
    let tree = parser.choice()?;
    if parser.at < parser.tokens.len() {
        return Err(format!("what is {:?}?", &parser.tokens[parser.at..]));
    }
    eval(&tree, &names)?.as_bool().ok_or_else(|| "it is neither true nor false".to_owned())
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Literal(Value),
    Mark(&'static str),
}

#[derive(Clone, Debug)]
enum Tree {
    Literal(Value),
    Name(String),
    List(Vec<Tree>),
    Field(Box<Tree>, String),
    Index(Box<Tree>, Box<Tree>),
    Call(Option<Box<Tree>>, String, Vec<Tree>),
    Not(Box<Tree>),
    Choice(Box<[Tree; 3]>),
    Pair(&'static str, Box<[Tree; 2]>),
}

const MARKS: [&str; 23] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ".", ",", "?", ":", "+", "-", "*",
    "/", "%", "in",
];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut rest, mut found) = (text.trim_start(), Vec::new());
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' || first == '\'' {
            let end = quoted(rest, first).ok_or_else(|| format!("no end: {rest}"))?;
            found.push(Token::Literal(unescaped(&rest[1..end]).into()));
            end + 1
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            found.push(Token::Literal(rest[..end].parse::<i64>().map_err(|error| error.to_string())?.into()));
            end
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(match &rest[..end] {
                "true" => Token::Literal(true.into()),
                "false" => Token::Literal(false.into()),
                "null" => Token::Literal(Value::Null),
                "in" => Token::Mark("in"),
                name => Token::Name(name.to_owned()),
            });
            end
        } else {
            let mark = MARKS.iter().find(|mark| rest.starts_with(**mark));
            let mark = mark.ok_or_else(|| format!("what is {rest}?"))?;
            found.push(Token::Mark(mark));
            mark.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(index),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

/// From what binds least to what binds most.
const LEVELS: [&[&str]; 5] =
    [&["||"], &["&&"], &["==", "!=", "<=", ">=", "<", ">", "in"], &["+", "-"], &["*", "/", "%"]];

impl Parser {
    fn takes(&mut self, mark: &'static str) -> bool {
        let found = self.tokens.get(self.at) == Some(&Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    fn wants(&mut self, mark: &'static str) -> Result<(), String> {
        if self.takes(mark) { Ok(()) } else { Err(format!("no {mark} at {:?}", self.tokens.get(self.at))) }
    }

    fn choice(&mut self) -> Result<Tree, String> {
        let first = self.pair(0)?;
        if !self.takes("?") {
            return Ok(first);
        }
        let yes = self.choice()?;
        self.wants(":")?;
        Ok(Tree::Choice(Box::new([first, yes, self.choice()?])))
    }

    fn pair(&mut self, level: usize) -> Result<Tree, String> {
        let Some(marks) = LEVELS.get(level) else { return self.not() };
        let mut left = self.pair(level + 1)?;
        while let Some(mark) = marks.iter().find(|mark| self.takes(mark)) {
            left = Tree::Pair(mark, Box::new([left, self.pair(level + 1)?]));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Tree, String> {
        if self.takes("!") { Ok(Tree::Not(Box::new(self.not()?))) } else { self.member() }
    }

    fn member(&mut self) -> Result<Tree, String> {
        let mut tree = self.primary()?;
        loop {
            if self.takes(".") {
                let name = self.name()?;
                tree = if self.takes("(") {
                    Tree::Call(Some(Box::new(tree)), name, self.list(")")?)
                } else {
                    Tree::Field(Box::new(tree), name)
                };
            } else if self.takes("[") {
                let index = self.choice()?;
                self.wants("]")?;
                tree = Tree::Index(Box::new(tree), Box::new(index));
            } else {
                return Ok(tree);
            }
        }
    }

    fn primary(&mut self) -> Result<Tree, String> {
        if self.takes("(") {
            let inner = self.choice()?;
            self.wants(")")?;
            return Ok(inner);
        }
        if self.takes("[") {
            return Ok(Tree::List(self.list("]")?));
        }
        if let Some(Token::Literal(value)) = self.tokens.get(self.at).cloned() {
            self.at += 1;
            return Ok(Tree::Literal(value));
        }
        let name = self.name()?;
        if self.takes("(") {
            return Ok(Tree::Call(None, name, self.list(")")?));
        }
        Ok(Tree::Name(name))
    }

    fn name(&mut self) -> Result<String, String> {
        let found = self.tokens.get(self.at).cloned();
        self.at += 1;
        match found {
            Some(Token::Name(name)) => Ok(name),
            other => Err(format!("no name: {other:?}")),
        }
    }

    fn list(&mut self, end: &'static str) -> Result<Vec<Tree>, String> {
        let mut items = Vec::new();
        while !self.takes(end) {
            items.push(self.choice()?);
            if !self.takes(",") {
                self.wants(end)?;
                break;
            }
        }
        Ok(items)
    }
}

type Names = BTreeMap<String, Value>;

fn eval(tree: &Tree, names: &Names) -> Outcome {
    match tree {
        Tree::Literal(value) => Ok(value.clone()),
        Tree::Name(name) => names.get(name).cloned().ok_or_else(|| format!("who is {name}?")),
        Tree::List(items) => items.iter().map(|item| eval(item, names)).collect(),
        Tree::Field(of, name) => field(&eval(of, names)?, name),
        Tree::Index(of, index) => {
            let (of, index) = (eval(of, names)?, eval(index, names)?);
            let found = match (&index, index.as_u64()) {
                (Value::String(key), _) => of.get(key),
                (_, Some(index)) => of.get(usize::try_from(index).unwrap_or(usize::MAX)),
                _ => None,
            };
            found.cloned().ok_or_else(|| format!("no such key: {index}"))
        }
        Tree::Not(inner) => Ok((!truth(&eval(inner, names)?)?).into()),
        Tree::Choice(parts) => {
            let [which, yes, no] = parts.as_ref();
            eval(if truth(&eval(which, names)?)? { yes } else { no }, names)
        }
        Tree::Pair(mark, sides) => pair(mark, sides, names),
        Tree::Call(of, name, arguments) => call(of.as_deref(), name, arguments, names),
    }
}

fn field(of: &Value, name: &str) -> Outcome {
    of.get(name).filter(|found| !found.is_null()).cloned().ok_or_else(|| format!("no such key: {name}"))
}

fn truth(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{value} is neither true nor false"))
}

fn pair(mark: &str, sides: &[Tree; 2], names: &Names) -> Outcome {
    let [left, right] = sides;
    // One side that decides makes up for an error of the other.
    if let ("&&" | "||", decides) = (mark, mark == "||") {
        let (left, right) = (eval(left, names), eval(right, names));
        let decided = [&left, &right].into_iter().flatten().any(|side| *side == Value::Bool(decides));
        return if decided { Ok(decides.into()) } else { truth(&left?).and(truth(&right?)).map(Value::from) };
    }
    let (left, right) = (eval(left, names)?, eval(right, names)?);
    let number = |value: &Value| value.as_f64().ok_or_else(|| format!("{value} is no number"));
    Ok(match mark {
        "==" => (left == right).into(),
        "!=" => (left != right).into(),
        "in" => match &right {
            Value::Array(items) => items.contains(&left).into(),
            Value::Object(fields) => left.as_str().is_some_and(|key| fields.contains_key(key)).into(),
            other => return Err(format!("nothing is in {other}")),
        },
        "<" => (number(&left)? < number(&right)?).into(),
        ">" => (number(&left)? > number(&right)?).into(),
        "<=" => (number(&left)? <= number(&right)?).into(),
        ">=" => (number(&left)? >= number(&right)?).into(),
        "+" => match (&left, &right) {
            (Value::String(one), Value::String(other)) => format!("{one}{other}").into(),
            (Value::Array(one), Value::Array(other)) => one.iter().chain(other).cloned().collect(),
            _ => ((number(&left)? + number(&right)?) as i64).into(),
        },
        "-" => ((number(&left)? - number(&right)?) as i64).into(),
        other => return Err(format!("{other} is not known here")),
    })
}

fn call(of: Option<&Tree>, name: &str, arguments: &[Tree], names: &Names) -> Outcome {
    match (of, name, arguments) {
        (None, "has", [Tree::Field(of, name)]) => Ok(field(&eval(of, names)?, name).is_ok().into()),
        (None, "size", [of]) | (Some(of), "size", []) => Ok(size(&eval(of, names)?)?.into()),
        (None, "int" | "string", [of]) => eval(of, names),
        (Some(of), "all" | "exists" | "exists_one" | "filter" | "map", [Tree::Name(each), body]) => {
            each_of(&eval(of, names)?, name, each, body, names)
        }
        (Some(of), _, [argument]) => {
            let (of, argument) = (eval(of, names)?, eval(argument, names)?);
            let (Some(of), Some(argument)) = (of.as_str(), argument.as_str()) else {
                return Err(format!("{name} wants texts"));
            };
            Ok(match name {
                "startsWith" => of.starts_with(argument).into(),
                "endsWith" => of.ends_with(argument).into(),
                "contains" => of.contains(argument).into(),
                "split" => of.split(argument).map(Value::from).collect(),
                "matches" => {
                    super::check::fits(&json!({ "type": "string", "pattern": argument }), &of.into()).into()
                }
                other => return Err(format!("{other} is not known here")),
            })
        }
        _ => Err(format!("{name} is not known here")),
    }
}

fn size(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.chars().count()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(fields) => Ok(fields.len()),
        other => Err(format!("{other} has no size")),
    }
}

fn each_of(of: &Value, name: &str, each: &str, body: &Tree, names: &Names) -> Outcome {
    let items: Vec<Value> = match of {
        Value::Array(items) => items.clone(),
        Value::Object(fields) => fields.keys().map(|key| key.as_str().into()).collect(),
        other => return Err(format!("{other} has no items")),
    };
    let result = |item: &Value| {
        let mut names = names.clone();
        names.insert(each.to_owned(), item.clone());
        eval(body, &names)
    };
    let results = items.iter().map(result).collect::<Result<Vec<_>, _>>()?;
    if name == "map" {
        return Ok(results.into());
    }
    let truths = results.iter().map(truth).collect::<Result<Vec<_>, _>>()?;
    Ok(match name {
        "all" => truths.iter().all(|truth| *truth).into(),
        "exists" => truths.iter().any(|truth| *truth).into(),
        "exists_one" => (truths.iter().filter(|truth| **truth).count() == 1).into(),
        _ => items.into_iter().zip(truths).filter(|(_, truth)| *truth).map(|(item, _)| item).collect(),
    })
}

#[test]
fn rules_are_read_as_cel_reads_them() {
    let this = json!({ "a": 1, "list": ["x", "y"], "named": [{ "name": "one" }, { "name": "two" }] });
    for (rule, expected) in [
        ("has(self.a) != has(self.b)", true),
        ("!(has(self.b) && self.b == 2) || self.a > 3", true),
        ("self.a in [1, 2] ? size(self.list) == 2 : false", true),
        ("self.list.all(one, one.matches('^[xy]$')) && !self.list.exists(one, one == 'z')", true),
        ("self.named.map(one, one.name) == ['one', 'two']", true),
        ("self.named.filter(one, one.name.startsWith('t')).size() == 2", false),
        ("self.a == oldSelf", false),
        ("self.list[0] in 'a/x'.split('/') && 'a/x'.split('/')[1] == 'x'", true),
    ] {
        assert_eq!(holds(rule, &this, &json!(2)), Ok(expected), "{rule}");
    }
    assert!(holds("self.a.isSorted()", &this, &Value::Null).is_err());
    assert!(holds("self.b == 1", &this, &Value::Null).is_err());
}

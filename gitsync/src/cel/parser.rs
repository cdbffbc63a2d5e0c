//! From tokens to a tree. What may be called, and with how much, is settled here.

use serde_json::Value;

use super::Problem;
use super::functions::{Function, known, pattern};
use super::lexer::{Token, tokens};

/// How deep an expression may be nested.
const MOST_NESTED: usize = 64;
/// How deep parentheses and the like may be nested: each of them costs several frames of the stack.
const MOST_BRACKETS: usize = 24;
/// Regular expressions cost most of all to read.
const MOST_PATTERNS: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) expr: Expr,
    /// How deep it is nested.
    height: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// What is asked of each item of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    /// A scalar.
    Literal(Value),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Name(String),
    Field(Box<Node>, String, Missing),
    Index(Box<[Node; 2]>, Missing),
    Has(Box<Node>, String),
    Not(Box<Node>),
    Negate(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Choose(Box<[Node; 3]>),
    Binary(Operator, Box<[Node; 2]>),
    Call(Function, Vec<Node>),
    Each(Box<Loop>),
}

/// What becomes of a field that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Wrong,
    /// `.?` and `[?`: nothing.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) each: Each,
    pub(super) range: Node,
    pub(super) variable: String,
    /// The condition; for `map` what the items become.
    pub(super) body: Node,
    /// `map` with three arguments has a condition before that.
    pub(super) when: Option<Node>,
}

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        brackets: 0,
        patterns: 0,
    };
    let node = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(node),
        other => Err(parser.wrong(format!(
            "{} is too much: the expression ends before it",
            words(other)
        ))),
    }
}

fn words(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("`{name}`"),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::Int(_) | Token::Double(_) => "the number".to_owned(),
        Token::Text(_) => "the text".to_owned(),
        Token::End => "the end".to_owned(),
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    brackets: usize,
    patterns: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(token, _)| token)
    }

    fn wrong(&self, message: impl Into<String>) -> Problem {
        self.wrong_at(self.next, message)
    }

    fn wrong_at(&self, index: usize, message: impl Into<String>) -> Problem {
        let place = self.tokens.get(index).or(self.tokens.last());
        Problem {
            at: place.map_or(1, |(_, place)| *place),
            message: message.into(),
        }
    }

    fn eat(&mut self, sign: &'static str) -> bool {
        let there = *self.peek() == Token::Sign(sign);
        self.next += usize::from(there);
        there
    }

    fn eat_name(&mut self, name: &str) -> bool {
        let there = matches!(self.peek(), Token::Name(word) if word == name);
        self.next += usize::from(there);
        there
    }

    fn need(&mut self, sign: &'static str) -> Result<(), Problem> {
        if self.eat(sign) {
            return Ok(());
        }
        Err(self.wrong(format!("`{sign}` is missing before {}", words(self.peek()))))
    }

    fn name(&mut self) -> Result<String, Problem> {
        let Token::Name(name) = self.peek().clone() else {
            return Err(self.wrong(format!("a name is missing before {}", words(self.peek()))));
        };
        self.next += 1;
        Ok(name)
    }

    /// A node above others.
    fn node(&self, expr: Expr, below: usize) -> Result<Node, Problem> {
        let height = below + 1;
        if height > MOST_NESTED {
            return Err(self.wrong(format!("is nested deeper than {MOST_NESTED}: split it")));
        }
        Ok(Node { expr, height })
    }

    fn leaf(expr: Expr) -> Node {
        Node { expr, height: 1 }
    }

    fn expression(&mut self) -> Result<Node, Problem> {
        self.brackets += 1;
        if self.brackets > MOST_BRACKETS {
            return Err(self.wrong(format!(
                "is nested deeper than {MOST_BRACKETS} brackets: split it"
            )));
        }
        let condition = self.any()?;
        let node = if self.eat("?") {
            let yes = self.expression()?;
            self.need(":")?;
            let no = self.expression()?;
            let below = condition.height.max(yes.height).max(no.height);
            self.node(Expr::Choose(Box::new([condition, yes, no])), below)?
        } else {
            condition
        };
        self.brackets -= 1;
        Ok(node)
    }

    fn any(&mut self) -> Result<Node, Problem> {
        let first = self.all()?;
        let mut terms = vec![first];
        while self.eat("||") {
            terms.push(self.all()?);
        }
        self.joined(terms, Expr::Any)
    }

    fn all(&mut self) -> Result<Node, Problem> {
        let first = self.binary(0)?;
        let mut terms = vec![first];
        while self.eat("&&") {
            terms.push(self.binary(0)?);
        }
        self.joined(terms, Expr::All)
    }

    fn joined(&self, mut terms: Vec<Node>, join: fn(Vec<Node>) -> Expr) -> Result<Node, Problem> {
        match terms.pop() {
            Some(only) if terms.is_empty() => Ok(only),
            last => {
                terms.extend(last);
                let below = highest(&terms);
                self.node(join(terms), below)
            }
        }
    }

    /// Comparisons, sums and products, which bind tighter in this order.
    fn binary(&mut self, level: usize) -> Result<Node, Problem> {
        if level > 2 {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(level) {
            let right = self.binary(level + 1)?;
            let below = left.height.max(right.height);
            left = self.node(Expr::Binary(operator, Box::new([left, right])), below)?;
        }
        Ok(left)
    }

    fn operator(&mut self, level: usize) -> Option<Operator> {
        if level == 0 && self.eat_name("in") {
            return Some(Operator::In);
        }
        let of_level: &[(&'static str, Operator)] = match level {
            0 => &[
                ("==", Operator::Equal),
                ("!=", Operator::Unequal),
                ("<=", Operator::LessOrEqual),
                (">=", Operator::GreaterOrEqual),
                ("<", Operator::Less),
                (">", Operator::Greater),
            ],
            1 => &[("+", Operator::Add), ("-", Operator::Subtract)],
            _ => &[
                ("*", Operator::Multiply),
                ("/", Operator::Divide),
                ("%", Operator::Remainder),
            ],
        };
        let found = of_level.iter().find(|(sign, _)| self.eat(sign));
        found.map(|(_, operator)| *operator)
    }

    fn unary(&mut self) -> Result<Node, Problem> {
        let mut signs: Vec<fn(Box<Node>) -> Expr> = Vec::new();
        loop {
            if self.eat("!") {
                signs.push(Expr::Not);
            } else if self.eat("-") {
                signs.push(Expr::Negate);
            } else {
                break;
            }
        }
        let mut node = self.member()?;
        for sign in signs.into_iter().rev() {
            let below = node.height;
            node = self.node(sign(Box::new(node)), below)?;
        }
        Ok(node)
    }

    fn member(&mut self) -> Result<Node, Problem> {
        let mut node = self.primary()?;
        loop {
            let below = node.height;
            node = if self.eat(".") {
                let place = self.next;
                let name = self.name()?;
                if self.eat("(") {
                    self.method(node, &name, place)?
                } else {
                    self.node(Expr::Field(Box::new(node), name, Missing::Wrong), below)?
                }
            } else if self.eat(".?") {
                let name = self.name()?;
                self.node(Expr::Field(Box::new(node), name, Missing::Nothing), below)?
            } else if self.eat("[?") {
                self.index(node, Missing::Nothing)?
            } else if self.eat("[") {
                self.index(node, Missing::Wrong)?
            } else {
                return Ok(node);
            }
        }
    }

    fn index(&mut self, of: Node, missing: Missing) -> Result<Node, Problem> {
        let key = self.expression()?;
        self.need("]")?;
        let below = of.height.max(key.height);
        self.node(Expr::Index(Box::new([of, key]), missing), below)
    }

    /// Expressions with commas between, up to a sign.
    fn list(&mut self, end: &'static str) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(self.expression()?);
            if !self.eat(",") {
                self.need(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Node, Problem> {
        let place = self.next;
        if self.eat("(") {
            let node = self.expression()?;
            self.need(")")?;
            return Ok(node);
        }
        if self.eat("[") {
            let items = self.list("]")?;
            let below = highest(&items);
            return self.node(Expr::List(items), below);
        }
        if self.eat("{") {
            return self.map();
        }
        let literal = match self.peek().clone() {
            Token::Int(value) => Value::from(value),
            Token::Double(value) => Value::from(value),
            Token::Text(value) => Value::from(value),
            Token::Name(name) => match name.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                "in" => return Err(self.wrong("a value is missing before `in`")),
                _ => {
                    self.next += 1;
                    if self.eat("(") {
                        return self.function(&name, place);
                    }
                    return Ok(Self::leaf(Expr::Name(name)));
                }
            },
            other => return Err(self.wrong(format!("a value is missing before {}", words(&other)))),
        };
        self.next += 1;
        Ok(Self::leaf(Expr::Literal(literal)))
    }

    fn map(&mut self) -> Result<Node, Problem> {
        let mut entries = Vec::new();
        let mut below = 0;
        while !self.eat("}") {
            let key = self.expression()?;
            self.need(":")?;
            let value = self.expression()?;
            below = below.max(key.height).max(value.height);
            entries.push((key, value));
            if !self.eat(",") {
                self.need("}")?;
                break;
            }
        }
        self.node(Expr::Map(entries), below)
    }

    fn function(&mut self, name: &str, place: usize) -> Result<Node, Problem> {
        let mut args = self.list(")")?;
        if name != "has" {
            return self.call(name, false, args, place);
        }
        match (args.pop(), args.is_empty()) {
            (
                Some(Node {
                    expr: Expr::Field(of, field, Missing::Wrong),
                    ..
                }),
                true,
            ) => {
                let below = of.height;
                self.node(Expr::Has(of, field), below)
            }
            _ => Err(self.wrong_at(
                place,
                "has() asks for a field of something: write it as has(status.phase)",
            )),
        }
    }

    fn method(&mut self, of: Node, name: &str, place: usize) -> Result<Node, Problem> {
        let mut args = self.list(")")?;
        let each = match (name, args.len()) {
            ("all", 2) => Each::All,
            ("exists", 2) => Each::Exists,
            ("exists_one" | "existsOne", 2) => Each::ExistsOne,
            ("filter", 2) => Each::Filter,
            ("map", 2 | 3) => Each::Map,
            ("all" | "exists" | "exists_one" | "existsOne" | "filter" | "map", _) => {
                let message = format!(
                    "{name}() takes a name and a question: write it as {name}(c, c.status == \"True\")"
                );
                return Err(self.wrong_at(place, message));
            }
            _ => {
                args.insert(0, of);
                return self.call(name, true, args, place);
            }
        };
        let when = (args.len() == 3).then(|| args.remove(1));
        let (Some(body), Some(Expr::Name(variable))) = (args.pop(), args.pop().map(|name| name.expr)) else {
            let message = format!(
                "{name}() begins with a name for the items: write it as {name}(c, c.status == \"True\")"
            );
            return Err(self.wrong_at(place, message));
        };
        let below = of
            .height
            .max(body.height)
            .max(when.as_ref().map_or(0, |when| when.height));
        let each = Loop {
            each,
            range: of,
            variable,
            body,
            when,
        };
        self.node(Expr::Each(Box::new(each)), below)
    }

    fn call(&mut self, name: &str, method: bool, args: Vec<Node>, place: usize) -> Result<Node, Problem> {
        let Some(function) = Function::find(name, method, args.len()) else {
            let message = format!("{name}() is not known like this: there are {}", known());
            return Err(self.wrong_at(place, message));
        };
        if function == Function::Matches {
            self.patterns += 1;
            if self.patterns > MOST_PATTERNS {
                let message =
                    format!("there are more than {MOST_PATTERNS} matches(): use startsWith() or contains()");
                return Err(self.wrong_at(place, message));
            }
            let Some(Expr::Literal(Value::String(text))) = args.get(1).map(|arg| &arg.expr) else {
                return Err(self.wrong_at(place, "the pattern of matches() has to be a text in quotes"));
            };
            pattern(text).map_err(|problem| self.wrong_at(place, problem))?;
        }
        let below = highest(&args);
        self.node(Expr::Call(function, args), below)
    }
}

fn highest(nodes: &[Node]) -> usize {
    nodes.iter().map(|node| node.height).max().unwrap_or(0)
}

//! From tokens to a tree: a Pratt parser with limits on depth and on the number of nodes.

use std::sync::Arc;

use super::ast::{BinaryOp, Call, CompareOp, Conditional, Name, Node, Pointer, Post, Step, UnaryOp, binding};
use super::lexer::{Spanned, Token, tokens};
use super::{CompileError, MAX_DEPTH, MAX_NODES, goregex};

/// Builtins whose second argument is a predicate, and how many arguments come before it must be there.
const PREDICATES: [(&str, &[Arg]); 15] = [
    ("all", &[Arg::Value, Arg::Predicate]),
    ("none", &[Arg::Value, Arg::Predicate]),
    ("any", &[Arg::Value, Arg::Predicate]),
    ("one", &[Arg::Value, Arg::Predicate]),
    ("filter", &[Arg::Value, Arg::Predicate]),
    ("map", &[Arg::Value, Arg::Predicate]),
    ("count", &[Arg::Value, Arg::OptionalPredicate]),
    ("sum", &[Arg::Value, Arg::OptionalPredicate]),
    ("find", &[Arg::Value, Arg::Predicate]),
    ("findIndex", &[Arg::Value, Arg::Predicate]),
    ("findLast", &[Arg::Value, Arg::Predicate]),
    ("findLastIndex", &[Arg::Value, Arg::Predicate]),
    ("groupBy", &[Arg::Value, Arg::Predicate]),
    ("sortBy", &[Arg::Value, Arg::Predicate, Arg::OptionalValue]),
    ("reduce", &[Arg::Value, Arg::Predicate, Arg::OptionalValue]),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Arg {
    Value,
    Predicate,
    OptionalValue,
    OptionalPredicate,
}

/// Whether the second argument of this builtin is a predicate.
pub(super) fn takes_predicate(name: &str) -> bool {
    PREDICATES.iter().any(|(predicate, _)| *predicate == name)
}

pub(super) fn parse(source: &str) -> Result<Node, CompileError> {
    let mut parser = Parser {
        source,
        tokens: tokens(source)?,
        next: 0,
        depth: 0,
        nodes: 0,
        predicates: 0,
    };
    let node = parser.sequence()?;
    if *parser.token() != Token::End {
        return Err(parser.unexpected());
    }
    Ok(node)
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Spanned>,
    next: usize,
    depth: usize,
    nodes: usize,
    /// How many predicates the parser is in; `#` has a meaning only there.
    predicates: usize,
}

impl Parser<'_> {
    fn token(&self) -> &Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |spanned| &spanned.token)
    }

    fn at(&self) -> u32 {
        self.tokens
            .get(self.next)
            .map_or(self.source.len() as u32, |spanned| spanned.at)
    }

    fn advance(&mut self) {
        self.next += 1;
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, CompileError> {
        Err(CompileError::at(self.source, self.at() as usize, message))
    }

    fn unexpected(&self) -> CompileError {
        CompileError::at(
            self.source,
            self.at() as usize,
            format!("unexpected token {}", self.token()),
        )
    }

    fn operator(&self) -> Option<&'static str> {
        match self.token() {
            Token::Operator(operator) => Some(operator),
            _ => None,
        }
    }

    fn is_operator(&self, operator: &str) -> bool {
        self.operator() == Some(operator)
    }

    fn is_bracket(&self, bracket: char) -> bool {
        *self.token() == Token::Bracket(bracket)
    }

    fn expect_operator(&mut self, operator: &str) -> Result<(), CompileError> {
        if !self.is_operator(operator) {
            return Err(self.unexpected());
        }
        self.advance();
        Ok(())
    }

    fn expect_bracket(&mut self, bracket: char) -> Result<(), CompileError> {
        if !self.is_bracket(bracket) {
            return Err(self.unexpected());
        }
        self.advance();
        Ok(())
    }

    fn expect_name(&mut self) -> Result<Name, CompileError> {
        let Token::Identifier(text) = self.token() else {
            return Err(self.unexpected());
        };
        let name = Name {
            text: Arc::from(text.as_str()),
            at: self.at(),
        };
        self.advance();
        Ok(name)
    }

    /// Counts a node against the limit.
    fn count(&mut self) -> Result<(), CompileError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.error("compilation failed: expression exceeds maximum allowed nodes");
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<Node, CompileError> {
        let first = self.expression(0)?;
        if !self.is_operator(";") {
            return Ok(first);
        }
        let mut nodes = vec![first];
        while self.is_operator(";") {
            self.advance();
            if *self.token() == Token::End {
                break;
            }
            nodes.push(self.expression(0)?);
        }
        Ok(Node::Sequence(nodes))
    }

    /// Every way in which an expression can nest goes through here, hence the one check of the depth.
    fn expression(&mut self, precedence: u16) -> Result<Node, CompileError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.error(format!(
                "expression is nested too deeply: at most {MAX_DEPTH} levels are allowed"
            ));
        }
        let node = match self.operator() {
            Some("let") if precedence == 0 => self.variable(),
            Some("if") if precedence == 0 => self.conditional_if(),
            _ => self.binary(precedence),
        };
        self.depth -= 1;
        node
    }

    fn variable(&mut self) -> Result<Node, CompileError> {
        self.advance();
        let name = self.expect_name()?;
        self.expect_operator("=")?;
        let value = self.expression(0)?;
        self.expect_operator(";")?;
        let body = self.sequence()?;
        self.count()?;
        Ok(Node::Let(name, Box::new(value), Box::new(body)))
    }

    fn conditional_if(&mut self) -> Result<Node, CompileError> {
        let at = self.at();
        self.advance();
        let test = self.expression(0)?;
        let yes = self.block()?;
        self.expect_operator("else")?;
        let no = if self.is_operator("if") {
            self.expression(0)?
        } else {
            self.block()?
        };
        self.count()?;
        Ok(Node::Conditional(Box::new(Conditional { test, yes, no, at })))
    }

    fn block(&mut self) -> Result<Node, CompileError> {
        self.expect_bracket('{')?;
        let node = self.sequence()?;
        self.expect_bracket('}')?;
        Ok(node)
    }

    fn binary(&mut self, precedence: u16) -> Result<Node, CompileError> {
        let first = self.primary()?;
        let mut steps = Vec::new();
        let mut previous = "";
        while let Some(mut operator) = self.operator() {
            let start = self.next;
            let negate = operator == "not";
            if negate {
                self.advance();
                operator = match self.operator() {
                    Some(op @ ("contains" | "matches" | "startsWith" | "endsWith" | "in")) => op,
                    _ => return Err(self.unexpected()),
                };
            }
            let Some((strength, right_associative)) = binding(operator).filter(|b| b.0 >= precedence) else {
                self.next = start;
                break;
            };
            let at = self.at();
            self.advance();
            self.count()?;
            if operator == "|" {
                let name = self.expect_name()?;
                steps.push(Step::Pipe(self.call(name, false, 1)?));
            } else if previous == "??" && operator != "??" {
                return self.error(format!(
                    "Operator ({operator}) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses."
                ));
            } else if let Some(op) = CompareOp::parse(operator) {
                steps.push(self.comparison(op, at, strength)?);
            } else if let Some(op) = BinaryOp::parse(operator) {
                let right = self.expression(if right_associative { strength } else { strength + 1 })?;
                let regex = match (&right, op) {
                    (Node::Str(pattern), BinaryOp::Matches) => Some(
                        goregex::compile(pattern)
                            .map_err(|error| CompileError::at(self.source, at as usize, error.to_string()))?,
                    ),
                    _ => None,
                };
                steps.push(Step::Binary {
                    op,
                    negate,
                    right,
                    regex,
                    at,
                });
            } else {
                return Err(self.unexpected());
            }
            previous = operator;
        }
        let node = if steps.is_empty() {
            first
        } else {
            Node::Fold(Box::new(first), steps)
        };
        if precedence == 0 {
            self.conditional(node)
        } else {
            Ok(node)
        }
    }

    fn comparison(&mut self, op: CompareOp, at: u32, strength: u16) -> Result<Step, CompileError> {
        let mut pairs = vec![(op, self.expression(strength + 1)?, at)];
        while let Some(op) = self.operator().and_then(CompareOp::parse) {
            let at = self.at();
            self.advance();
            self.count()?;
            pairs.push((op, self.expression(strength + 1)?, at));
        }
        Ok(Step::Compare(pairs))
    }

    fn conditional(&mut self, test: Node) -> Result<Node, CompileError> {
        if !self.is_operator("?") {
            return Ok(test);
        }
        let at = self.at();
        self.advance();
        self.count()?;
        if self.is_operator(":") {
            // `a ?: b`: the value of `a` itself when it is true
            self.advance();
            let no = self.expression(0)?;
            return Ok(Node::Conditional(Box::new(Conditional {
                test,
                yes: Node::Bool(true),
                no,
                at,
            })));
        }
        let yes = self.expression(0)?;
        self.expect_operator(":")?;
        let no = self.expression(0)?;
        Ok(Node::Conditional(Box::new(Conditional { test, yes, no, at })))
    }

    fn primary(&mut self) -> Result<Node, CompileError> {
        self.count()?;
        let at = self.at();
        match self.operator() {
            Some(operator @ ("not" | "!" | "-" | "+")) => {
                let (op, strength) = match operator {
                    "not" => (UnaryOp::Not("not"), 50),
                    "!" => (UnaryOp::Not("!"), 50),
                    "-" => (UnaryOp::Minus, 90),
                    _ => (UnaryOp::Plus, 90),
                };
                self.advance();
                let operand = self.expression(strength)?;
                self.postfix(Node::Unary(op, Box::new(operand), at))
            }
            Some("#" | ".") if self.predicates > 0 => {
                let pointer = self.pointer();
                self.postfix(Node::Pointer(pointer))
            }
            Some("::") => {
                self.advance();
                let name = self.expect_name()?;
                let call = self.call(name, true, 0)?;
                self.postfix(Node::Call(call))
            }
            Some(_) => Err(self.unexpected()),
            None if self.is_bracket('(') => {
                self.advance();
                let node = self.sequence()?;
                self.expect_bracket(')')?;
                self.postfix(node)
            }
            None => self.secondary(),
        }
    }

    /// `#`, `#index`, `#acc`, or nothing before a `.field`.
    fn pointer(&mut self) -> Pointer {
        if self.is_operator(".") {
            return Pointer::Item;
        }
        let hash = self.at();
        self.advance();
        match self.token() {
            Token::Identifier(text) if self.at() == hash + 1 => {
                let pointer = match text.as_str() {
                    "index" => Pointer::Index,
                    "acc" => Pointer::Acc,
                    other => Pointer::Unknown(Name {
                        text: Arc::from(other),
                        at: hash,
                    }),
                };
                self.advance();
                pointer
            }
            _ => Pointer::Item,
        }
    }

    fn secondary(&mut self) -> Result<Node, CompileError> {
        let node = match self.token().clone() {
            Token::Identifier(text) => {
                let name = Name {
                    text: Arc::from(text.as_str()),
                    at: self.at(),
                };
                self.advance();
                match text.as_str() {
                    "true" => return Ok(Node::Bool(true)),
                    "false" => return Ok(Node::Bool(false)),
                    "nil" => return Ok(Node::Nil),
                    _ if self.is_bracket('(') => Node::Call(self.call(name, false, 0)?),
                    _ => Node::Name(name),
                }
            }
            Token::Number(text) => {
                let node = self.number(&text)?;
                self.advance();
                return Ok(node);
            }
            Token::Str(text) => {
                self.advance();
                Node::Str(Arc::from(text))
            }
            Token::Bytes(bytes) => {
                self.advance();
                Node::Bytes(Arc::from(bytes))
            }
            Token::Bracket('[') => Node::Array(self.array()?),
            Token::Bracket('{') => Node::Map(self.map()?),
            _ => return Err(self.unexpected()),
        };
        self.postfix(node)
    }

    fn number(&self, text: &str) -> Result<Node, CompileError> {
        let plain: String = text.chars().filter(|c| *c != '_').collect();
        let lower = plain.to_ascii_lowercase();
        for (prefix, radix, what) in [("0x", 16, "hex"), ("0b", 2, "binary"), ("0o", 8, "octal")] {
            if let Some(digits) = lower.strip_prefix(prefix) {
                return match i64::from_str_radix(digits, radix) {
                    Ok(number) => Ok(Node::Int(number)),
                    Err(_) => self.error(format!("invalid {what} literal: {text}")),
                };
            }
        }
        if lower.contains(['.', 'e']) {
            return match plain.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Node::Float(number)),
                Ok(_) => self.error(format!(
                    "invalid float literal: strconv.ParseFloat: parsing {plain:?}: value out of range"
                )),
                Err(_) => self.error(format!(
                    "invalid float literal: strconv.ParseFloat: parsing {plain:?}: invalid syntax"
                )),
            };
        }
        match plain.parse::<i64>() {
            Ok(number) => Ok(Node::Int(number)),
            Err(_) => self.error(format!(
                "invalid integer literal: strconv.ParseInt: parsing {plain:?}: value out of range"
            )),
        }
    }

    /// The arguments of a call; `piped` of them were given by a pipe.
    fn call(&mut self, name: Name, builtin: bool, piped: usize) -> Result<Call, CompileError> {
        let predicate = PREDICATES.iter().find(|(predicate, _)| *predicate == &*name.text);
        let Some((_, expected)) = predicate else {
            let args = self.arguments()?;
            return Ok(Call { name, builtin, args });
        };
        self.expect_bracket('(')?;
        let mut args = Vec::new();
        for arg in expected.iter().skip(piped) {
            if self.is_bracket(')') {
                if matches!(arg, Arg::OptionalValue | Arg::OptionalPredicate) {
                    break;
                }
                return self.error(format!("expected at least {} arguments", expected.len() - piped));
            }
            if !args.is_empty() {
                self.expect_operator(",")?;
                if self.is_bracket(')') && matches!(arg, Arg::OptionalValue | Arg::OptionalPredicate) {
                    break;
                }
            }
            args.push(match arg {
                Arg::Value | Arg::OptionalValue => self.expression(0)?,
                Arg::Predicate | Arg::OptionalPredicate => self.predicate()?,
            });
        }
        if self.is_operator(",") {
            self.advance();
        }
        self.expect_bracket(')')?;
        Ok(Call { name, builtin, args })
    }

    fn predicate(&mut self) -> Result<Node, CompileError> {
        self.predicates += 1;
        let node = if self.is_bracket('{') {
            self.block()?
        } else {
            let node = self.expression(0)?;
            if self.is_operator(";") {
                return self.error("wrap predicate with brackets { and }");
            }
            node
        };
        self.predicates -= 1;
        Ok(node)
    }

    fn arguments(&mut self) -> Result<Vec<Node>, CompileError> {
        self.expect_bracket('(')?;
        self.list(')')
    }

    fn array(&mut self) -> Result<Vec<Node>, CompileError> {
        self.expect_bracket('[')?;
        self.list(']')
    }

    /// Expressions with commas between them, up to and with the closing bracket; a last comma is allowed.
    fn list(&mut self, close: char) -> Result<Vec<Node>, CompileError> {
        let mut nodes = Vec::new();
        while !self.is_bracket(close) {
            if !nodes.is_empty() {
                self.expect_operator(",")?;
                if self.is_bracket(close) {
                    break;
                }
            }
            nodes.push(self.expression(0)?);
        }
        self.advance();
        Ok(nodes)
    }

    fn map(&mut self) -> Result<Vec<(Node, Node)>, CompileError> {
        self.expect_bracket('{')?;
        let mut pairs = Vec::new();
        while !self.is_bracket('}') {
            if !pairs.is_empty() {
                self.expect_operator(",")?;
                if self.is_bracket('}') {
                    break;
                }
            }
            let key = match self.token().clone() {
                Token::Number(text) | Token::Str(text) | Token::Identifier(text) => {
                    self.advance();
                    Node::Str(Arc::from(text))
                }
                Token::Bracket('(') => self.expression(0)?,
                token => {
                    return self.error(format!(
                        "a map key must be a quoted string, a number, a identifier, or an expression enclosed in \
                         parentheses (unexpected token {token})"
                    ));
                }
            };
            self.expect_operator(":")?;
            self.count()?;
            pairs.push((key, self.expression(0)?));
        }
        self.advance();
        Ok(pairs)
    }

    fn postfix(&mut self, node: Node) -> Result<Node, CompileError> {
        let mut posts = Vec::new();
        loop {
            let at = self.at();
            let optional = self.is_operator("?.");
            if optional || self.is_operator(".") {
                self.advance();
                if !(optional && self.is_bracket('[')) {
                    self.count()?;
                    posts.push(self.field(optional)?);
                    continue;
                }
            } else if !self.is_bracket('[') {
                break;
            }
            self.count()?;
            self.advance();
            posts.push(self.index(optional, at)?);
        }
        if posts.is_empty() {
            return Ok(node);
        }
        Ok(match node {
            // parentheses do not end what `?.` began
            Node::Postfix(base, mut before) => {
                before.extend(posts);
                Node::Postfix(base, before)
            }
            node => Node::Postfix(Box::new(node), posts),
        })
    }

    fn field(&mut self, optional: bool) -> Result<Post, CompileError> {
        let text: Arc<str> = match self.token() {
            Token::Identifier(text) => Arc::from(text.as_str()),
            // words like `in` and `not` are names after a dot
            Token::Operator(word) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => Arc::from(*word),
            _ => return self.error("expected name"),
        };
        let name = Name { text, at: self.at() };
        self.advance();
        if self.is_bracket('(') {
            let args = self.arguments()?;
            return Ok(Post::Method { name, args, optional });
        }
        Ok(Post::Field { name, optional })
    }

    /// What stands between the square brackets, and the closing one.
    fn index(&mut self, optional: bool, at: u32) -> Result<Post, CompileError> {
        let from = if self.is_operator(":") {
            None
        } else {
            Some(self.expression(0)?)
        };
        let post = match from {
            Some(index) if !self.is_operator(":") => Post::Index { index, optional, at },
            from => {
                self.advance();
                let to = if self.is_bracket(']') {
                    None
                } else {
                    Some(self.expression(0)?)
                };
                Post::Slice { from, to, at }
            }
        };
        self.expect_bracket(']')?;
        Ok(post)
    }
}

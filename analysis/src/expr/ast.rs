//! The tree of an expression.
//!
//! Left-associative operators, pipes and postfix chains are flat lists, not nested nodes: the height of a tree is
//! then bounded by the parser's own depth limit, so neither evaluation nor dropping can overflow the stack.

use std::sync::Arc;

use regex::Regex;

/// A node of the tree.
#[derive(Debug)]
pub(super) enum Node {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    /// A variable of the environment or of a `let`.
    Name(Name),
    Pointer(Pointer),
    Unary(UnaryOp, Box<Node>, u32),
    /// An operand and what is done to it, from left to right.
    Fold(Box<Node>, Vec<Step>),
    /// A value and what is taken out of it, from left to right.
    Postfix(Box<Node>, Vec<Post>),
    Call(Call),
    Let(Name, Box<Node>, Box<Node>),
    Sequence(Vec<Node>),
    Conditional(Box<Conditional>),
    Array(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A name and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) text: Arc<str>,
    pub(super) at: u32,
}

/// What `#`, `#index` and `#acc` mean inside a predicate.
#[derive(Debug, Clone)]
pub(super) enum Pointer {
    Item,
    Index,
    Acc,
    Unknown(Name),
}

#[derive(Debug)]
pub(super) struct Conditional {
    pub(super) test: Node,
    pub(super) yes: Node,
    pub(super) no: Node,
    pub(super) at: u32,
}

/// A call by name; in a pipe the first argument is not in `args`.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: Name,
    /// Written `::name(…)`: the builtin, whatever the environment has under that name.
    pub(super) builtin: bool,
    pub(super) args: Vec<Node>,
}

/// One operation on the value that stands to the left of it.
#[derive(Debug)]
pub(super) enum Step {
    Binary {
        op: BinaryOp,
        negate: bool,
        right: Node,
        regex: Option<Regex>,
        at: u32,
    },
    /// `a < b <= c`: every pair must hold.
    Compare(Vec<(CompareOp, Node, u32)>),
    Pipe(Call),
}

/// One way of taking something out of a value.
#[derive(Debug)]
pub(super) enum Post {
    Field {
        name: Name,
        optional: bool,
    },
    Method {
        name: Name,
        args: Vec<Node>,
        optional: bool,
    },
    Index {
        index: Node,
        optional: bool,
        at: u32,
    },
    Slice {
        from: Option<Node>,
        to: Option<Node>,
        at: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnaryOp {
    /// `!` and `not`, with the spelling for messages.
    Not(&'static str),
    Minus,
    Plus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompareOp {
    Less,
    More,
    LessOrEqual,
    MoreOrEqual,
}

impl CompareOp {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<" => Self::Less,
            ">" => Self::More,
            "<=" => Self::LessOrEqual,
            ">=" => Self::MoreOrEqual,
            _ => return None,
        })
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::More => ">",
            Self::LessOrEqual => "<=",
            Self::MoreOrEqual => ">=",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Or(&'static str),
    And(&'static str),
    Equal,
    NotEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power(&'static str),
    Coalesce,
}

impl BinaryOp {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "or" => Self::Or("or"),
            "||" => Self::Or("||"),
            "and" => Self::And("and"),
            "&&" => Self::And("&&"),
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            "in" => Self::In,
            "matches" => Self::Matches,
            "contains" => Self::Contains,
            "startsWith" => Self::StartsWith,
            "endsWith" => Self::EndsWith,
            ".." => Self::Range,
            "+" => Self::Add,
            "-" => Self::Subtract,
            "*" => Self::Multiply,
            "/" => Self::Divide,
            "%" => Self::Modulo,
            "**" => Self::Power("**"),
            "^" => Self::Power("^"),
            "??" => Self::Coalesce,
            _ => return None,
        })
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Or(text) | Self::And(text) | Self::Power(text) => text,
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::In => "in",
            Self::Matches => "matches",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Range => "..",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Coalesce => "??",
        }
    }
}

/// How tightly a binary operator binds, and whether it groups to the right.
pub(super) fn binding(operator: &str) -> Option<(u16, bool)> {
    Some(match operator {
        "|" => (0, false),
        "or" | "||" => (10, false),
        "and" | "&&" => (15, false),
        "==" | "!=" | "<" | ">" | ">=" | "<=" | "in" | "matches" | "contains" | "startsWith" | "endsWith" => {
            (20, false)
        }
        ".." => (25, false),
        "+" | "-" => (30, false),
        "*" | "/" | "%" => (60, false),
        "**" | "^" => (100, true),
        "??" => (500, false),
        _ => return None,
    })
}

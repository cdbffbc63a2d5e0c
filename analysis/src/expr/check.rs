//! Checks before an expression runs: names, numbers of arguments, and types as far as they are known.
//!
//! Upstream compiles a condition anew against every result, so a comparison of a float with a string is an error, not
//! "false". The same check runs here, once without a result (for lint) and once with the type of the result.

use std::fmt;
use std::sync::Arc;

use super::ast::{BinaryOp, Call, Conditional, Name, Node, Pointer, Post, Step, UnaryOp};
use super::value::{Element, Value};
use super::{CompileError, Kind};

/// What is known of a value before the expression runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    /// Anything, found out when it runs.
    Any,
    Nil,
    Bool,
    Int,
    Float,
    Str,
    Bytes,
    /// A list whose elements are interfaces in Go, with what is known of them.
    Array(Box<Type>),
    /// A list whose elements have a type in Go.
    Typed(Element),
    Map {
        string_keys: bool,
    },
    Duration,
    Time,
    Zone,
    Month,
    Weekday,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "interface {}",
            Self::Nil => "unknown",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Str => "string",
            Self::Bytes => "[]uint8",
            Self::Array(_) | Self::Typed(Element::Any) => "[]interface {}",
            Self::Typed(Element::Int) => "[]int",
            Self::Typed(Element::Float) => "[]float64",
            Self::Typed(Element::Str) => "[]string",
            Self::Map { string_keys: true } => "map[string]interface {}",
            Self::Map { string_keys: false } => "map[interface {}]interface {}",
            Self::Duration => "time.Duration",
            Self::Time => "time.Time",
            Self::Zone => "*time.Location",
            Self::Month => "time.Month",
            Self::Weekday => "time.Weekday",
        })
    }
}

impl Type {
    /// The type of a value that is there.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Nil => Self::Nil,
            Value::Bool(_) => Self::Bool,
            Value::Int(_) => Self::Int,
            Value::Float(_) => Self::Float,
            Value::Str(_) => Self::Str,
            Value::Bytes(_) => Self::Bytes,
            Value::List(list) => Self::Typed(list.element),
            Value::Map(map) => Self::Map {
                string_keys: map.string_keys,
            },
            Value::Duration(_) => Self::Duration,
            Value::Time(_) => Self::Time,
            Value::Zone(_) => Self::Zone,
            Value::Month(_) => Self::Month,
            Value::Weekday(_) => Self::Weekday,
        }
    }

    fn number(&self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    fn array(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Typed(_))
    }

    /// The type of the elements of a list.
    fn element(&self) -> Self {
        match self {
            Self::Array(element) => (**element).clone(),
            Self::Typed(Element::Int) | Self::Bytes => Self::Int,
            Self::Typed(Element::Float) => Self::Float,
            Self::Typed(Element::Str) => Self::Str,
            _ => Self::Any,
        }
    }

    /// What upstream knows of an item that a function hands back: only what Go declares.
    fn item(&self) -> Self {
        match self {
            Self::Array(_) | Self::Typed(Element::Int) => Self::Any,
            other => other.element(),
        }
    }

    fn array_of(element: Self) -> Self {
        Self::Array(Box::new(element))
    }

    /// One type for a value that has one of two.
    fn either(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nil, other) => other,
            (this, Self::Nil) => this,
            (this, other) if this == other => this,
            _ => Self::Any,
        }
    }

    fn comparable(&self, other: &Self) -> bool {
        matches!(self, Self::Any | Self::Nil)
            || matches!(other, Self::Any | Self::Nil)
            || (self.number() && other.number())
            || (self.array() && other.array())
            || self == other
    }
}

/// The parameter of a function.
#[derive(Clone, Copy)]
enum Param {
    Any,
    Int,
    Float,
    Str,
    Time,
    Duration,
    Zone,
}

impl Param {
    fn takes(self, argument: &Type) -> bool {
        matches!(
            (self, argument),
            (Self::Any, _)
                | (_, Type::Any)
                | (Self::Int, Type::Int)
                | (Self::Float, Type::Int | Type::Float)
                | (Self::Str, Type::Str)
                | (Self::Time, Type::Time)
                | (Self::Duration, Type::Duration)
                | (Self::Zone, Type::Zone)
        )
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Str => "string",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::Zone => "*time.Location",
        }
    }
}

/// Functions whose parameters have fixed types: parameters, how many of them must be given, result.
fn signature(name: &str) -> Option<(&'static [Param], usize, Type)> {
    use Param::{Any, Float, Int, Str};
    Some(match name {
        "type" | "string" | "toJSON" => (&[Any], 1, Type::Str),
        "trim" | "trimPrefix" | "trimSuffix" => (&[Str, Str], 1, Type::Str),
        "upper" | "lower" | "toBase64" | "fromBase64" => (&[Str], 1, Type::Str),
        "split" | "splitAfter" => (&[Str, Str, Int], 2, Type::Typed(Element::Str)),
        "replace" => (&[Str, Str, Str, Int], 3, Type::Str),
        "repeat" => (&[Str, Int], 2, Type::Str),
        "indexOf" | "lastIndexOf" => (&[Str, Str], 2, Type::Int),
        "hasPrefix" | "hasSuffix" => (&[Str, Str], 2, Type::Bool),
        "fromJSON" => (&[Str], 1, Type::Any),
        "duration" => (&[Str], 1, Type::Duration),
        "timezone" => (&[Str], 1, Type::Zone),
        "bitand" | "bitor" | "bitxor" | "bitnand" | "bitshl" | "bitshr" | "bitushr" => {
            (&[Int, Int], 2, Type::Int)
        }
        "bitnot" => (&[Int], 1, Type::Int),
        // contract 3.12: the functions of the environment
        "asInt" => (&[Any], 1, Type::Int),
        "asFloat" => (&[Any], 1, Type::Float),
        "isNil" => (&[Any], 1, Type::Bool),
        "default" => (&[Any, Any], 2, Type::Any),
        "isNaN" | "isInf" => (&[Float], 1, Type::Bool),
        _ => return None,
    })
}

/// Methods of times, durations and the like: parameters and result.
fn method(receiver: &Type, name: &str) -> Option<(&'static [Param], Type)> {
    use Param::{Duration, Int, Str, Time, Zone};
    Some(match (receiver, name) {
        (
            Type::Time,
            "Year" | "Day" | "Hour" | "Minute" | "Second" | "Nanosecond" | "YearDay" | "Unix" | "UnixMilli"
            | "UnixMicro" | "UnixNano",
        )
        | (Type::Duration, "Milliseconds" | "Microseconds" | "Nanoseconds") => (&[], Type::Int),
        (Type::Time, "Month") => (&[], Type::Month),
        (Type::Time, "Weekday") => (&[], Type::Weekday),
        (Type::Time, "Location") => (&[], Type::Zone),
        (Type::Time, "UTC" | "Local") => (&[], Type::Time),
        (Type::Time, "IsZero" | "IsDST") => (&[], Type::Bool),
        (Type::Time, "Add" | "Round" | "Truncate") => (&[Duration], Type::Time),
        (Type::Time, "AddDate") => (&[Int, Int, Int], Type::Time),
        (Type::Time, "Sub") => (&[Time], Type::Duration),
        (Type::Time, "Before" | "After" | "Equal") => (&[Time], Type::Bool),
        (Type::Time, "Compare") => (&[Time], Type::Int),
        (Type::Time, "In") => (&[Zone], Type::Time),
        (Type::Time, "Format") => (&[Str], Type::Str),
        (Type::Time | Type::Duration | Type::Zone | Type::Month | Type::Weekday, "String") => {
            (&[], Type::Str)
        }
        (Type::Duration, "Hours" | "Minutes" | "Seconds") => (&[], Type::Float),
        (Type::Duration, "Abs") => (&[], Type::Duration),
        (Type::Duration, "Round" | "Truncate") => (&[Duration], Type::Duration),
        _ => return None,
    })
}

/// Builtins that are checked one by one.
const OTHER_BUILTINS: [&str; 27] = [
    "len",
    "abs",
    "ceil",
    "floor",
    "round",
    "int",
    "float",
    "max",
    "min",
    "mean",
    "median",
    "join",
    "now",
    "date",
    "first",
    "last",
    "get",
    "take",
    "keys",
    "values",
    "toPairs",
    "fromPairs",
    "reverse",
    "uniq",
    "concat",
    "flatten",
    "sort",
];

fn is_builtin(name: &str) -> bool {
    OTHER_BUILTINS.contains(&name)
        || super::parser::takes_predicate(name)
        || (signature(name).is_some() && !is_condition_function(name) && !matches!(name, "isNaN" | "isInf"))
}

/// Functions that only conditions have.
fn is_condition_function(name: &str) -> bool {
    matches!(name, "asInt" | "asFloat" | "isNil" | "default")
}

/// Checks an expression whose `result` has a type, and says what type its value has.
pub(super) fn check(source: &str, node: &Node, kind: Kind, result: &Type) -> Result<Type, CompileError> {
    Checker {
        source,
        kind,
        result,
        variables: Vec::new(),
        predicates: Vec::new(),
    }
    .visit(node)
}

struct Checker<'a> {
    source: &'a str,
    kind: Kind,
    result: &'a Type,
    variables: Vec<(Arc<str>, Type)>,
    predicates: Vec<Scope>,
}

struct Scope {
    item: Type,
    reduces: bool,
    counts: bool,
}

type Checked = Result<Type, CompileError>;

impl Checker<'_> {
    fn error<T>(&self, at: u32, message: impl Into<String>) -> Result<T, CompileError> {
        Err(CompileError::at(self.source, at as usize, message))
    }

    fn visit(&mut self, node: &Node) -> Checked {
        match node {
            Node::Nil => Ok(Type::Nil),
            Node::Bool(_) => Ok(Type::Bool),
            Node::Int(_) => Ok(Type::Int),
            Node::Float(_) => Ok(Type::Float),
            Node::Str(_) => Ok(Type::Str),
            Node::Bytes(_) => Ok(Type::Bytes),
            Node::Name(name) => self.name(name),
            Node::Pointer(pointer) => self.pointer(pointer),
            Node::Unary(op, operand, at) => self.unary(*op, operand, *at),
            Node::Fold(first, steps) => {
                let mut left = self.visit(first)?;
                for step in steps {
                    left = self.step(left, step)?;
                }
                Ok(left)
            }
            Node::Postfix(base, posts) => {
                let (mut base, posts) = match (&**base, posts.as_slice()) {
                    // a name of the environment must be known, however it is written
                    (Node::Name(env), [Post::Field { name, .. }, posts @ ..]) if &*env.text == "$env" => {
                        (self.environment(&name.text, name.at)?, posts)
                    }
                    (
                        Node::Name(env),
                        [
                            Post::Index {
                                index: Node::Str(name),
                                at,
                                ..
                            },
                            posts @ ..,
                        ],
                    ) if &*env.text == "$env" => (self.environment(name, *at)?, posts),
                    (base, posts) => (self.visit(base)?, posts),
                };
                for post in posts {
                    base = self.post(&base, post)?;
                }
                Ok(base)
            }
            Node::Call(call) => self.call(None, call),
            Node::Let(name, value, body) => self.variable(name, value, body),
            Node::Sequence(nodes) => nodes.iter().try_fold(Type::Nil, |_, node| self.visit(node)),
            Node::Conditional(conditional) => self.conditional(conditional),
            Node::Array(items) => {
                let mut element = None;
                for item in items {
                    let item = self.visit(item)?;
                    element = Some(match element {
                        Some(element) if element != item => Type::Any,
                        _ => item,
                    });
                }
                Ok(Type::array_of(element.unwrap_or(Type::Any)))
            }
            Node::Map(pairs) => {
                for (key, value) in pairs {
                    self.visit(key)?;
                    self.visit(value)?;
                }
                Ok(Type::Map { string_keys: true })
            }
        }
    }

    fn is_environment(&self, name: &str) -> bool {
        matches!(name, "isNaN" | "isInf")
            || (self.kind == Kind::Condition && (name == "result" || is_condition_function(name)))
    }

    fn name(&self, name: &Name) -> Checked {
        let text = &*name.text;
        if let Some((_, known)) = self
            .variables
            .iter()
            .rev()
            .find(|(variable, _)| **variable == *text)
        {
            return Ok(known.clone());
        }
        if text == "$env" {
            Ok(Type::Any)
        } else {
            self.environment(text, name.at)
        }
    }

    fn environment(&self, text: &str, at: u32) -> Checked {
        if text == "result" && self.kind == Kind::Condition {
            return Ok(self.result.clone());
        }
        if is_builtin(text) || self.is_environment(text) {
            return self.error(at, format!("{text} is a function: call it as {text}(...)"));
        }
        self.error(at, format!("unknown name {text}"))
    }

    fn pointer(&self, pointer: &Pointer) -> Checked {
        let scope = self.predicates.last();
        match pointer {
            Pointer::Item => Ok(scope.map_or(Type::Any, |scope| scope.item.clone())),
            Pointer::Index if scope.is_some_and(|scope| scope.counts) => Ok(Type::Int),
            Pointer::Index => self.error(0, "unknown pointer #index"),
            Pointer::Acc if scope.is_some_and(|scope| scope.reduces) => Ok(Type::Any),
            Pointer::Acc => self.error(0, "unknown pointer #acc"),
            Pointer::Unknown(name) => self.error(name.at, format!("unknown pointer #{}", name.text)),
        }
    }

    fn unary(&mut self, op: UnaryOp, operand: &Node, at: u32) -> Checked {
        let operand = self.visit(operand)?;
        let (text, fits) = match op {
            UnaryOp::Not(text) => (text, matches!(operand, Type::Bool | Type::Any)),
            UnaryOp::Minus => ("-", operand.number() || operand == Type::Any),
            UnaryOp::Plus => ("+", operand.number() || operand == Type::Any),
        };
        if !fits {
            return self.error(
                at,
                format!("invalid operation: {text} (mismatched type {operand})"),
            );
        }
        Ok(operand)
    }

    fn step(&mut self, left: Type, step: &Step) -> Checked {
        match step {
            Step::Pipe(call) => self.call(Some(left), call),
            Step::Binary { op, right, at, .. } => {
                let right = self.visit(right)?;
                self.binary(*op, &left, &right, *at)
            }
            Step::Compare(pairs) => {
                let mut left = left;
                for (op, right, at) in pairs {
                    let right = self.visit(right)?;
                    let ordered =
                        |t: &Type| t.number() || matches!(t, Type::Str | Type::Time | Type::Duration);
                    let fits = match (&left, &right) {
                        (Type::Any, Type::Any) => true,
                        (Type::Any, known) | (known, Type::Any) => ordered(known),
                        (a, b) => (a.number() && b.number()) || (a == b && ordered(a)),
                    };
                    if !fits {
                        return self.mismatch(op.text(), &left, &right, *at);
                    }
                    left = right;
                }
                Ok(Type::Bool)
            }
        }
    }

    fn mismatch<T>(&self, operator: &str, left: &Type, right: &Type, at: u32) -> Result<T, CompileError> {
        self.error(
            at,
            format!("invalid operation: {operator} (mismatched types {left} and {right})"),
        )
    }

    fn binary(&self, op: BinaryOp, left: &Type, right: &Type, at: u32) -> Checked {
        // what the other side may be when one side is known only at run time
        let with_any = |fits: fn(&Type) -> bool| match (left, right) {
            (Type::Any, Type::Any) => true,
            (Type::Any, known) | (known, Type::Any) => fits(known),
            _ => false,
        };
        let string = |t: &Type| matches!(t, Type::Str);
        let checked = match op {
            BinaryOp::Equal | BinaryOp::NotEqual => left.comparable(right).then_some(Type::Bool),
            BinaryOp::Or(_) | BinaryOp::And(_) => {
                let bool = |t: &Type| matches!(t, Type::Bool);
                ((bool(left) && bool(right)) || with_any(bool)).then_some(Type::Bool)
            }
            BinaryOp::Matches | BinaryOp::Contains | BinaryOp::StartsWith | BinaryOp::EndsWith => {
                ((string(left) && string(right)) || with_any(string)).then_some(Type::Bool)
            }
            BinaryOp::In => return self.contained(left, right, at),
            BinaryOp::Range => {
                let int = |t: &Type| matches!(t, Type::Int);
                ((int(left) && int(right)) || with_any(int)).then_some(Type::Typed(Element::Int))
            }
            BinaryOp::Coalesce => Some(left.clone().either(right.clone())),
            BinaryOp::Add => match (left, right) {
                (Type::Int, Type::Int) => Some(Type::Int),
                (a, b) if a.number() && b.number() => Some(Type::Float),
                (Type::Str, Type::Str) => Some(Type::Str),
                (Type::Time, Type::Duration) | (Type::Duration, Type::Time) => Some(Type::Time),
                (Type::Duration, Type::Duration) => Some(Type::Duration),
                _ => with_any(|t| t.number() || matches!(t, Type::Str | Type::Time | Type::Duration))
                    .then_some(Type::Any),
            },
            BinaryOp::Subtract => match (left, right) {
                (Type::Int, Type::Int) => Some(Type::Int),
                (a, b) if a.number() && b.number() => Some(Type::Float),
                (Type::Time, Type::Time) | (Type::Duration, Type::Duration) => Some(Type::Duration),
                (Type::Time, Type::Duration) => Some(Type::Time),
                _ => {
                    with_any(|t| t.number() || matches!(t, Type::Time | Type::Duration)).then_some(Type::Any)
                }
            },
            BinaryOp::Multiply => match (left, right) {
                (Type::Int, Type::Int) => Some(Type::Int),
                (a, b) if a.number() && b.number() => Some(Type::Float),
                (Type::Duration, Type::Int | Type::Duration) | (Type::Int, Type::Duration) => {
                    Some(Type::Duration)
                }
                (Type::Duration, Type::Float) | (Type::Float, Type::Duration) => Some(Type::Any),
                _ => with_any(|t| t.number() || matches!(t, Type::Duration)).then_some(Type::Any),
            },
            BinaryOp::Divide | BinaryOp::Power(_) => {
                ((left.number() && right.number()) || with_any(Type::number)).then_some(Type::Float)
            }
            BinaryOp::Modulo => {
                let int = |t: &Type| matches!(t, Type::Int);
                ((int(left) && int(right)) || with_any(int)).then_some(Type::Int)
            }
        };
        match checked {
            Some(checked) => Ok(checked),
            None => self.mismatch(op.text(), left, right, at),
        }
    }

    fn contained(&self, left: &Type, right: &Type, at: u32) -> Checked {
        match right {
            Type::Any => Ok(Type::Bool),
            Type::Map { string_keys } => {
                if *string_keys && !matches!(left, Type::Any | Type::Str) {
                    return self.error(at, format!("cannot use {left} as type string in map key"));
                }
                Ok(Type::Bool)
            }
            array if array.array() => {
                let element = array.element();
                if !left.comparable(&element) {
                    return self.error(at, format!("cannot use {left} as type {element} in array"));
                }
                Ok(Type::Bool)
            }
            _ => self.mismatch("in", left, right, at),
        }
    }

    fn post(&mut self, base: &Type, post: &Post) -> Checked {
        match post {
            Post::Field { name, .. } => self.field(base, &name.text, name.at),
            Post::Method { name, args, .. } => self.method(base, name, args),
            Post::Index {
                index: Node::Str(text),
                at,
                ..
            } => self.field(base, text, *at),
            Post::Index { index, at, .. } => {
                let index = self.visit(index)?;
                self.index(base, &index, *at)
            }
            Post::Slice { from, to, at } => {
                if !(matches!(base, Type::Any | Type::Str | Type::Bytes) || base.array()) {
                    return self.error(*at, format!("cannot slice {base}"));
                }
                for bound in [from, to].into_iter().flatten() {
                    let bound = self.visit(bound)?;
                    if !matches!(bound, Type::Int | Type::Any) {
                        return self.error(*at, format!("non-integer slice index {bound}"));
                    }
                }
                Ok(base.clone())
            }
        }
    }

    fn field(&self, base: &Type, name: &str, at: u32) -> Checked {
        match base {
            Type::Any | Type::Map { .. } => Ok(Type::Any),
            Type::Nil => self.error(at, format!("type nil has no field {name}")),
            base if base.array() => self.error(
                at,
                "array elements can only be selected using an integer (got string)",
            ),
            base => self.error(at, format!("type {base} has no field {name}")),
        }
    }

    fn index(&self, base: &Type, index: &Type, at: u32) -> Checked {
        match base {
            Type::Any => Ok(Type::Any),
            Type::Map { string_keys } => {
                if *string_keys && !matches!(index, Type::Str | Type::Any) {
                    return self.error(at, format!("cannot use {index} to get an element from {base}"));
                }
                Ok(Type::Any)
            }
            base if base.array() || *base == Type::Bytes => {
                if !matches!(index, Type::Int | Type::Any) {
                    return self.error(
                        at,
                        format!("array elements can only be selected using an integer (got {index})"),
                    );
                }
                Ok(if *base == Type::Bytes {
                    Type::Int
                } else {
                    base.element()
                })
            }
            base => self.error(at, format!("type {base}[{index}] is undefined")),
        }
    }

    fn method(&mut self, base: &Type, name: &Name, args: &[Node]) -> Checked {
        let args = args
            .iter()
            .map(|arg| self.visit(arg))
            .collect::<Result<Vec<_>, _>>()?;
        match base {
            Type::Any | Type::Map { .. } => return Ok(Type::Any),
            Type::Nil => return self.error(name.at, format!("type nil has no field {}", name.text)),
            _ => {}
        }
        let Some((params, result)) = method(base, &name.text) else {
            return self.error(name.at, format!("type {base} has no method {}", name.text));
        };
        self.arguments(name, params, params.len(), &args)?;
        Ok(result)
    }

    fn arguments(
        &self,
        name: &Name,
        params: &[Param],
        needed: usize,
        args: &[Type],
    ) -> Result<(), CompileError> {
        let text = &name.text;
        if args.len() < needed {
            return self.error(name.at, format!("not enough arguments to call {text}"));
        }
        if args.len() > params.len() {
            return self.error(name.at, format!("too many arguments to call {text}"));
        }
        for (param, arg) in params.iter().zip(args) {
            if !param.takes(arg) {
                let arg = if *arg == Type::Nil {
                    "nil".to_owned()
                } else {
                    arg.to_string()
                };
                let param = param.name();
                return self.error(
                    name.at,
                    format!("cannot use {arg} as argument (type {param}) to call {text}"),
                );
            }
        }
        Ok(())
    }

    fn variable(&mut self, name: &Name, value: &Node, body: &Node) -> Checked {
        let text = &name.text;
        let taken = if is_builtin(text) {
            Some(format!("builtin {text}"))
        } else if self.is_environment(text) || &**text == "$env" {
            Some(text.to_string())
        } else if self.variables.iter().any(|(variable, _)| variable == text) {
            Some(format!("variable {text}"))
        } else {
            None
        };
        if let Some(taken) = taken {
            return self.error(name.at, format!("cannot redeclare {taken}"));
        }
        let value = self.visit(value)?;
        self.variables.push((text.clone(), value));
        let body = self.visit(body);
        self.variables.pop();
        body
    }

    fn conditional(&mut self, conditional: &Conditional) -> Checked {
        let test = self.visit(&conditional.test)?;
        if !matches!(test, Type::Bool | Type::Any) {
            return self.error(
                conditional.at,
                format!("non-bool expression (type {test}) used as condition"),
            );
        }
        let yes = self.visit(&conditional.yes)?;
        let no = self.visit(&conditional.no)?;
        Ok(yes.either(no))
    }

    fn call(&mut self, piped: Option<Type>, call: &Call) -> Checked {
        let name = &*call.name.text;
        if !call.builtin {
            if let Some((_, variable)) = self.variables.iter().find(|(variable, _)| **variable == *name) {
                return self.error(call.name.at, format!("{variable} is not callable"));
            }
            if name == "result" && self.kind == Kind::Condition {
                return self.error(call.name.at, format!("{} is not callable", self.result));
            }
        }
        if super::parser::takes_predicate(name) {
            return self.predicate_builtin(piped, call);
        }
        let known = is_builtin(name) || (!call.builtin && self.is_environment(name));
        let mut args: Vec<Type> = piped.into_iter().collect();
        for arg in &call.args {
            args.push(self.visit(arg)?);
        }
        match signature(name) {
            _ if !known => self.error(call.name.at, format!("unknown name {name}")),
            Some((params, needed, result)) => {
                self.arguments(&call.name, params, needed, &args)?;
                Ok(result)
            }
            None => self.builtin(&call.name, &args),
        }
    }

    /// Builtins with a predicate as their second argument.
    fn predicate_builtin(&mut self, piped: Option<Type>, call: &Call) -> Checked {
        let name = &*call.name.text;
        let mut args = call.args.iter();
        let collection = match (piped, args.next()) {
            (Some(piped), first) => {
                args = call.args.iter();
                let _ = first;
                piped
            }
            (None, Some(first)) => self.visit(first)?,
            (None, None) => return self.error(call.name.at, format!("not enough arguments to call {name}")),
        };
        if !collection.array() && !matches!(collection, Type::Any | Type::Bytes) {
            return self.error(
                call.name.at,
                format!("builtin {name} takes only array (got {collection})"),
            );
        }
        let item = collection.element();
        let predicate = match args.next() {
            Some(predicate) => {
                self.predicates.push(Scope {
                    item: item.clone(),
                    reduces: name == "reduce",
                    counts: matches!(name, "map" | "reduce"),
                });
                let predicate = self.visit(predicate);
                self.predicates.pop();
                Some(predicate?)
            }
            None => None,
        };
        if let (Some(predicate), true) = (
            &predicate,
            !matches!(name, "map" | "sum" | "groupBy" | "sortBy" | "reduce"),
        ) && !matches!(predicate, Type::Bool | Type::Any)
        {
            return self.error(
                call.name.at,
                format!("predicate should return boolean (got {predicate})"),
            );
        }
        let last = args.next().map(|last| self.visit(last)).transpose()?;
        Ok(match name {
            "all" | "none" | "any" | "one" => Type::Bool,
            "filter" => Type::array_of(item),
            "map" => Type::array_of(predicate.unwrap_or(Type::Any)),
            "count" | "findIndex" | "findLastIndex" => Type::Int,
            "sum" => Some(predicate.unwrap_or(item))
                .filter(Type::number)
                .unwrap_or(Type::Any),
            "find" | "findLast" => item,
            "groupBy" => Type::Map { string_keys: false },
            "sortBy" => match last {
                Some(order) if !Param::Str.takes(&order) => {
                    return self.error(
                        call.name.at,
                        format!("cannot use {order} as argument (type string) to call sortBy"),
                    );
                }
                _ => Type::array_of(item),
            },
            _ => Type::Any,
        })
    }

    /// `max`, `min`, `mean` and `median`: numbers, durations, or lists of them.
    fn over_numbers(&self, name: &Name, args: &[Type]) -> Checked {
        let text = &*name.text;
        if args.is_empty() {
            return self.error(name.at, format!("not enough arguments to call {text}"));
        }
        for arg in args {
            if may_be_list(arg) {
                return Ok(Type::Any);
            }
            if !arg.number() && *arg != Type::Duration {
                return self.error(name.at, format!("invalid argument for {text} (type {arg})"));
            }
        }
        Ok(args.first().cloned().unwrap_or(Type::Any))
    }

    /// `date`: at most three texts, after a zone or not.
    fn date(&self, name: &Name, args: &[Type]) -> Checked {
        let texts = match args {
            [Type::Zone | Type::Any, texts @ ..] if args.len() > 1 => texts,
            texts => texts,
        };
        if texts.len() > 3 {
            let message = format!(
                "invalid number of arguments (expected at most 3, got {})",
                args.len()
            );
            return self.error(name.at, message);
        }
        match texts.iter().find(|arg| !Param::Str.takes(arg)) {
            Some(other) => self.error(
                name.at,
                format!("cannot use {other} as argument (type string) to call date"),
            ),
            None => Ok(Type::Time),
        }
    }

    /// `join` and `sort`: a list, and a text that may be left out.
    fn list_and_texts(&self, name: &Name, items: &Type, texts: &[Type]) -> Result<(), CompileError> {
        let other = match texts.first() {
            _ if !may_be_list(items) => items,
            Some(first) if !texts.iter().all(|text| Param::Str.takes(text)) => first,
            _ => return Ok(()),
        };
        let message = format!("cannot use {other} as argument to call {}", name.text);
        self.error(name.at, message)
    }

    /// Builtins whose arguments have several types.
    fn builtin(&self, name: &Name, args: &[Type]) -> Checked {
        let text = &*name.text;
        let number_of = |expected: &str| {
            self.error(
                name.at,
                format!(
                    "invalid number of arguments (expected {expected}, got {})",
                    args.len()
                ),
            )
        };
        match (text, args) {
            ("max" | "min" | "mean" | "median", args) => self.over_numbers(name, args),
            ("concat" | "date", []) => number_of("at least 1"),
            ("concat", args) => match args.iter().find(|arg| !may_be_list(arg)) {
                Some(other) => self.error(name.at, format!("cannot concat {other}")),
                None => Ok(Type::array_of(Type::Any)),
            },
            ("now", []) => Ok(Type::Time),
            ("now", [zone]) if Param::Zone.takes(zone) => Ok(Type::Time),
            ("now", _) => number_of("0"),
            ("date", args) => self.date(name, args),
            ("join", [_, _, _, ..]) => self.error(name.at, "too many arguments to call join"),
            ("join", [items, glue @ ..]) => {
                self.list_and_texts(name, items, glue)?;
                Ok(Type::Str)
            }
            ("join" | "sort", []) => self.error(name.at, format!("not enough arguments to call {text}")),
            ("sort", [_, _, _, ..]) => self.error(name.at, "too many arguments to call sort"),
            ("sort", [items, order @ ..]) => {
                self.list_and_texts(name, items, order)?;
                Ok(Type::array_of(Type::Any))
            }
            ("get", [base, index]) => match base {
                Type::Any | Type::Map { .. } => self.index(base, index, name.at),
                base if base.array() || *base == Type::Bytes => {
                    if matches!(index, Type::Int | Type::Any) {
                        Ok(base.element())
                    } else {
                        self.error(name.at, format!("non-integer slice index {index}"))
                    }
                }
                base => self.error(name.at, format!("type {base} does not support indexing")),
            },
            ("take", [items, count]) => {
                if !may_be_list(items) {
                    return self.error(name.at, format!("cannot take from {items}"));
                }
                if !Param::Int.takes(count) {
                    return self.error(name.at, format!("cannot take {count} elements"));
                }
                Ok(Type::array_of(items.item()))
            }
            ("get" | "take", _) => number_of("2"),
            (_, [arg]) => self.builtin_of_one(name, arg),
            _ => number_of("1"),
        }
    }

    fn builtin_of_one(&self, name: &Name, arg: &Type) -> Checked {
        let text = &*name.text;
        let any = *arg == Type::Any;
        let list = arg.array() || any;
        let map = matches!(arg, Type::Map { .. }) || any;
        let (fits, result) = match text {
            "len" => (list || map || matches!(arg, Type::Str | Type::Bytes), Type::Int),
            "abs" => (arg.number() || any, arg.clone()),
            "ceil" | "floor" | "round" => (arg.number() || any, Type::Float),
            "int" => {
                let counts = matches!(arg, Type::Str | Type::Duration | Type::Month | Type::Weekday);
                (arg.number() || any || counts, Type::Int)
            }
            "float" => (arg.number() || any || *arg == Type::Str, Type::Float),
            "first" | "last" => (list, arg.item()),
            "keys" | "values" | "toPairs" => (map, Type::array_of(Type::Any)),
            "fromPairs" => (list, Type::Map { string_keys: false }),
            _ => (list, Type::array_of(Type::Any)),
        };
        if fits {
            return Ok(result);
        }
        self.error(
            name.at,
            match text {
                "first" | "last" => format!("cannot get {text} element from {arg}"),
                "keys" | "values" => format!("cannot get {text} from {arg}"),
                "toPairs" => format!("cannot transform {arg} to pairs"),
                "fromPairs" => format!("cannot transform {arg} from pairs"),
                "reverse" | "uniq" | "flatten" => format!("cannot {text} {arg}"),
                _ => format!("invalid argument for {text} (type {arg})"),
            },
        )
    }
}

fn may_be_list(of: &Type) -> bool {
    of.array() || *of == Type::Any
}

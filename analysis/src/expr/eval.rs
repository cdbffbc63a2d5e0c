//! Running an expression.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use super::ast::{BinaryOp, Call, CompareOp, Node, Pointer, Post, Step, UnaryOp};
use super::budget::Budget;
use super::value::{Element, Key, Value};
use super::{Env, EvalError, Kind, builtins, goregex, gotime};

type Evaluated = Result<Value, EvalError>;

/// One run of an expression.
pub(super) struct Run<'a> {
    pub(super) env: &'a Env,
    pub(super) kind: Kind,
    pub(super) budget: Budget,
    variables: Vec<(Arc<str>, Value)>,
    scopes: Vec<Scope>,
}

/// What `#`, `#index` and `#acc` stand for.
struct Scope {
    item: Value,
    index: usize,
    acc: Value,
}

/// The error of a Go type assertion.
pub(super) fn conversion(value: &Value, wanted: &str) -> EvalError {
    let name = if matches!(value, Value::Nil) {
        "nil"
    } else {
        value.type_name()
    };
    EvalError::new(format!(
        "interface conversion: interface {{}} is {name}, not {wanted}"
    ))
}

impl<'a> Run<'a> {
    pub(super) fn new(env: &'a Env, kind: Kind) -> Self {
        Self {
            env,
            kind,
            budget: Budget::default(),
            variables: Vec::new(),
            scopes: Vec::new(),
        }
    }

    pub(super) fn eval(&mut self, node: &Node) -> Evaluated {
        self.budget.step(1)?;
        match node {
            Node::Nil => Ok(Value::Nil),
            Node::Bool(b) => Ok(Value::Bool(*b)),
            Node::Int(i) => Ok(Value::Int(*i)),
            Node::Float(f) => Ok(Value::Float(*f)),
            Node::Str(s) => Ok(Value::Str(s.clone())),
            Node::Bytes(b) => Ok(Value::Bytes(b.clone())),
            Node::Name(name) => self.name(&name.text),
            Node::Pointer(pointer) => Ok(self.pointer(pointer)),
            Node::Unary(op, operand, _) => {
                let operand = self.eval(operand)?;
                unary(*op, operand)
            }
            Node::Fold(first, steps) => self.fold(first, steps),
            Node::Postfix(base, posts) => self.postfix(base, posts),
            Node::Call(call) => self.call(None, call),
            Node::Let(name, value, body) => {
                let value = self.eval(value)?;
                self.variables.push((name.text.clone(), value));
                let body = self.eval(body);
                self.variables.pop();
                body
            }
            Node::Sequence(nodes) => {
                let mut value = Value::Nil;
                for node in nodes {
                    value = self.eval(node)?;
                }
                Ok(value)
            }
            Node::Conditional(conditional) => {
                let test = self.eval(&conditional.test)?;
                self.eval(if truth(&test)? {
                    &conditional.yes
                } else {
                    &conditional.no
                })
            }
            Node::Array(items) => self.array(items),
            Node::Map(pairs) => self.map(pairs),
        }
    }

    fn name(&self, name: &str) -> Evaluated {
        if let Some((_, value)) = self
            .variables
            .iter()
            .rev()
            .find(|(variable, _)| **variable == *name)
        {
            return Ok(value.clone());
        }
        match name {
            "$env" => {
                let mut entries = BTreeMap::new();
                if self.kind == Kind::Condition {
                    entries.insert(Key::Str(Arc::from("result")), self.env.result.clone());
                }
                Value::map(entries, true)
            }
            _ => Ok(self.env.result.clone()),
        }
    }

    fn pointer(&self, pointer: &Pointer) -> Value {
        let Some(scope) = self.scopes.last() else {
            return Value::Nil;
        };
        match pointer {
            Pointer::Item | Pointer::Unknown(_) => scope.item.clone(),
            Pointer::Index => Value::Int(scope.index as i64),
            Pointer::Acc => scope.acc.clone(),
        }
    }

    fn array(&mut self, items: &[Node]) -> Evaluated {
        self.budget.memory(items.len())?;
        let items = items
            .iter()
            .map(|item| self.eval(item))
            .collect::<Result<Vec<_>, _>>()?;
        Value::list(items, Element::Any)
    }

    fn map(&mut self, pairs: &[(Node, Node)]) -> Evaluated {
        self.budget.memory(pairs.len())?;
        let mut entries = BTreeMap::new();
        for (key, value) in pairs {
            let key = self.eval(key)?;
            let Value::Str(key) = key else {
                return Err(conversion(&key, "string"));
            };
            let value = self.eval(value)?;
            // the first of two equal keys counts, as upstream fills a map from its end
            entries.entry(Key::Str(key)).or_insert(value);
        }
        Value::map(entries, true)
    }

    fn fold(&mut self, first: &Node, steps: &[Step]) -> Evaluated {
        let (mut left, steps) = match settled(steps) {
            Some((settled, rest)) => (Value::Bool(settled), rest),
            None => (self.eval(first)?, steps),
        };
        for step in steps {
            left = self.apply(left, step)?;
        }
        Ok(left)
    }

    /// What a step makes of the value on its left.
    fn apply(&mut self, left: Value, step: &Step) -> Evaluated {
        self.budget.step(1)?;
        Ok(match step {
            Step::Pipe(call) => self.call(Some(left), call)?,
            Step::Compare(pairs) => Value::Bool(self.compare(left, pairs)?),
            // the right side is not looked at, nor is its type
            Step::Binary {
                op: BinaryOp::And(_),
                right,
                ..
            } => {
                if truth(&left)? {
                    self.eval(right)?
                } else {
                    left
                }
            }
            Step::Binary {
                op: BinaryOp::Or(_),
                right,
                ..
            } => {
                if truth(&left)? {
                    left
                } else {
                    self.eval(right)?
                }
            }
            Step::Binary {
                op: BinaryOp::Coalesce,
                right,
                ..
            } => match left {
                Value::Nil => self.eval(right)?,
                left => left,
            },
            Step::Binary {
                op: BinaryOp::Matches,
                negate,
                right,
                regex,
                ..
            } => {
                let found = self.found(&left, right, regex.as_ref())?;
                Value::Bool(found != *negate)
            }
            Step::Binary {
                op, negate, right, ..
            } => {
                let known = match (op, right) {
                    (BinaryOp::In, Node::Array(items)) => in_texts(&left, items)?,
                    _ => None,
                };
                let value = if let Some(known) = known {
                    Value::Bool(known)
                } else {
                    let right = self.eval(right)?;
                    self.binary(*op, &left, &right)?
                };
                match value {
                    Value::Bool(b) => Value::Bool(b != *negate),
                    value => value,
                }
            }
        })
    }

    /// `left matches right`; a pattern that is a literal was compiled with the expression.
    fn found(&mut self, left: &Value, right: &Node, compiled: Option<&Regex>) -> Result<bool, EvalError> {
        match (compiled, left) {
            (Some(_), Value::Nil) => Ok(false),
            (Some(regex), left) => {
                let text = string(left)?;
                self.budget.step(text.len() / 16)?;
                Ok(regex.is_match(text))
            }
            (None, left) => {
                let right = self.eval(right)?;
                self.matches(left, &right)
            }
        }
    }

    fn compare(&mut self, first: Value, pairs: &[(CompareOp, Node, u32)]) -> Result<bool, EvalError> {
        let mut left = first;
        for (op, right, _) in pairs {
            let right = self.eval(right)?;
            let order = left.order(op.text(), &right)?;
            let holds = order.is_some_and(|order| match op {
                CompareOp::Less => order.is_lt(),
                CompareOp::More => order.is_gt(),
                CompareOp::LessOrEqual => order.is_le(),
                CompareOp::MoreOrEqual => order.is_ge(),
            });
            if !holds {
                return Ok(false);
            }
            left = right;
        }
        Ok(true)
    }

    fn matches(&mut self, text: &Value, pattern: &Value) -> Result<bool, EvalError> {
        if matches!((text, pattern), (Value::Nil, _) | (_, Value::Nil)) {
            return Ok(false);
        }
        let (text, pattern) = (string(text)?, string(pattern)?);
        // a pattern that is computed is compiled anew each time, which costs far more than a node
        self.budget.step(10_000 + 100 * pattern.len() + text.len() / 16)?;
        let regex = goregex::compile(pattern).map_err(|error| EvalError::new(error.to_string()))?;
        Ok(regex.is_match(text))
    }

    fn binary(&mut self, op: BinaryOp, left: &Value, right: &Value) -> Evaluated {
        Ok(match op {
            BinaryOp::Equal => Value::Bool(left.equals(right, &mut self.budget)?),
            BinaryOp::NotEqual => Value::Bool(!left.equals(right, &mut self.budget)?),
            BinaryOp::In => Value::Bool(self.contained(left, right)?),
            // nothing contains nothing: a missing field is no error here
            BinaryOp::Contains | BinaryOp::StartsWith | BinaryOp::EndsWith
                if matches!((left, right), (Value::Nil, _) | (_, Value::Nil)) =>
            {
                Value::Bool(false)
            }
            BinaryOp::Contains | BinaryOp::StartsWith | BinaryOp::EndsWith => {
                let (left, right) = (string(left)?, string(right)?);
                self.budget.scan(left.len())?;
                Value::Bool(match op {
                    BinaryOp::Contains => left.contains(right),
                    BinaryOp::StartsWith => left.starts_with(right),
                    _ => left.ends_with(right),
                })
            }
            BinaryOp::Range => self.range(left, right)?,
            BinaryOp::Add => self.add(left, right)?,
            BinaryOp::Subtract => subtract(left, right)?,
            BinaryOp::Multiply => multiply(left, right)?,
            BinaryOp::Divide => match (left.number(), right.number()) {
                (Some(a), Some(b)) => Value::Float(a / b),
                _ => return Err(EvalError::operation("/", left, right)),
            },
            BinaryOp::Power(_) => match (left.number(), right.number()) {
                (Some(a), Some(b)) => Value::Float(a.powf(b)),
                (None, _) => {
                    return Err(EvalError::new(format!(
                        "invalid operation: float({})",
                        left.type_name()
                    )));
                }
                _ => {
                    return Err(EvalError::new(format!(
                        "invalid operation: float({})",
                        right.type_name()
                    )));
                }
            },
            BinaryOp::Modulo => match (left, right) {
                (Value::Int(_), Value::Int(0)) => {
                    return Err(EvalError::new("runtime error: integer divide by zero"));
                }
                (Value::Int(a), Value::Int(b)) => Value::Int(a.wrapping_rem(*b)),
                _ => return Err(EvalError::operation("%", left, right)),
            },
            // these four decide themselves whether to look at their right side
            BinaryOp::And(_) | BinaryOp::Or(_) | BinaryOp::Coalesce | BinaryOp::Matches => Value::Nil,
        })
    }

    fn contained(&mut self, needle: &Value, haystack: &Value) -> Result<bool, EvalError> {
        match haystack {
            Value::Nil => Ok(false),
            Value::List(list) => {
                for item in &list.items {
                    if item.equals(needle, &mut self.budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => match needle {
                Value::Str(_) => Ok(map.entries.contains_key(&needle.key()?)),
                // Go looks for the zero value of the key
                Value::Nil if map.string_keys => Ok(map.entries.contains_key(&Key::Str(Arc::from("")))),
                _ if map.string_keys => Err(no_text(needle)),
                _ => Ok(map.entries.contains_key(&needle.key()?)),
            },
            other => Err(EvalError::new(format!(
                "operator \"in\" not defined on {}",
                other.type_name()
            ))),
        }
    }

    fn range(&mut self, from: &Value, to: &Value) -> Evaluated {
        let (from, to) = (builtins::to_int(from)?, builtins::to_int(to)?);
        if from > to {
            return Value::list(Vec::new(), Element::Int);
        }
        // before anything is allocated
        self.budget
            .memory(usize::try_from(i128::from(to) - i128::from(from) + 1).unwrap_or(usize::MAX))?;
        Value::list((from..=to).map(Value::Int).collect(), Element::Int)
    }

    fn add(&mut self, left: &Value, right: &Value) -> Evaluated {
        Ok(match (left, right) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a.wrapping_add(*b)),
            (Value::Str(a), Value::Str(b)) => {
                self.budget.bytes(a.len() + b.len())?;
                Value::from(format!("{a}{b}"))
            }
            (Value::Duration(a), Value::Duration(b)) => Value::Duration(a.wrapping_add(*b)),
            (Value::Time(time), Value::Duration(span)) | (Value::Duration(span), Value::Time(time)) => {
                gotime::add(time, *span)?
            }
            _ => match (left.number(), right.number()) {
                (Some(a), Some(b)) => Value::Float(a + b),
                _ => return Err(EvalError::operation("+", left, right)),
            },
        })
    }

    fn postfix(&mut self, base: &Node, posts: &[Post]) -> Evaluated {
        let mut value = self.eval(base)?;
        // after `?.` found nothing, the fields that follow are nothing as well
        let mut ended = false;
        for post in posts {
            self.budget.step(1)?;
            let optional = match post {
                Post::Field { optional, .. } | Post::Method { optional, .. } => {
                    if ended {
                        continue;
                    }
                    *optional
                }
                Post::Index { optional, .. } => *optional,
                Post::Slice { .. } => false,
            };
            ended = optional && matches!(value, Value::Nil);
            if ended {
                continue;
            }
            value = match post {
                Post::Field { name, .. } => fetch(&value, &Value::Str(name.text.clone()))?,
                Post::Index { index, .. } => {
                    let index = self.eval(index)?;
                    fetch(&value, &index)?
                }
                Post::Slice { from, to, .. } => self.slice(&value, from.as_ref(), to.as_ref())?,
                Post::Method { name, args, .. } => {
                    let args = args
                        .iter()
                        .map(|arg| self.eval(arg))
                        .collect::<Result<Vec<_>, _>>()?;
                    self.method(&value, &name.text, &args)?
                }
            };
        }
        Ok(value)
    }

    fn method(&mut self, value: &Value, name: &str, args: &[Value]) -> Evaluated {
        match value {
            Value::Time(_) | Value::Duration(_) | Value::Zone(_) | Value::Month(_) | Value::Weekday(_) => {
                gotime::method(value, name, args, &mut self.budget)
            }
            value => Err(match fetch(value, &Value::from(name))? {
                Value::Nil => EvalError::new("invalid operation: cannot call nil"),
                other => EvalError::new(format!(
                    "invalid operation: cannot call non-function of type {}",
                    other.type_name()
                )),
            }),
        }
    }

    fn slice(&mut self, value: &Value, from: Option<&Node>, to: Option<&Node>) -> Evaluated {
        let length = match value {
            Value::List(list) => list.items.len(),
            Value::Str(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            other => return Err(EvalError::new(format!("cannot slice {other}"))),
        };
        let mut bound = |node: Option<&Node>, default: usize| -> Result<usize, EvalError> {
            let Some(node) = node else { return Ok(default) };
            let index = builtins::to_int(&self.eval(node)?)?;
            let index = if index < 0 {
                index.saturating_add(length as i64).max(0)
            } else {
                index
            };
            Ok(usize::try_from(index).unwrap_or(usize::MAX))
        };
        let to = bound(to, length)?.min(length);
        let from = bound(from, 0)?.min(to);
        Ok(match value {
            Value::List(list) => {
                self.budget.memory(to - from)?;
                let items = list.items.get(from..to).unwrap_or_default().to_vec();
                Value::list(items, list.element)?
            }
            Value::Str(text) => {
                self.budget.bytes(to - from)?;
                // by bytes, as in Go; a character that is cut becomes U+FFFD
                Value::from(
                    String::from_utf8_lossy(text.as_bytes().get(from..to).unwrap_or_default()).as_ref(),
                )
            }
            Value::Bytes(bytes) => {
                self.budget.bytes(to - from)?;
                Value::Bytes(Arc::from(bytes.get(from..to).unwrap_or_default()))
            }
            _ => Value::Nil,
        })
    }

    fn call(&mut self, piped: Option<Value>, call: &Call) -> Evaluated {
        let name = &*call.name.text;
        if super::parser::takes_predicate(name) {
            return self.predicate_builtin(piped, call);
        }
        let mut args = Vec::with_capacity(call.args.len() + 1);
        args.extend(piped);
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        builtins::call(name, &args, self)
    }

    /// Evaluates a predicate for one item.
    fn test(&mut self, predicate: &Node, index: usize, item: &Value, acc: Value) -> Evaluated {
        self.scopes.push(Scope {
            item: item.clone(),
            index,
            acc,
        });
        let value = self.eval(predicate);
        self.scopes.pop();
        value
    }

    fn holds(&mut self, predicate: Option<&Node>, index: usize, item: &Value) -> Result<bool, EvalError> {
        self.budget.step(1)?;
        match predicate {
            Some(predicate) => truth(&self.test(predicate, index, item, Value::Nil)?),
            None => truth(item),
        }
    }

    /// What a function with a predicate goes over: a list, or the bytes of a text that came in with the result.
    fn items_to_visit<'v>(&mut self, collection: &'v Value) -> Result<Cow<'v, [Value]>, EvalError> {
        let bytes = match collection {
            Value::List(list) => return Ok(Cow::Borrowed(&list.items)),
            Value::Str(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            other => {
                let (what, on) = match other {
                    Value::Nil => ("Len", "zero"),
                    Value::Map(_) => ("Index", "map"),
                    other => ("Len", other.type_name()),
                };
                return Err(EvalError::new(format!(
                    "reflect: call of reflect.Value.{what} on {on} Value"
                )));
            }
        };
        self.budget.memory(bytes.len())?;
        Ok(bytes.iter().map(|byte| Value::Int(i64::from(*byte))).collect())
    }

    fn predicate_builtin(&mut self, piped: Option<Value>, call: &Call) -> Evaluated {
        let mut args = call.args.iter();
        let collection = match piped {
            Some(piped) => piped,
            None => match args.next() {
                Some(first) => self.eval(first)?,
                None => Value::Nil,
            },
        };
        let predicate = args.next();
        let last = args.next().map(|last| self.eval(last)).transpose()?;
        let list = self.items_to_visit(&collection)?;
        let list = &*list;
        let items = list.iter().enumerate();
        match &*call.name.text {
            "all" => Ok(Value::Bool(self.first_that(items, predicate, false)?.is_none())),
            "any" => Ok(Value::Bool(self.first_that(items, predicate, true)?.is_some())),
            "none" => Ok(Value::Bool(self.first_that(items, predicate, true)?.is_none())),
            "one" => Ok(Value::Bool(self.count(list, predicate)? == 1)),
            "count" => Ok(Value::Int(self.count(list, predicate)?)),
            "filter" => self.filter(list, predicate),
            "find" => Ok(item_of(self.first_that(items, predicate, true)?)),
            "findIndex" => Ok(index_of(self.first_that(items, predicate, true)?)),
            "findLast" => Ok(item_of(self.first_that(items.rev(), predicate, true)?)),
            "findLastIndex" => Ok(index_of(self.first_that(items.rev(), predicate, true)?)),
            "map" => {
                self.budget.memory(list.len())?;
                let mapped = self.each(list, predicate)?;
                Value::list(mapped, Element::Any)
            }
            "sum" => self.sum(list, predicate),
            "groupBy" => {
                self.budget.memory(list.len())?;
                let keys = self.each(list, predicate)?;
                let mut groups: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
                for (key, item) in keys.iter().zip(list) {
                    groups.entry(key.key()?).or_default().push(item.clone());
                }
                Value::groups(groups)
            }
            "sortBy" => {
                self.budget.memory(list.len())?;
                let keys = self.each(list, predicate)?;
                let sorted = builtins::sorted(list, &keys, last.as_ref(), &mut self.budget)?;
                Value::list(sorted, Element::Any)
            }
            _ => self.reduce(list, predicate, last),
        }
    }

    /// The first item for which the predicate says this; the items after it are not looked at.
    fn first_that<'v>(
        &mut self,
        items: impl Iterator<Item = (usize, &'v Value)>,
        predicate: Option<&Node>,
        wanted: bool,
    ) -> Result<Option<(usize, &'v Value)>, EvalError> {
        for (index, item) in items {
            if self.holds(predicate, index, item)? == wanted {
                return Ok(Some((index, item)));
            }
        }
        Ok(None)
    }

    /// For how many items the predicate holds.
    fn count(&mut self, items: &[Value], predicate: Option<&Node>) -> Result<i64, EvalError> {
        let mut count = 0;
        for (index, item) in items.iter().enumerate() {
            count += i64::from(self.holds(predicate, index, item)?);
        }
        Ok(count)
    }

    fn filter(&mut self, items: &[Value], predicate: Option<&Node>) -> Evaluated {
        let mut kept = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if self.holds(predicate, index, item)? {
                self.budget.memory(1)?;
                kept.push(item.clone());
            }
        }
        Value::list(kept, Element::Any)
    }

    fn sum(&mut self, items: &[Value], predicate: Option<&Node>) -> Evaluated {
        let mut sum = Value::Int(0);
        for (index, item) in items.iter().enumerate() {
            self.budget.step(1)?;
            let item = match predicate {
                Some(predicate) => self.test(predicate, index, item, Value::Nil)?,
                None => item.clone(),
            };
            if matches!(item, Value::Str(_)) {
                return Err(EvalError::operation("+", &item, &Value::Int(0)));
            }
            sum = match (&item, sum) {
                // the zero to start with has no type
                (Value::Duration(_), Value::Int(0)) if index == 0 => item,
                (_, sum) => self.add(&item, &sum)?,
            };
        }
        Ok(sum)
    }

    fn each(&mut self, items: &[Value], predicate: Option<&Node>) -> Result<Vec<Value>, EvalError> {
        let Some(predicate) = predicate else {
            return Ok(items.to_vec());
        };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| self.test(predicate, index, item, Value::Nil))
            .collect()
    }

    fn reduce(&mut self, items: &[Value], predicate: Option<&Node>, initial: Option<Value>) -> Evaluated {
        let (mut acc, skip) = match (initial, items.first()) {
            (Some(initial), _) => (initial, 0),
            (None, Some(first)) => (first.clone(), 1),
            (None, None) => return Err(EvalError::new("reduce of empty array with no initial value")),
        };
        let Some(predicate) = predicate else {
            return Ok(acc);
        };
        for (index, item) in items.iter().enumerate().skip(skip) {
            acc = self.test(predicate, index, item, acc)?;
        }
        Ok(acc)
    }
}

/// The value of the last `… || true` or `… && false`, and the steps after it: upstream never runs what comes before.
fn settled(steps: &[Step]) -> Option<(bool, &[Step])> {
    let value = |step: &Step| match step {
        Step::Binary {
            op: BinaryOp::Or(_),
            right: Node::Bool(true),
            ..
        } => Some(true),
        Step::Binary {
            op: BinaryOp::And(_),
            right: Node::Bool(false),
            ..
        } => Some(false),
        _ => None,
    };
    let last = steps.iter().rposition(|step| value(step).is_some())?;
    Some((value(steps.get(last)?)?, steps.get(last + 1..)?))
}

/// What is asked of a list of texts that is written out, where it is no text: upstream makes a Go set of such a list, in which
/// nothing else can be looked for, and nil is the empty text.
fn in_texts(needle: &Value, items: &[Node]) -> Result<Option<bool>, EvalError> {
    let mut texts = !items.is_empty();
    let mut empty = false;
    for item in items {
        match item {
            Node::Str(text) => empty |= text.is_empty(),
            _ => texts = false,
        }
    }
    match needle {
        Value::Nil if texts => Ok(Some(empty)),
        Value::Str(_) => Ok(None),
        other if texts => Err(no_text(other)),
        _ => Ok(None),
    }
}

/// The error of Go for a key that is no text.
fn no_text(key: &Value) -> EvalError {
    EvalError::new(format!(
        "reflect.Value.MapIndex: value of type {} is not assignable to type string",
        key.type_name()
    ))
}

fn item_of(found: Option<(usize, &Value)>) -> Value {
    found.map_or(Value::Nil, |(_, item)| item.clone())
}

fn index_of(found: Option<(usize, &Value)>) -> Value {
    found.map_or(Value::Nil, |(index, _)| Value::Int(index as i64))
}

/// The truth of a condition; only booleans have one.
pub(super) fn truth(value: &Value) -> Result<bool, EvalError> {
    match value {
        Value::Bool(b) => Ok(*b),
        other => Err(conversion(other, "bool")),
    }
}

pub(super) fn string(value: &Value) -> Result<&str, EvalError> {
    match value {
        Value::Str(text) => Ok(text),
        other => Err(conversion(other, "string")),
    }
}

fn unary(op: UnaryOp, operand: Value) -> Evaluated {
    Ok(match (op, operand) {
        (UnaryOp::Not(_), operand) => Value::Bool(!truth(&operand)?),
        (UnaryOp::Plus, operand) => operand,
        (UnaryOp::Minus, Value::Int(i)) => Value::Int(i.wrapping_neg()),
        (UnaryOp::Minus, Value::Float(f)) => Value::Float(-f),
        (UnaryOp::Minus, other) => {
            return Err(EvalError::new(format!(
                "invalid operation: - {}",
                other.type_name()
            )));
        }
    })
}

fn subtract(left: &Value, right: &Value) -> Evaluated {
    Ok(match (left, right) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.wrapping_sub(*b)),
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(a.wrapping_sub(*b)),
        (Value::Time(a), Value::Time(b)) => Value::Duration(gotime::between(a, b)),
        (Value::Time(time), Value::Duration(span)) => gotime::add(time, span.wrapping_neg())?,
        _ => match (left.number(), right.number()) {
            (Some(a), Some(b)) => Value::Float(a - b),
            _ => return Err(EvalError::operation("-", left, right)),
        },
    })
}

fn multiply(left: &Value, right: &Value) -> Evaluated {
    Ok(match (left, right) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.wrapping_mul(*b)),
        (Value::Duration(a), Value::Int(b) | Value::Duration(b)) | (Value::Int(b), Value::Duration(a)) => {
            Value::Duration(a.wrapping_mul(*b))
        }
        (Value::Duration(span), Value::Float(f)) | (Value::Float(f), Value::Duration(span)) => {
            Value::Float(*span as f64 * f)
        }
        _ => match (left.number(), right.number()) {
            (Some(a), Some(b)) => Value::Float(a * b),
            _ => return Err(EvalError::operation("*", left, right)),
        },
    })
}

/// The item of a list or the entry of a map; a missing entry is nil, a missing item an error.
pub(super) fn fetch(from: &Value, index: &Value) -> Evaluated {
    match from {
        Value::List(list) => {
            let position = position(index, list.items.len())?;
            Ok(list.items.get(position).cloned().unwrap_or(Value::Nil))
        }
        Value::Bytes(bytes) => {
            let position = position(index, bytes.len())?;
            Ok(bytes
                .get(position)
                .map_or(Value::Nil, |byte| Value::Int(i64::from(*byte))))
        }
        Value::Str(text) => {
            let position = position(index, text.len())?;
            Ok(text
                .as_bytes()
                .get(position)
                .map_or(Value::Nil, |byte| Value::Int(i64::from(*byte))))
        }
        Value::Map(map) => {
            if map.string_keys && !matches!(index, Value::Str(_) | Value::Nil) {
                return Err(no_text(index));
            }
            match map.entries.get(&index.key()?) {
                Some(value) => Ok(value.clone()),
                None if map.of_lists => Value::list(Vec::new(), Element::Any),
                None => Ok(Value::Nil),
            }
        }
        from => Err(EvalError::new(format!(
            "cannot fetch {index} from {}",
            from.type_name()
        ))),
    }
}

fn position(index: &Value, length: usize) -> Result<usize, EvalError> {
    let index = builtins::to_int(index)?;
    let position = if index < 0 {
        index.saturating_add(length as i64)
    } else {
        index
    };
    usize::try_from(position)
        .ok()
        .filter(|position| *position < length)
        .ok_or_else(|| {
            EvalError::new(format!(
                "index out of range: {position} (array length is {length})"
            ))
        })
}

//! From a tree and an object to an answer, counting steps.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::functions::call;
use super::parser::{Each, Expr, Loop, Missing, Node, Operator};
use super::value::{Fields, Items, Text, Val};

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Wrong(String),
    /// They are used up.
    Steps,
}

pub(super) fn wrong<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Wrong(message.into()))
}

/// The names that loops gave to items.
struct Scope<'s, 'v> {
    name: &'s str,
    value: Val<'v>,
    outer: Option<&'s Scope<'s, 'v>>,
}

/// One evaluation.
pub(super) struct Run<'v> {
    object: &'v Value,
    most: u64,
    spent: Cell<u64>,
}

impl<'v> Run<'v> {
    pub(super) fn new(object: &'v Value, most: u64) -> Self {
        Self {
            object,
            most,
            spent: Cell::new(0),
        }
    }

    pub(super) fn spent(&self) -> u64 {
        self.spent.get()
    }

    pub(super) fn spend(&self, steps: usize) -> Result<(), Fault> {
        let spent = self.spent.get().saturating_add(steps as u64);
        self.spent.set(spent);
        if spent > self.most {
            Err(Fault::Steps)
        } else {
            Ok(())
        }
    }

    /// Looking through a text costs by its length.
    pub(super) fn read(&self, text: &str) -> Result<(), Fault> {
        self.spend(text.len() / 16)
    }

    pub(super) fn whether(&self, node: &'v Node) -> Result<bool, Fault> {
        match self.value(node, None)? {
            Val::Bool(answer) => Ok(answer),
            other => wrong(format!("gives {}: it has to be true or false", other.kind())),
        }
    }

    fn value(&self, node: &'v Node, scope: Option<&Scope<'_, 'v>>) -> Result<Val<'v>, Fault> {
        self.spend(1)?;
        match &node.expr {
            Expr::Literal(value) => Ok(Val::of(value)),
            Expr::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.value(item, scope)).collect();
                Ok(Val::list(items?))
            }
            Expr::Map(entries) => self.map(entries, scope),
            Expr::Name(name) => self.variable(name, scope),
            Expr::Field(of, name, missing) => {
                let of = self.value(of, scope)?;
                self.field(of, name, *missing)
            }
            Expr::Index(of, missing) => {
                let [of, key] = of.as_ref();
                let (of, key) = (self.value(of, scope)?, self.value(key, scope)?);
                self.index(of, &key, *missing)
            }
            Expr::Has(of, name) => match self.value(of, scope)? {
                Val::Map(fields) => Ok(Val::Bool(fields.get(name).is_some())),
                Val::Maybe(of) => Ok(Val::Bool(
                    matches!(of.as_deref(), Some(Val::Map(fields)) if fields.get(name).is_some()),
                )),
                other => wrong(format!("{} has no field {name}", other.kind())),
            },
            Expr::Not(of) => match self.value(of, scope)? {
                Val::Bool(value) => Ok(Val::Bool(!value)),
                other => wrong(format!("`!` of {}", other.kind())),
            },
            Expr::Negate(of) => match self.value(of, scope)? {
                Val::Int(value) => value.checked_neg().map(Val::Int).ok_or_else(too_large),
                Val::Double(value) => Ok(Val::Double(-value)),
                other => wrong(format!("`-` of {}", other.kind())),
            },
            Expr::All(terms) => decide(terms.iter().map(|term| self.bool(term, scope)), false),
            Expr::Any(terms) => decide(terms.iter().map(|term| self.bool(term, scope)), true),
            Expr::Choose(of) => {
                let [condition, yes, no] = of.as_ref();
                let chosen = if self.bool(condition, scope)? { yes } else { no };
                self.value(chosen, scope)
            }
            Expr::Binary(operator, of) => {
                let [left, right] = of.as_ref();
                let (left, right) = (self.value(left, scope)?, self.value(right, scope)?);
                self.binary(*operator, left, right)
            }
            Expr::Call(function, args) => {
                let args: Result<Vec<_>, _> = args.iter().map(|arg| self.value(arg, scope)).collect();
                call(self, *function, &args?)
            }
            Expr::Each(each) => self.each(each, scope),
        }
    }

    fn bool(&self, node: &'v Node, scope: Option<&Scope<'_, 'v>>) -> Result<bool, Fault> {
        match self.value(node, scope)? {
            Val::Bool(value) => Ok(value),
            other => wrong(format!("{} where true or false is needed", other.kind())),
        }
    }

    fn map(&self, entries: &'v [(Node, Node)], scope: Option<&Scope<'_, 'v>>) -> Result<Val<'v>, Fault> {
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            self.spend(16)?;
            let Val::Text(key) = self.value(key, scope)? else {
                return wrong("the keys of a map have to be strings");
            };
            self.read(&key)?;
            let key = match key {
                Text::Json(key) => key.into(),
                Text::Made(key) => key,
            };
            fields.insert(key, self.value(value, scope)?);
        }
        Ok(Val::Map(Fields::Made(Rc::new(fields))))
    }

    fn variable(&self, name: &str, scope: Option<&Scope<'_, 'v>>) -> Result<Val<'v>, Fault> {
        let mut inner = scope;
        while let Some(scope) = inner {
            self.spend(1)?;
            if scope.name == name {
                return Ok(scope.value.clone());
            }
            inner = scope.outer;
        }
        let field = self.object.get(name).map(Val::of);
        field.map_or_else(|| wrong(format!("the object has no {name}")), Ok)
    }

    fn field(&self, of: Val<'v>, name: &str, missing: Missing) -> Result<Val<'v>, Fault> {
        self.spend(1)?;
        match (of, missing) {
            (Val::Maybe(None), _) => Ok(Val::Maybe(None)),
            (Val::Maybe(Some(of)), _) => self.field(*of, name, Missing::Nothing),
            (Val::Map(fields), Missing::Nothing) => Ok(Val::Maybe(fields.get(name).map(Box::new))),
            (Val::Map(fields), Missing::Wrong) => fields
                .get(name)
                .map_or_else(|| wrong(format!("there is no {name}")), Ok),
            (other, _) => wrong(format!("{} has no field {name}", other.kind())),
        }
    }

    fn index(&self, of: Val<'v>, key: &Val<'v>, missing: Missing) -> Result<Val<'v>, Fault> {
        let items = match (of, key) {
            (Val::Maybe(None), _) => return Ok(Val::Maybe(None)),
            (Val::Maybe(Some(of)), _) => return self.index(*of, key, Missing::Nothing),
            (of @ Val::Map(_), Val::Text(name)) => {
                self.read(name)?;
                return self.field(of, name, missing);
            }
            (Val::List(items), Val::Int(_)) => items,
            (of, key) => return wrong(format!("{} cannot be asked for {}", of.kind(), key.kind())),
        };
        let Val::Int(index) = key else {
            return Ok(Val::Maybe(None));
        };
        let found = usize::try_from(*index).ok().and_then(|index| items.get(index));
        match (found, missing) {
            (found, Missing::Nothing) => Ok(Val::Maybe(found.map(Box::new))),
            (Some(found), Missing::Wrong) => Ok(found),
            (None, Missing::Wrong) => wrong(format!("there is no item {index} among {}", items.len())),
        }
    }

    fn each(&self, each: &'v Loop, scope: Option<&Scope<'_, 'v>>) -> Result<Val<'v>, Fault> {
        let items = match self.value(&each.range, scope)? {
            Val::List(items) => items,
            Val::Map(fields) => {
                self.spend(fields.len())?;
                Items::Made(Rc::new(fields.keys()))
            }
            other => return wrong(format!("{} has no items to go through", other.kind())),
        };
        let with = |value: Val<'v>| Scope {
            name: &each.variable,
            value,
            outer: scope,
        };
        let asked = |item: Val<'v>| self.bool(&each.body, Some(&with(item)));
        match each.each {
            Each::All => decide(items.iter().map(asked), false),
            Each::Exists => decide(items.iter().map(asked), true),
            Each::ExistsOne => {
                let answers: Result<Vec<bool>, Fault> = items.iter().map(asked).collect();
                Ok(Val::Bool(
                    answers?.into_iter().filter(|answer| *answer).count() == 1,
                ))
            }
            Each::Filter => {
                let mut kept = Vec::new();
                for item in items.iter() {
                    if asked(item.clone())? {
                        kept.push(item);
                    }
                }
                Ok(Val::list(kept))
            }
            Each::Map => {
                let mut made = Vec::new();
                for item in items.iter() {
                    let scope = with(item);
                    let wanted = each.when.as_ref().map(|when| self.bool(when, Some(&scope)));
                    if wanted.unwrap_or(Ok(true))? {
                        made.push(self.value(&each.body, Some(&scope))?);
                    }
                }
                Ok(Val::list(made))
            }
        }
    }

    fn binary(&self, operator: Operator, left: Val<'v>, right: Val<'v>) -> Result<Val<'v>, Fault> {
        let compared = |is: fn(Ordering) -> bool| {
            self.order(&left, &right)
                .map(|order| Val::Bool(order.is_some_and(is)))
        };
        match operator {
            Operator::Equal => self.equal(&left, &right).map(Val::Bool),
            Operator::Unequal => self.equal(&left, &right).map(|equal| Val::Bool(!equal)),
            Operator::Less => compared(Ordering::is_lt),
            Operator::LessOrEqual => compared(Ordering::is_le),
            Operator::Greater => compared(Ordering::is_gt),
            Operator::GreaterOrEqual => compared(Ordering::is_ge),
            Operator::In => self.is_in(&left, &right).map(Val::Bool),
            _ => self.arithmetic(operator, left, right),
        }
    }

    fn arithmetic(&self, operator: Operator, left: Val<'v>, right: Val<'v>) -> Result<Val<'v>, Fault> {
        match (operator, left, right) {
            (operator, Val::Int(left), Val::Int(right)) => {
                let result = match operator {
                    Operator::Divide | Operator::Remainder if right == 0 => return wrong("division by zero"),
                    Operator::Add => left.checked_add(right),
                    Operator::Subtract => left.checked_sub(right),
                    Operator::Multiply => left.checked_mul(right),
                    Operator::Divide => left.checked_div(right),
                    _ => left.checked_rem(right),
                };
                result.map(Val::Int).ok_or_else(too_large)
            }
            (Operator::Add, Val::Double(left), Val::Double(right)) => Ok(Val::Double(left + right)),
            (Operator::Subtract, Val::Double(left), Val::Double(right)) => Ok(Val::Double(left - right)),
            (Operator::Multiply, Val::Double(left), Val::Double(right)) => Ok(Val::Double(left * right)),
            (Operator::Divide, Val::Double(left), Val::Double(right)) => Ok(Val::Double(left / right)),
            (Operator::Add, Val::Text(left), Val::Text(right)) => {
                self.read(&left)?;
                self.read(&right)?;
                Ok(Val::text(format!("{}{}", &*left, &*right)))
            }
            (Operator::Add, Val::List(left), Val::List(right)) => {
                self.spend(left.len() + right.len())?;
                Ok(Val::list(left.iter().chain(right.iter()).collect()))
            }
            (_, left, right) => wrong(format!(
                "{} and {} cannot be reckoned with",
                left.kind(),
                right.kind()
            )),
        }
    }

    fn is_in(&self, item: &Val<'v>, of: &Val<'v>) -> Result<bool, Fault> {
        match (item, of) {
            (_, Val::List(items)) => {
                for other in items.iter() {
                    if self.equal(item, &other)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Val::Text(name), Val::Map(fields)) => {
                self.read(name)?;
                Ok(fields.get(name).is_some())
            }
            (_, Val::Map(_)) => Ok(false),
            (_, other) => wrong(format!("nothing is `in` {}", other.kind())),
        }
    }

    /// Values of different types are not equal, but for numbers.
    fn equal(&self, left: &Val<'v>, right: &Val<'v>) -> Result<bool, Fault> {
        self.spend(1)?;
        Ok(match (left, right) {
            (Val::Null, Val::Null) | (Val::Maybe(None), Val::Maybe(None)) => true,
            (Val::Bool(left), Val::Bool(right)) => left == right,
            (Val::Text(left), Val::Text(right)) => {
                self.read(if left.len() == right.len() { left } else { "" })?;
                **left == **right
            }
            (Val::Maybe(Some(left)), Val::Maybe(Some(right))) => self.equal(left, right)?,
            (Val::List(left), Val::List(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(right.iter()) {
                    if !self.equal(&left, &right)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Val::Map(left), Val::Map(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                self.spend(left.len())?;
                for key in left.keys() {
                    let Val::Text(key) = key else {
                        return Ok(false);
                    };
                    self.read(&key)?;
                    let same = match (left.get(&key), right.get(&key)) {
                        (Some(left), Some(right)) => self.equal(&left, &right)?,
                        _ => false,
                    };
                    if !same {
                        return Ok(false);
                    }
                }
                true
            }
            (Val::Int(_) | Val::Double(_), Val::Int(_) | Val::Double(_)) => {
                self.order(left, right)? == Some(Ordering::Equal)
            }
            _ => false,
        })
    }

    fn order(&self, left: &Val<'v>, right: &Val<'v>) -> Result<Option<Ordering>, Fault> {
        match (left, right) {
            (Val::Int(left), Val::Int(right)) => Ok(Some(left.cmp(right))),
            (Val::Double(left), Val::Double(right)) => Ok(left.partial_cmp(right)),
            (Val::Int(left), Val::Double(right)) => Ok((*left as f64).partial_cmp(right)),
            (Val::Double(left), Val::Int(right)) => Ok(left.partial_cmp(&(*right as f64))),
            (Val::Bool(left), Val::Bool(right)) => Ok(Some(left.cmp(right))),
            (Val::Text(left), Val::Text(right)) => {
                self.read(left)?;
                Ok(Some((**left).cmp(&**right)))
            }
            (left, right) => wrong(format!("{} and {} cannot be compared", left.kind(), right.kind())),
        }
    }
}

/// `&&` and `||`: an answer that settles it makes up for what is wrong elsewhere.
fn decide<'v>(
    mut answers: impl Iterator<Item = Result<bool, Fault>>,
    settles: bool,
) -> Result<Val<'v>, Fault> {
    let mut fault = None;
    let settled = answers.find_map(|answer| match answer {
        Ok(answer) => (answer == settles).then_some(Ok(Val::Bool(settles))),
        Err(Fault::Steps) => Some(Err(Fault::Steps)),
        Err(problem) => {
            fault.get_or_insert(problem);
            None
        }
    });
    settled.unwrap_or_else(|| fault.map_or(Ok(Val::Bool(!settles)), Err))
}

pub(super) fn too_large() -> Fault {
    Fault::Wrong("the number does not fit into 64 bits".to_owned())
}

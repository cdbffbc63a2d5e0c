//! JSONPath as Kubernetes writes it: `{.data.items[0].value}` (client-go `util/jsonpath`), for the answer of a web
//! metric. Paths and answers come from tenants, so both what a path may say and what it may cost are bounded.

use serde_json::Value;

/// Longest path, in bytes.
const MAX_LENGTH: usize = 4096;
/// Deepest filter within a filter.
const MAX_NESTING: usize = 8;
/// Most values that may be looked at.
const MAX_VISITS: usize = 500_000;

/// Why a path gives no value. The words are client-go's where it has the case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// The path cannot be read.
    #[error("jsonPath {path:?}: {problem}")]
    Syntax {
        /// The path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// No object has the field.
    #[error("{0} is not found")]
    NotFound(String),
    /// An index into something that has none.
    #[error("{0} is not array or slice")]
    NoArray(String),
    /// An index beyond the end.
    #[error("array index out of bounds: index {index}, length {length}")]
    OutOfBounds {
        /// As written.
        index: i64,
        /// Of the array.
        length: usize,
    },
    /// The path looks at too many values.
    #[error("the path looks at more than {MAX_VISITS} values")]
    TooMuch,
}

/// A path that can be followed.
#[derive(Debug, PartialEq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, PartialEq)]
enum Step {
    /// Back to the whole document.
    Root,
    Fields(Vec<String>),
    Wildcard,
    /// The value itself and all within it.
    Recursive,
    Indexes(Vec<i64>),
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: usize,
    },
    Filter(Box<Filter>),
}

#[derive(Debug, PartialEq)]
struct Filter {
    left: Operand,
    /// `None`: the left side exists.
    test: Option<(Comparison, Operand)>,
}

#[derive(Debug, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Path {
    /// Reads a path, with or without its braces.
    pub(crate) fn parse(path: &str) -> Result<Self, PathError> {
        let syntax = |problem: String| PathError::Syntax {
            path: path.chars().take(80).collect(),
            problem,
        };
        if path.len() > MAX_LENGTH {
            return Err(syntax(format!("longer than {MAX_LENGTH} bytes")));
        }
        let trimmed = path.trim();
        let inner = trimmed
            .strip_prefix('{')
            .and_then(|path| path.strip_suffix('}'))
            .unwrap_or(trimmed);
        if inner.contains(['{', '}']) {
            return Err(syntax(
                "write one path in braces, such as {$.data.value}".to_owned(),
            ));
        }
        let mut parser = Parser {
            rest: inner.trim(),
            nesting: 0,
        };
        let path = parser.path("").map_err(&syntax)?;
        if parser.rest.is_empty() {
            Ok(path)
        } else {
            Err(syntax(format!("unexpected {:?}", parser.rest)))
        }
    }

    /// The first value that the path selects; `None` if it selects none.
    pub(crate) fn first<'a>(&self, document: &'a Value) -> Result<Option<&'a Value>, PathError> {
        let mut visits = 0;
        Ok(self.follow(document, document, &mut visits)?.into_iter().next())
    }

    fn follow<'a>(
        &self,
        root: &'a Value,
        here: &'a Value,
        visits: &mut usize,
    ) -> Result<Vec<&'a Value>, PathError> {
        let mut current = vec![here];
        for step in &self.0 {
            let mut next = Vec::new();
            match step {
                Step::Root => next.push(root),
                Step::Recursive => {
                    let mut open: Vec<&Value> = current.into_iter().rev().collect();
                    while let Some(value) = open.pop() {
                        add(&mut next, value, visits)?;
                        open.extend(children(value).into_iter().rev());
                    }
                }
                _ => {
                    for value in &current {
                        step.select(root, value, &mut next, visits)?;
                    }
                    if let (Step::Fields(names), true) = (step, next.is_empty()) {
                        return Err(PathError::NotFound(names.join(",")));
                    }
                }
            }
            current = next;
        }
        Ok(current)
    }
}

fn add<'a>(found: &mut Vec<&'a Value>, value: &'a Value, visits: &mut usize) -> Result<(), PathError> {
    *visits += 1;
    if *visits > MAX_VISITS {
        return Err(PathError::TooMuch);
    }
    found.push(value);
    Ok(())
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

impl Step {
    fn select<'a>(
        &self,
        root: &'a Value,
        value: &'a Value,
        found: &mut Vec<&'a Value>,
        visits: &mut usize,
    ) -> Result<(), PathError> {
        match self {
            Self::Root | Self::Recursive => Ok(()),
            Self::Fields(names) => names
                .iter()
                .filter_map(|name| value.as_object()?.get(name))
                .try_for_each(|value| add(found, value, visits)),
            Self::Wildcard => children(value)
                .into_iter()
                .try_for_each(|value| add(found, value, visits)),
            Self::Indexes(indexes) => {
                let Some(items) = array(value)? else { return Ok(()) };
                indexes.iter().try_for_each(|index| {
                    let item = from_end(*index, items.len()).and_then(|at| items.get(at));
                    let item = item.ok_or(PathError::OutOfBounds {
                        index: *index,
                        length: items.len(),
                    })?;
                    add(found, item, visits)
                })
            }
            Self::Slice { start, end, step } => {
                let Some(items) = array(value)? else { return Ok(()) };
                let place = |index: Option<i64>, default: usize| match index {
                    Some(index) => from_end(index, items.len()).unwrap_or(0).min(items.len()),
                    None => default,
                };
                let (start, end) = (place(*start, 0), place(*end, items.len()));
                let items = items.iter().take(end).skip(start).step_by(*step);
                items.into_iter().try_for_each(|item| add(found, item, visits))
            }
            Self::Filter(filter) => {
                for child in array(value)?.unwrap_or_default() {
                    *visits += 1;
                    if filter.holds(root, child, visits)? {
                        add(found, child, visits)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The items of an array; nothing for null.
fn array(value: &Value) -> Result<Option<&[Value]>, PathError> {
    match value {
        Value::Array(items) => Ok(Some(items)),
        Value::Null => Ok(None),
        other => {
            let mut text = other.to_string();
            if text.len() > 100 {
                text.truncate(text.floor_char_boundary(100));
                text.push('…');
            }
            Err(PathError::NoArray(text))
        }
    }
}

/// A place counted from the start, or from the end if negative.
fn from_end(index: i64, length: usize) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 {
        length.checked_sub(distance)
    } else {
        Some(distance)
    }
}

impl Filter {
    fn holds(&self, root: &Value, item: &Value, visits: &mut usize) -> Result<bool, PathError> {
        let Some(left) = self.left.value(root, item, visits)? else {
            return Ok(false);
        };
        let Some((comparison, right)) = &self.test else {
            return Ok(true);
        };
        Ok(right
            .value(root, item, visits)?
            .is_some_and(|right| comparison.holds(left, right)))
    }
}

impl Operand {
    fn value<'a>(
        &'a self,
        root: &'a Value,
        item: &'a Value,
        visits: &mut usize,
    ) -> Result<Option<&'a Value>, PathError> {
        match self {
            Self::Literal(value) => Ok(Some(value)),
            Self::Path(path) => match path.follow(root, item, visits) {
                Ok(values) => Ok(values.into_iter().next()),
                Err(PathError::TooMuch) => Err(PathError::TooMuch),
                // An item without the field is no match.
                Err(_) => Ok(None),
            },
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => {
                left.as_f64().and_then(|left| left.partial_cmp(&right.as_f64()?))
            }
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => (left == right).then_some(Equal),
        };
        match self {
            Self::Equal => order == Some(Equal),
            Self::NotEqual => order != Some(Equal),
            Self::Less => order == Some(Less),
            Self::LessOrEqual => matches!(order, Some(Less | Equal)),
            Self::Greater => order == Some(Greater),
            Self::GreaterOrEqual => matches!(order, Some(Greater | Equal)),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Everything up to the mark, which is passed over.
    fn until(&mut self, mark: &str) -> Result<&'a str, String> {
        let (before, after) = self
            .rest
            .split_once(mark)
            .ok_or_else(|| format!("{mark:?} is missing"))?;
        self.rest = after;
        Ok(before)
    }

    /// A path up to the end, or up to one of the marks in a filter.
    fn path(&mut self, marks: &str) -> Result<Path, String> {
        let mut steps = Vec::new();
        if self.take("$") {
            steps.push(Step::Root);
        } else {
            self.take("@");
        }
        loop {
            if self.rest.is_empty() || self.rest.starts_with(|c| marks.contains(c)) {
                return Ok(Path(steps));
            }
            if self.take("[") {
                steps.push(self.brackets()?);
            } else if self.take("..") {
                steps.push(Step::Recursive);
                if !self.rest.starts_with('[') {
                    steps.extend(self.name(marks)?);
                }
            } else if self.take(".") || steps.is_empty() {
                // `.` alone is the document.
                steps.extend(self.name(marks)?);
            } else {
                return Err(format!("unexpected {:?}", self.rest));
            }
        }
    }

    /// A field after a dot, in which `\` takes the meaning from the next character.
    fn name(&mut self, marks: &str) -> Result<Option<Step>, String> {
        let mut name = String::new();
        let mut characters = self.rest.char_indices();
        self.rest = loop {
            match characters.next() {
                None => break "",
                Some((_, '\\')) => name.push(characters.next().ok_or("nothing follows \\")?.1),
                Some((at, c)) if ".[]() ".contains(c) || marks.contains(c) => {
                    break self.rest.get(at..).unwrap_or_default();
                }
                Some((_, c)) => name.push(c),
            }
        };
        Ok(match name.as_str() {
            "" => None,
            "*" => Some(Step::Wildcard),
            "range" | "end" => return Err(format!("{name} is not supported")),
            _ => Some(Step::Fields(vec![name])),
        })
    }

    /// What follows `[`.
    fn brackets(&mut self) -> Result<Step, String> {
        if self.take("?(") {
            return self.filter();
        }
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted_fields();
        }
        let inside = self.until("]")?;
        if inside == "*" {
            return Ok(Step::Wildcard);
        }
        let number = |text: &str| {
            text.trim()
                .parse::<i64>()
                .map_err(|_| format!("invalid array index {inside}"))
        };
        if !inside.contains(':') {
            return inside
                .split(',')
                .map(number)
                .collect::<Result<_, _>>()
                .map(Step::Indexes);
        }
        let mut parts = inside.split(':').map(|part| match part.trim() {
            "" => Ok(None),
            part => number(part).map(Some),
        });
        let mut part = || parts.next().transpose().map(Option::flatten);
        let (start, end, step) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(format!("invalid array index {inside}"));
        }
        let step = usize::try_from(step.unwrap_or(1))
            .ok()
            .filter(|step| *step > 0)
            .ok_or("step must be > 0")?;
        Ok(Step::Slice { start, end, step })
    }

    fn quoted_fields(&mut self) -> Result<Step, String> {
        let mut names = Vec::new();
        loop {
            names.push(self.quoted()?);
            self.rest = self.rest.trim_start();
            if self.take("]") {
                return Ok(Step::Fields(names));
            }
            if !self.take(",") {
                return Err(format!("unexpected {:?}", self.rest));
            }
            self.rest = self.rest.trim_start();
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = if self.take("\"") { "\"" } else { "'" };
        if quote == "'" && !self.take("'") {
            return Err(format!("unexpected {:?}", self.rest));
        }
        self.until(quote).map(str::to_owned)
    }

    fn filter(&mut self) -> Result<Step, String> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err("filters are nested too deeply".to_owned());
        }
        let left = self.operand()?;
        let comparison = if self.rest.starts_with(')') {
            None
        } else {
            Some(self.comparison()?)
        };
        let test = match comparison {
            Some(comparison) => Some((comparison, self.operand()?)),
            None => None,
        };
        self.nesting -= 1;
        if self.take(")]") {
            Ok(Step::Filter(Box::new(Filter { left, test })))
        } else {
            Err(format!("\")]\" is missing before {:?}", self.rest))
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.rest = self.rest.trim_start();
        let operand = if self.rest.starts_with(['\'', '"']) {
            Operand::Literal(Value::String(self.quoted()?))
        } else if self.rest.starts_with(['@', '$', '.']) {
            Operand::Path(self.path(" =!<>)")?)
        } else {
            let end = self
                .rest
                .find(|c| " =!<>)]".contains(c))
                .unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            let literal = serde_json::from_str(word).map_err(|_| format!("unexpected {word:?}"))?;
            Operand::Literal(literal)
        };
        self.rest = self.rest.trim_start();
        Ok(operand)
    }

    fn comparison(&mut self) -> Result<Comparison, String> {
        let known = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let found = known.into_iter().find(|(text, _)| self.take(text));
        found
            .map(|(_, comparison)| comparison)
            .ok_or_else(|| format!("unrecognized filter operator {:?}", self.rest))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn select(path: &str, document: &Value) -> Result<Value, String> {
        let path = Path::parse(path).map_err(|error| error.to_string())?;
        match path.first(document) {
            Ok(Some(value)) => Ok(value.clone()),
            Ok(None) => Err("no value".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn paths_of_the_kubernetes_dialect() {
        let document = json!({
            "data": {"ok": true, "a.b": 1, "x y": 2, "empty": null},
            "items": [{"n": 1, "name": "a"}, {"n": 2, "name": "b", "extra": 5}, {"n": 3, "name": "c"}],
            "list": [10, 20, 30, 40],
            "limit": 2
        });
        let cases = [
            ("{$}", Ok(document.clone())),
            ("{.}", Ok(document.clone())),
            ("{$.data.ok}", Ok(json!(true))),
            ("{.data.ok}", Ok(json!(true))),
            ("{data.ok}", Ok(json!(true))),
            ("$.data.ok", Ok(json!(true))),
            (" { $.data.ok } ", Ok(json!(true))),
            ("{$.data.a\\.b}", Ok(json!(1))),
            ("{$.data['a.b']}", Ok(json!(1))),
            ("{$.data[\"x y\"]}", Ok(json!(2))),
            ("{$['data']['ok', 'a.b']}", Ok(json!(true))),
            ("{$.data.empty}", Ok(json!(null))),
            ("{$.list[0]}", Ok(json!(10))),
            ("{$.list[-1]}", Ok(json!(40))),
            ("{$.list[2,0]}", Ok(json!(30))),
            ("{$.list[1:3]}", Ok(json!(20))),
            ("{$.list[-2:]}", Ok(json!(30))),
            ("{$.list[1::2]}", Ok(json!(20))),
            ("{$.list[3:1]}", Err("no value")),
            ("{$.list[*]}", Ok(json!(10))),
            ("{$.items[*].n}", Ok(json!(1))),
            ("{$.items[*].extra}", Ok(json!(5))),
            ("{$..extra}", Ok(json!(5))),
            ("{$..[1]}", Err("{\"data\":")),
            ("{$.items[?(@.n>1)].name}", Ok(json!("b"))),
            ("{$.items[?(@.n == 3)].name}", Ok(json!("c"))),
            ("{$.items[?(@.name=='b')].n}", Ok(json!(2))),
            ("{$.items[?(@.name!=\"a\")].n}", Ok(json!(2))),
            ("{$.items[?(@.extra)].n}", Ok(json!(2))),
            ("{$.items[?(@.n==$.limit)].name}", Ok(json!("b"))),
            ("{$.items[?(@.n>'1')].name}", Err("name is not found")),
            ("{$.items[?(@.n>5)]}", Err("no value")),
            ("{$.nothing}", Err("nothing is not found")),
            ("{$.items.n}", Err("n is not found")),
            ("{$.list[9]}", Err("array index out of bounds: index 9, length 4")),
            (
                "{$.list[-5]}",
                Err("array index out of bounds: index -5, length 4"),
            ),
            ("{$.limit[0]}", Err("2 is not array or slice")),
        ];
        for (path, want) in cases {
            match (select(path, &document), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{path}"),
                (Err(got), Err(want)) => assert!(got.starts_with(want), "{path}: {got}"),
                (got, want) => panic!("{path}: {got:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let cases = [
            (
                "{range .items[*]}{.n}{end}",
                "write one path in braces, such as {$.data.value}",
            ),
            ("value: {$.n}", "write one path in braces, such as {$.data.value}"),
            ("{$.list[x]}", "invalid array index x"),
            ("{$.list[1:2:0]}", "step must be > 0"),
            ("{$.list[1:2:3:4]}", "invalid array index 1:2:3:4"),
            ("{$.list[1", "write one path in braces, such as {$.data.value}"),
            ("$.list[1", "\"]\" is missing"),
            ("{$.a['b}", "\"'\" is missing"),
            ("{$.a\\}", "nothing follows \\"),
            ("{$.a[?(@.b ~ 1)]}", "unrecognized filter operator \"~ 1)]\""),
            ("{$.a[?(@.b == c)]}", "unexpected \"c\""),
            ("{$.a[?(@.b == 1]}", "\")]\" is missing before \"]\""),
            ("{$a}", "unexpected \"a\""),
            ("{$.a b}", "unexpected \" b\""),
            ("{.range}", "range is not supported"),
        ];
        for (path, want) in cases {
            let error = Path::parse(path).unwrap_err().to_string();
            assert!(error.ends_with(want), "{path}: {error}");
        }
    }

    #[test]
    fn hostile_paths_cost_little() {
        assert!(Path::parse(&"[".repeat(100_000)).is_err());
        let nested = format!("{{$.a{}}}", "[?(@".repeat(1000));
        assert!(
            Path::parse(&nested)
                .unwrap_err()
                .to_string()
                .contains("nested too deeply")
        );
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        for explosion in ["[0,0]".repeat(60), "..*".repeat(20)] {
            assert_eq!(
                select(&format!("{{${explosion}}}"), &deep),
                Err(PathError::TooMuch.to_string())
            );
        }
    }
}

//! An expression and samples to a value.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Aggregation, Expr, Function, Grouping, LOOKBACK_MS, NAME, Operator, PromqlError, Selector, Value,
};
use crate::metrics::{Labels, Sample, Series};

/// How many points a range query may have, as in Prometheus.
const MAX_POINTS: i64 = 11_000;

/// Evaluates at a time, in milliseconds since 1970.
pub fn eval(expr: &Expr, series: &Series, at_ms: i64) -> Result<Value, PromqlError> {
    match expr {
        Expr::Number(v) => Ok(Value::Scalar(*v)),
        Expr::Select(selector) if selector.range.is_some() => Err(PromqlError::Evaluation(
            "a range vector needs a function such as rate() around it".to_owned(),
        )),
        Expr::Select(selector) => Ok(Value::Vector(instant(selector, series, at_ms))),
        Expr::Negate(of) => Ok(match eval(of, series, at_ms)? {
            Value::Scalar(v) => Value::Scalar(-v),
            Value::Vector(all) => Value::Vector(all.into_iter().map(|(l, v)| (nameless(&l), -v)).collect()),
        }),
        Expr::Call(function, args) => call(*function, args, series, at_ms),
        Expr::Aggregate { op, grouping, of } => Ok(aggregate(*op, grouping, vector(of, series, at_ms)?)),
        Expr::Binary {
            op,
            bool_result,
            matching,
            left,
            right,
        } => {
            let (left, right) = (eval(left, series, at_ms)?, eval(right, series, at_ms)?);
            binary(*op, *bool_result, matching, left, right)
        }
    }
}

/// Evaluates at each step from a time to another, both included: samples by labels.
pub fn eval_range(
    expr: &Expr,
    series: &Series,
    from_ms: i64,
    to_ms: i64,
    step_ms: i64,
) -> Result<BTreeMap<Labels, Vec<(i64, f64)>>, PromqlError> {
    if step_ms <= 0 || to_ms < from_ms || (to_ms - from_ms) / step_ms >= MAX_POINTS {
        return Err(PromqlError::Evaluation(
            "start, end and step must give between 1 and 11000 points".to_owned(),
        ));
    }
    let mut rows: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    let mut at = from_ms;
    while at <= to_ms {
        match eval(expr, series, at)? {
            Value::Scalar(v) => rows.entry(Labels::new()).or_default().push((at, v)),
            Value::Vector(all) => {
                for (labels, v) in all {
                    rows.entry(labels).or_default().push((at, v));
                }
            }
        }
        at += step_ms;
    }
    Ok(rows)
}

fn nameless(labels: &Labels) -> Labels {
    labels
        .iter()
        .filter(|(k, _)| *k != NAME)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn instant(selector: &Selector, series: &Series, at_ms: i64) -> Vec<(Labels, f64)> {
    let at = at_ms - selector.offset;
    series
        .iter()
        .filter(|(labels, _)| selector.fits(labels))
        .filter_map(|(labels, samples)| {
            let last = samples.iter().rev().find(|s| s.at_ms <= at)?;
            (last.at_ms > at - LOOKBACK_MS).then(|| (labels.clone(), last.value))
        })
        .collect()
}

fn vector(expr: &Expr, series: &Series, at_ms: i64) -> Result<Vec<(Labels, f64)>, PromqlError> {
    match eval(expr, series, at_ms)? {
        Value::Vector(all) => Ok(all),
        Value::Scalar(_) => Err(PromqlError::Evaluation(
            "expected an instant vector, got a scalar".to_owned(),
        )),
    }
}

fn scalar(expr: &Expr, series: &Series, at_ms: i64) -> Result<f64, PromqlError> {
    match eval(expr, series, at_ms)? {
        Value::Scalar(v) => Ok(v),
        Value::Vector(_) => Err(PromqlError::Evaluation(
            "expected a scalar, got an instant vector".to_owned(),
        )),
    }
}

fn call(function: Function, args: &[Expr], series: &Series, at_ms: i64) -> Result<Value, PromqlError> {
    match (function, args) {
        (Function::Rate | Function::Increase, [Expr::Select(selector)]) => {
            let Some(range) = selector.range else {
                return Err(PromqlError::Evaluation(
                    "rate and increase need a range, such as [1m]".to_owned(),
                ));
            };
            let until = at_ms - selector.offset;
            let rows = series
                .iter()
                .filter(|(labels, _)| selector.fits(labels))
                .filter_map(|(labels, all)| {
                    // a quarter of an hour is kept, most ranges are a minute
                    let from = all.partition_point(|s| s.at_ms <= until - range);
                    let to = all.partition_point(|s| s.at_ms <= until).max(from);
                    let samples: Vec<Sample> = all.range(from..to).copied().collect();
                    let grown = increase(&samples, until - range, until)?;
                    let per = if function == Function::Rate {
                        range as f64 / 1000.0
                    } else {
                        1.0
                    };
                    Some((nameless(labels), grown / per))
                });
            Ok(Value::Vector(rows.collect()))
        }
        (Function::Rate | Function::Increase, _) => Err(PromqlError::Evaluation(
            "rate and increase take a range selector".to_owned(),
        )),
        (Function::HistogramQuantile, [q, buckets]) => Ok(Value::Vector(quantiles(
            scalar(q, series, at_ms)?,
            vector(buckets, series, at_ms)?,
        ))),
        (Function::Vector, [of]) => Ok(Value::Vector(vec![(Labels::new(), scalar(of, series, at_ms)?)])),
        (Function::Scalar, [of]) => {
            let all = vector(of, series, at_ms)?;
            Ok(Value::Scalar(match all.as_slice() {
                [(_, v)] => *v,
                _ => f64::NAN,
            }))
        }
        _ => Err(PromqlError::Evaluation("wrong number of arguments".to_owned())),
    }
}

/// Growth of a counter between two times, extrapolated to the edges as Prometheus does.
fn increase(samples: &[Sample], from_ms: i64, to_ms: i64) -> Option<f64> {
    let [first, .., last] = samples else { return None };
    let mut grown = last.value - first.value;
    for pair in samples.windows(2) {
        if let [a, b] = pair
            && b.value < a.value
        {
            grown += a.value;
        }
    }
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last.at_ms - first.at_ms);
    let average = sampled / (samples.len() - 1) as f64;
    let mut to_start = seconds(first.at_ms - from_ms);
    let mut to_end = seconds(to_ms - last.at_ms);
    if to_start >= average * 1.1 {
        to_start = average / 2.0;
    }
    if grown > 0.0 && first.value >= 0.0 {
        to_start = to_start.min(sampled * (first.value / grown));
    }
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    Some(grown * ((sampled + to_start + to_end) / sampled))
}

fn quantiles(q: f64, buckets: Vec<(Labels, f64)>) -> Vec<(Labels, f64)> {
    let mut groups: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in buckets {
        labels.remove(NAME);
        let Some(upper) = labels.remove("le").and_then(|le| match le.as_str() {
            "+Inf" => Some(f64::INFINITY),
            le => le.parse().ok(),
        }) else {
            continue;
        };
        groups.entry(labels).or_default().push((upper, count));
    }
    groups
        .into_iter()
        .map(|(labels, buckets)| (labels, quantile(q, buckets)))
        .collect()
}

fn quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut highest = 0.0_f64;
    for bucket in &mut buckets {
        highest = highest.max(bucket.1);
        bucket.1 = highest;
    }
    let [finite @ .., (last, total)] = buckets.as_slice() else {
        return f64::NAN;
    };
    if !last.is_infinite() || finite.is_empty() || *total == 0.0 || total.is_nan() {
        return f64::NAN;
    }
    let rank = q * total;
    let mut below = (0.0, 0.0);
    for (i, &(upper, count)) in finite.iter().enumerate() {
        if count >= rank {
            if i == 0 && upper <= 0.0 {
                return upper;
            }
            let (start, counted) = below;
            let inside = count - counted;
            return if inside == 0.0 {
                upper
            } else {
                start + (upper - start) * ((rank - counted) / inside)
            };
        }
        below = (upper, count);
    }
    below.0
}

fn aggregate(op: Aggregation, grouping: &Grouping, all: Vec<(Labels, f64)>) -> Value {
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (labels, value) in all {
        groups.entry(grouping.key(&labels)).or_default().push(value);
    }
    let rows = groups.into_iter().map(|(labels, values)| {
        let sum: f64 = values.iter().sum();
        let value = match op {
            Aggregation::Sum => sum,
            Aggregation::Avg => sum / values.len() as f64,
            Aggregation::Count => values.len() as f64,
            // a NaN loses against any number, as in Prometheus
            Aggregation::Min => values.into_iter().fold(f64::NAN, f64::min),
            Aggregation::Max => values.into_iter().fold(f64::NAN, f64::max),
        };
        (labels, value)
    });
    Value::Vector(rows.collect())
}

fn binary(
    op: Operator,
    bool_result: bool,
    matching: &Grouping,
    left: Value,
    right: Value,
) -> Result<Value, PromqlError> {
    match (left, right) {
        (Value::Scalar(_), _) | (_, Value::Scalar(_)) if op.is_set() => Err(PromqlError::Evaluation(
            "and, or and unless stand between vectors".to_owned(),
        )),
        (Value::Scalar(a), Value::Scalar(b)) => {
            if op.is_comparison() && !bool_result {
                return Err(PromqlError::Evaluation(
                    "comparisons between scalars must use bool".to_owned(),
                ));
            }
            Ok(Value::Scalar(compute(op, a, b)))
        }
        (Value::Vector(all), Value::Scalar(b)) => Ok(Value::Vector(
            all.into_iter()
                .filter_map(|(labels, a)| combine(op, bool_result, labels, a, b, a))
                .collect(),
        )),
        (Value::Scalar(a), Value::Vector(all)) => Ok(Value::Vector(
            all.into_iter()
                .filter_map(|(labels, b)| combine(op, bool_result, labels, a, b, b))
                .collect(),
        )),
        (Value::Vector(left), Value::Vector(right)) if op.is_set() => {
            Ok(Value::Vector(of_sets(op, matching, left, right)))
        }
        (Value::Vector(left), Value::Vector(right)) => {
            joined(op, bool_result, matching, left, right).map(Value::Vector)
        }
    }
}

/// `and`, `unless` and `or`.
fn of_sets(
    op: Operator,
    matching: &Grouping,
    left: Vec<(Labels, f64)>,
    right: Vec<(Labels, f64)>,
) -> Vec<(Labels, f64)> {
    let keys = |all: &[(Labels, f64)]| -> Vec<Labels> { all.iter().map(|(l, _)| matching.key(l)).collect() };
    let (left_keys, right_keys) = (keys(&left), keys(&right));
    match op {
        Operator::And => left
            .into_iter()
            .filter(|(l, _)| right_keys.contains(&matching.key(l)))
            .collect(),
        Operator::Unless => left
            .into_iter()
            .filter(|(l, _)| !right_keys.contains(&matching.key(l)))
            .collect(),
        _ => {
            let more = right
                .into_iter()
                .filter(|(l, _)| !left_keys.contains(&matching.key(l)));
            left.into_iter().chain(more).collect()
        }
    }
}

/// An operation between the series of two vectors that match, one to one.
fn joined(
    op: Operator,
    bool_result: bool,
    matching: &Grouping,
    left: Vec<(Labels, f64)>,
    right: Vec<(Labels, f64)>,
) -> Result<Vec<(Labels, f64)>, PromqlError> {
    let mut partners: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, value) in right {
        if partners.insert(matching.key(&labels), value).is_some() {
            return Err(PromqlError::Evaluation(
                "found duplicate series on the right side of the operation: many-to-many matching not allowed"
                    .to_owned(),
            ));
        }
    }
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for (labels, a) in left {
        let key = matching.key(&labels);
        let Some(b) = partners.get(&key) else { continue };
        if !seen.insert(key.clone()) {
            return Err(PromqlError::Evaluation(
                "multiple matches for labels: many-to-one matching must be explicit".to_owned(),
            ));
        }
        let kept = if op.is_comparison() && !bool_result {
            labels
        } else {
            key
        };
        rows.extend(combine(op, bool_result, kept, a, *b, a));
    }
    Ok(rows)
}

/// One row of a binary operation; `kept` is the value that a filtering comparison lets through.
fn combine(
    op: Operator,
    bool_result: bool,
    labels: Labels,
    a: f64,
    b: f64,
    kept: f64,
) -> Option<(Labels, f64)> {
    let value = compute(op, a, b);
    if !op.is_comparison() || bool_result {
        return Some((nameless(&labels), value));
    }
    (value != 0.0).then_some((labels, kept))
}

#[expect(clippy::float_cmp, reason = "PromQL compares floats exactly")]
fn compute(op: Operator, a: f64, b: f64) -> f64 {
    let truth = |t: bool| f64::from(u8::from(t));
    match op {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::Modulo => a % b,
        Operator::Power => a.powf(b),
        Operator::Equal => truth(a == b),
        Operator::NotEqual => truth(a != b),
        Operator::Less => truth(a < b),
        Operator::LessEqual => truth(a <= b),
        Operator::Greater => truth(a > b),
        Operator::GreaterEqual => truth(a >= b),
        Operator::Or | Operator::And | Operator::Unless => f64::NAN,
    }
}

//! A subset of PromQL over the simulated metrics: selectors with matchers, `rate`, `increase`, `histogram_quantile`,
//! `vector`, `scalar`, aggregations, arithmetic, comparison and set operators. Everything else is refused by its name.

use std::collections::BTreeMap;
use std::fmt;

use crate::metrics::{Labels, Series};

mod eval;
mod lex;
mod parse;

pub use eval::{eval, eval_range};
pub use parse::parse;

/// Longest query that is read, in bytes.
pub const MAX_QUERY: usize = 16 * 1024;
/// How deep expressions may nest.
pub(crate) const MAX_DEPTH: usize = 64;
/// How many operators a query may have.
pub(crate) const MAX_OPERATORS: usize = 500;
/// How far back an instant selector looks for the last sample, as in Prometheus.
pub(crate) const LOOKBACK_MS: i64 = 5 * 60 * 1000;

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromqlError {
    /// The text is no PromQL.
    #[error("parse error at character {at}: {what}")]
    Syntax {
        /// Offset in bytes.
        at: usize,
        /// What was found or wanted.
        what: String,
    },
    /// It is PromQL, but outside of the subset.
    #[error("the simulated Prometheus does not know {0}")]
    Unsupported(String),
    /// Types or labels do not fit.
    #[error("{0}")]
    Evaluation(String),
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A number.
    Number(f64),
    /// `name{label="value"}[range] offset x`.
    Select(Selector),
    /// A function call.
    Call(Function, Vec<Expr>),
    /// `sum by (a) (…)` and its kind.
    Aggregate {
        /// Which.
        op: Aggregation,
        /// Labels to keep, or to drop.
        grouping: Grouping,
        /// Of what.
        of: Box<Expr>,
    },
    /// Two sides.
    Binary {
        /// Operator.
        op: Operator,
        /// Comparison gives 0 or 1 instead of filtering.
        bool_result: bool,
        /// Labels by which the sides are matched.
        matching: Grouping,
        /// Left side.
        left: Box<Expr>,
        /// Right side.
        right: Box<Expr>,
    },
    /// A minus in front.
    Negate(Box<Expr>),
}

/// Selects series.
#[derive(Clone, Debug)]
pub struct Selector {
    pub(crate) matchers: Vec<(String, Match)>,
    /// Milliseconds; `None` for an instant vector.
    pub(crate) range: Option<i64>,
    pub(crate) offset: i64,
}

/// How a label's value is compared.
#[derive(Clone, Debug)]
pub(crate) enum Match {
    Equal(String),
    NotEqual(String),
    Regex(regex::Regex),
    NotRegex(regex::Regex),
}

impl Match {
    fn fits(&self, value: &str) -> bool {
        match self {
            Self::Equal(want) => value == want,
            Self::NotEqual(want) => value != want,
            Self::Regex(want) => want.is_match(value),
            Self::NotRegex(want) => !want.is_match(value),
        }
    }
}

impl Selector {
    pub(crate) fn fits(&self, labels: &Labels) -> bool {
        self.matchers
            .iter()
            .all(|(label, m)| m.fits(labels.get(label).map_or("", String::as_str)))
    }
}

/// Known functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Per-second increase of a counter.
    Rate,
    /// Increase of a counter over the range.
    Increase,
    /// Quantile of a classic histogram.
    HistogramQuantile,
    /// A scalar as a vector.
    Vector,
    /// The only element of a vector as a scalar.
    Scalar,
}

/// Known aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
}

/// Labels that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Only these.
    By(Vec<String>),
    /// All but these (and the metric's name).
    Without(Vec<String>),
}

impl Grouping {
    fn key(&self, labels: &Labels) -> Labels {
        match self {
            Self::By(keep) => keep
                .iter()
                .filter_map(|l| labels.get_key_value(l))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            Self::Without(drop) => labels
                .iter()
                .filter(|(k, _)| *k != NAME && !drop.contains(k))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        }
    }
}

/// Binary operators, by precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `or`
    Or,
    /// `and`
    And,
    /// `unless`
    Unless,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `^`
    Power,
}

impl Operator {
    fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual
        )
    }

    fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }
}

/// The label that holds a metric's name.
pub(crate) const NAME: &str = "__name__";

/// What an expression evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number.
    Scalar(f64),
    /// One number a series.
    Vector(Vec<(Labels, f64)>),
}

/// One number in the way Prometheus writes it in JSON.
pub(crate) struct Number(pub(crate) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        if v.is_nan() {
            f.write_str("NaN")
        } else if v.is_infinite() {
            f.write_str(if v > 0.0 { "+Inf" } else { "-Inf" })
        } else if v != 0.0 && (v.abs() < 1e-6 || v.abs() >= 1e21) {
            let text = format!("{v:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            write!(
                f,
                "{mantissa}e{}{:02}",
                if exponent < 0 { '-' } else { '+' },
                exponent.abs()
            )
        } else {
            write!(f, "{v}")
        }
    }
}

/// Evaluates a query at a time (milliseconds since 1970) into the JSON that `/api/v1/query` answers.
pub fn answer(query: &str, series: &Series, at_ms: i64) -> Result<serde_json::Value, PromqlError> {
    let at = at_ms as f64 / 1000.0;
    let data = match eval(&parse(query)?, series, at_ms)? {
        Value::Scalar(v) => {
            serde_json::json!({"resultType": "scalar", "result": [at, Number(v).to_string()]})
        }
        Value::Vector(all) => {
            let result: Vec<_> = all
                .iter()
                .map(|(labels, v)| serde_json::json!({"metric": labels, "value": [at, Number(*v).to_string()]}))
                .collect();
            serde_json::json!({"resultType": "vector", "result": result})
        }
    };
    Ok(serde_json::json!({"status": "success", "data": data}))
}

/// Evaluates a query at each step between two times into the JSON that `/api/v1/query_range` answers.
pub fn answer_range(
    query: &str,
    series: &Series,
    from_ms: i64,
    to_ms: i64,
    step_ms: i64,
) -> Result<serde_json::Value, PromqlError> {
    let rows: BTreeMap<Labels, Vec<(i64, f64)>> =
        eval_range(&parse(query)?, series, from_ms, to_ms, step_ms)?;
    let result: Vec<_> = rows
        .iter()
        .map(|(labels, samples)| {
            let values: Vec<_> = samples
                .iter()
                .map(|(t, v)| serde_json::json!([*t as f64 / 1000.0, Number(*v).to_string()]))
                .collect();
            serde_json::json!({"metric": labels, "values": values})
        })
        .collect();
    Ok(serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::metrics::{Sample, labels};

    /// Two pods of each of two versions, one sample a second for two minutes: 10 and 5 requests a second to v1, 2 and 2
    /// to v2, of which one in ten and one in two fail; and a histogram.
    fn series() -> Series {
        let mut series = Vec::new();
        let mut put = |labels: Labels, per_second: f64| {
            let samples = (0..=120).map(|s| Sample {
                at_ms: s * 1000,
                value: s as f64 * per_second,
            });
            series.push((labels, samples.collect()));
        };
        for (pod, version, code, per_second) in [
            ("a", "v1", "200", 10.0),
            ("b", "v1", "200", 5.0),
            ("c", "v2", "200", 1.8),
            ("c", "v2", "500", 0.2),
            ("d", "v2", "200", 1.0),
            ("d", "v2", "500", 1.0),
        ] {
            put(
                labels(
                    "requests_total",
                    &[("pod", pod), ("version", version), ("code", code)],
                ),
                per_second,
            );
        }
        for (le, per_second) in [("0.1", 5.0), ("0.5", 9.0), ("+Inf", 10.0)] {
            put(labels("seconds_bucket", &[("le", le)]), per_second);
        }
        series.into_iter().collect()
    }

    fn rows(query: &str) -> Vec<(String, f64)> {
        match eval(&parse(query).unwrap(), &series(), 120_000).unwrap() {
            Value::Scalar(v) => vec![(String::new(), v)],
            Value::Vector(all) => all
                .into_iter()
                .map(|(labels, v)| {
                    let text: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    (text.join(","), (v * 1e6).round() / 1e6)
                })
                .collect(),
        }
    }

    #[track_caller]
    fn check(query: &str, want: &[(&str, f64)]) {
        let want: Vec<_> = want.iter().map(|(l, v)| ((*l).to_owned(), *v)).collect();
        assert_eq!(rows(query), want, "{query}");
    }

    #[test]
    fn arithmetic_groups_as_prometheus_does() {
        check("1 + 2 * 3 ^ 2", &[("", 19.0)]);
        check("-2 ^ 2", &[("", -4.0)]);
        check("2 ^ 3 ^ 2", &[("", 512.0)]);
        check("(1 + 2) * 3 - 7 % 4 / 2", &[("", 7.5)]);
        check("1 > bool 2", &[("", 0.0)]);
        check("scalar(vector(3)) == bool 3", &[("", 1.0)]);
    }

    #[test]
    fn selectors_match_labels() {
        check(
            r#"requests_total{pod="a"}"#,
            &[("__name__=requests_total,code=200,pod=a,version=v1", 1200.0)],
        );
        check(
            r#"sum(requests_total{version=~"v[12]", code!="500"})"#,
            &[("", 2136.0)],
        );
        check(r#"count({__name__=~".*_total", pod!~"a|b"})"#, &[("", 4.0)]);
        check(r#"sum(requests_total{nothing=""}) by (nothing)"#, &[("", 2280.0)]);
        check(r#"requests_total{pod="z"}"#, &[]);
    }

    #[test]
    fn rates_and_increases_extrapolate_to_the_range() {
        check(
            r#"rate(requests_total{pod="a"}[1m])"#,
            &[("code=200,pod=a,version=v1", 10.0)],
        );
        check(
            r"sum by (version) (rate(requests_total[1m]))",
            &[("version=v1", 15.0), ("version=v2", 4.0)],
        );
        check(
            r#"sum(increase(requests_total{code="500"}[1m])) without (pod)"#,
            &[("code=500,version=v2", 72.0)],
        );
        check(
            r#"rate(requests_total{pod="a"}[30s] offset 1m)"#,
            &[("code=200,pod=a,version=v1", 10.0)],
        );
        // one sample in the range gives no rate
        check(r#"rate(requests_total{pod="a"}[1s])"#, &[]);
    }

    #[test]
    fn success_rates_as_people_write_them() {
        let good = r#"sum(rate(requests_total{version="v2",code!~"5.."}[1m]))"#;
        let all = r#"sum(rate(requests_total{version="v2"}[1m]))"#;
        check(&format!("{good} / {all}"), &[("", 0.7)]);
        check(&format!("{good} / {all} >= 0.95"), &[]);
        check(&format!("({good} / {all} < bool 0.95) * 1"), &[("", 1.0)]);
        check(
            r#"sum(rate(requests_total{version="v9"}[1m])) or vector(0)"#,
            &[("", 0.0)],
        );
        check(
            r#"sum by (pod) (rate(requests_total{code="500"}[1m])) / on (pod) sum by (pod) (rate(requests_total[1m]))"#,
            &[("pod=c", 0.1), ("pod=d", 0.5)],
        );
        check(r"sum(requests_total) / sum(missing)", &[]);
        assert!(rows("vector(0) / vector(0)")[0].1.is_nan());
    }

    #[test]
    fn quantiles_interpolate_inside_a_bucket() {
        check(
            "histogram_quantile(0.5, sum by (le) (rate(seconds_bucket[1m])))",
            &[("", 0.1)],
        );
        check("histogram_quantile(0.7, rate(seconds_bucket[1m]))", &[("", 0.3)]);
        check("histogram_quantile(0.99, rate(seconds_bucket[1m]))", &[("", 0.5)]);
    }

    #[test]
    fn aggregations() {
        check(r#"avg(requests_total{version="v1"})"#, &[("", 900.0)]);
        check(
            "max by (code) (requests_total)",
            &[("code=200", 1200.0), ("code=500", 120.0)],
        );
        check("min(requests_total)", &[("", 24.0)]);
        check(
            "requests_total > 500",
            &[
                ("__name__=requests_total,code=200,pod=a,version=v1", 1200.0),
                ("__name__=requests_total,code=200,pod=b,version=v1", 600.0),
            ],
        );
        check(
            "requests_total{pod=\"a\"} and requests_total unless requests_total{pod=\"b\"}",
            &[("__name__=requests_total,code=200,pod=a,version=v1", 1200.0)],
        );
    }

    #[test]
    fn what_is_not_known_is_named() {
        let error = |query: &str| match parse(query) {
            Err(e) => e.to_string(),
            Ok(expr) => eval(&expr, &series(), 120_000).unwrap_err().to_string(),
        };
        assert_eq!(
            error("irate(x[1m])"),
            "the simulated Prometheus does not know function irate"
        );
        assert_eq!(
            error("topk(1, x)"),
            "the simulated Prometheus does not know function topk"
        );
        assert_eq!(
            error("x[5m:1m]"),
            "the simulated Prometheus does not know subqueries"
        );
        assert_eq!(error("x[5m"), "parse error at character 4: expected \"]\"");
        assert_eq!(error("rate(x)"), "rate and increase need a range, such as [1m]");
        assert_eq!(
            error("x[1m]"),
            "a range vector needs a function such as rate() around it"
        );
        assert_eq!(
            error("x * on (a) group_left () y"),
            "the simulated Prometheus does not know group_left matching"
        );
        assert_eq!(error("1 > 2"), "comparisons between scalars must use bool");
        assert_eq!(error("sum(x"), "parse error at character 5: expected \")\"");
        assert_eq!(
            error("x{a=\"b}"),
            "parse error at character 4: unterminated or badly escaped string"
        );
        assert_eq!(error(""), "parse error at character 0: expected an expression");
        assert!(
            parse(&"(".repeat(10_000))
                .unwrap_err()
                .to_string()
                .contains("nests too deep")
        );
    }

    #[test]
    fn answers_are_in_prometheus_form() {
        assert_eq!(
            answer(r#"requests_total{pod="a"} * 0.1"#, &series(), 120_500).unwrap(),
            json!({"status": "success", "data": {"resultType": "vector", "result": [
                {"metric": {"code": "200", "pod": "a", "version": "v1"}, "value": [120.5, "120"]}]}})
        );
        assert_eq!(
            answer("1 / 0", &series(), 1000).unwrap(),
            json!({"status": "success", "data": {"resultType": "scalar", "result": [1.0, "+Inf"]}})
        );
        assert_eq!(
            answer_range("sum(requests_total)", &series(), 118_000, 120_000, 1000).unwrap()["data"]["result"],
            json!([{"metric": {}, "values": [[118.0, "2242"], [119.0, "2261"], [120.0, "2280"]]}])
        );
        let text = |v: f64| Number(v).to_string();
        assert_eq!(
            [text(1e-7), text(1e21), text(0.1), text(-0.0), text(123_456_789.0)],
            ["1e-07", "1e+21", "0.1", "-0", "123456789"]
        );
    }
}

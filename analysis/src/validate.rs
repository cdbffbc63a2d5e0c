//! What an analysis run must look like (contract 4.3). The words are upstream's.

use std::collections::{BTreeMap, BTreeSet};

use regex::RegexBuilder;
use tidegate_crds::{DryRun, GoDuration, IntOrString, MeasurementRetention, Metric};

/// Most bytes of a rule's regular expression.
const MAX_PATTERN: usize = 1024;
/// Most bytes that a compiled rule may take.
const MAX_PATTERN_MEMORY: usize = 1 << 20;

/// The first reason why these metrics cannot be measured, if there is one.
pub fn validate_metrics(metrics: &[Metric]) -> Option<String> {
    if metrics.is_empty() {
        return Some("no metrics specified".to_owned());
    }
    let mut names = BTreeSet::new();
    metrics.iter().enumerate().find_map(|(index, metric)| {
        if !names.insert(metric.name.as_str()) {
            return Some(format!("metrics[{index}]: duplicate name '{}'", metric.name));
        }
        validate_metric(metric).map(|problem| format!("metrics[{index}]: {problem}"))
    })
}

fn validate_metric(metric: &Metric) -> Option<String> {
    let limits = Limits::of(metric);
    let count = number(metric.count.as_ref());
    let failure_limit = number(metric.failure_limit.as_ref());
    let fixed = [
        (
            limits.consecutive_success < 0,
            "consecutiveSuccessLimit must be >= 0",
        ),
        (failure_limit < -1, "failureLimit must be >= -1"),
        (
            failure_limit < 0 && limits.consecutive_success == 0,
            "failureLimit and consecutiveSuccessLimit cannot both be disabled",
        ),
        (limits.inconclusive < 0, "inconclusiveLimit must be >= 0"),
        (limits.consecutive_error < 0, "consecutiveErrorLimit must be >= 0"),
        (
            count > 0 && limits.consecutive_success == 0 && count < failure_limit,
            "count must be >= failureLimit",
        ),
        (
            count > 0 && count < failure_limit.max(0).saturating_add(limits.consecutive_success),
            "count must be >= failureLimit + consecutiveSuccessLimit",
        ),
        (
            count > 0 && count < limits.inconclusive,
            "count must be >= inconclusiveLimit",
        ),
        (
            count > 1 && !is_given(metric.interval.as_ref()),
            "interval must be specified when count > 1",
        ),
    ];
    if let Some((_, problem)) = fixed.into_iter().find(|(wrong, _)| *wrong) {
        return Some(problem.to_owned());
    }
    for (duration, name) in [
        (&metric.interval, "interval"),
        (&metric.initial_delay, "startDelay"),
    ] {
        let parsed = duration
            .as_ref()
            .filter(|text| !text.as_str().is_empty())
            .map(GoDuration::parse);
        if let Some(Err(error)) = parsed {
            return Some(format!("invalid {name} string: {error}"));
        }
    }
    match providers(metric) {
        0 => Some("no provider specified".to_owned()),
        1 => None,
        _ => Some("multiple providers specified".to_owned()),
    }
}

fn providers(metric: &Metric) -> usize {
    let provider = &metric.provider;
    [
        provider.prometheus.is_some(),
        provider.job.is_some(),
        provider.web.is_some(),
        provider.wavefront.is_some(),
        provider.kayenta.is_some(),
        provider.datadog.is_some(),
        provider.new_relic.is_some(),
        provider.cloud_watch.is_some(),
        provider.graphite.is_some(),
        provider.influxdb.is_some(),
        provider.skywalking.is_some(),
    ]
    .into_iter()
    .filter(|given| *given)
    .count()
        + provider.plugin.len()
}

/// The limits of a metric, with the defaults (F97 to F100).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most failed measurements; `None`: any number.
    pub(crate) failure: Option<i64>,
    pub(crate) inconclusive: i64,
    pub(crate) consecutive_error: i64,
    /// 0: off.
    pub(crate) consecutive_success: i64,
}

impl Limits {
    pub(crate) fn of(metric: &Metric) -> Self {
        Self {
            failure: Some(number(metric.failure_limit.as_ref())).filter(|limit| *limit >= 0),
            inconclusive: number(metric.inconclusive_limit.as_ref()),
            consecutive_error: metric
                .consecutive_error_limit
                .as_ref()
                .map_or(4, IntOrString::int_value),
            consecutive_success: number(metric.consecutive_success_limit.as_ref()),
        }
    }
}

/// How many measurements a metric takes; `None`: it runs until something stops it (F96).
pub fn effective_count(metric: &Metric) -> Option<i64> {
    match number(metric.count.as_ref()) {
        0 if is_given(metric.interval.as_ref()) => None,
        0 => Some(1),
        count => Some(count),
    }
}

/// Whether a metric never ends by itself, which steps and blue-green analyses do not allow (contract 4.2).
pub fn runs_indefinitely(metric: &Metric) -> bool {
    effective_count(metric).is_none()
}

/// What is allowed and hardly meant: the field of the metric, and what it comes to. Upstream says nothing about these.
pub fn remarks(metric: &Metric) -> Vec<(&'static str, String)> {
    let numbers = [
        ("count", metric.count.as_ref()),
        ("failureLimit", metric.failure_limit.as_ref()),
        ("inconclusiveLimit", metric.inconclusive_limit.as_ref()),
        ("consecutiveErrorLimit", metric.consecutive_error_limit.as_ref()),
        (
            "consecutiveSuccessLimit",
            metric.consecutive_success_limit.as_ref(),
        ),
    ];
    let mut remarks: Vec<_> = numbers
        .into_iter()
        .filter_map(|(field, value)| match value? {
            IntOrString::String(text) if text.parse::<i64>().is_err() => Some((
                field,
                format!("{text:?} is no number and counts as 0: write a number"),
            )),
            _ => None,
        })
        .collect();
    let limits = Limits::of(metric);
    let never = [
        ("failureLimit", "fail", limits.failure),
        ("inconclusiveLimit", "be inconclusive", Some(limits.inconclusive)),
    ];
    if let Some(count) = effective_count(metric).filter(|count| *count > 0) {
        remarks.extend(never.into_iter().filter_map(|(field, outcome, limit)| {
            let limit = limit.filter(|limit| *limit >= count)?;
            let message = format!(
                "the metric can never {outcome}: it is measured {count} times at most, and {limit} bad ones are forgiven: set {field} to \
                 less than {count}"
            );
            Some((field, message))
        }));
    }
    remarks
}

fn number(value: Option<&IntOrString>) -> i64 {
    value.map_or(0, IntOrString::int_value)
}

fn is_given(duration: Option<&GoDuration>) -> bool {
    duration.is_some_and(|text| !text.as_str().is_empty())
}

/// The metrics in dry run, or why a rule is wrong (F102).
pub fn dry_run_metrics(rules: &[DryRun], metrics: &[Metric]) -> Result<BTreeSet<String>, String> {
    let mut dry = BTreeSet::new();
    for (index, rule) in rules.iter().enumerate() {
        let names = matching(&rule.metric_name, metrics);
        if names.is_empty() {
            return Err(format!("dryRun[{index}]: Rule didn't match any metric name(s)"));
        }
        dry.extend(names);
    }
    Ok(dry)
}

/// How many measurements to keep of which metric, where it is not the default, or why a rule is wrong (F103). The
/// last rule for a metric counts.
pub fn retention_limits(
    rules: &[MeasurementRetention],
    metrics: &[Metric],
) -> Result<BTreeMap<String, usize>, String> {
    let mut limits = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let names = matching(&rule.metric_name, metrics);
        if names.is_empty() {
            return Err(format!(
                "measurementRetention[{index}]: Rule didn't match any metric name(s)"
            ));
        }
        let limit = usize::try_from(rule.limit).ok().filter(|limit| *limit > 0);
        for name in names {
            match limit {
                Some(limit) => limits.insert(name, limit),
                None => limits.remove(&name),
            };
        }
    }
    Ok(limits)
}

/// Names that the pattern matches anywhere; none for a pattern that is no regular expression, as in upstream.
fn matching(pattern: &str, metrics: &[Metric]) -> Vec<String> {
    if pattern.len() > MAX_PATTERN {
        return Vec::new();
    }
    let Ok(regex) = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_MEMORY).build() else {
        return Vec::new();
    };
    metrics
        .iter()
        .map(|metric| &metric.name)
        .filter(|name| regex.is_match(name))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metrics(json: Value) -> Vec<Metric> {
        serde_json::from_value(json).unwrap()
    }

    fn first_problems(cases: impl IntoIterator<Item = (serde_json::Value, Option<&'static str>)>) {
        for (json, want) in cases {
            assert_eq!(
                validate_metrics(&metrics(json.clone())).as_deref(),
                want,
                "{json}"
            );
        }
    }

    #[test]
    fn problems_of_names_providers_and_times() {
        let web = json!({"web": {"url": "http://x"}});
        first_problems([
            (json!([]), Some("no metrics specified")),
            (
                json!([{"name": "a", "provider": web}, {"name": "a", "provider": web}]),
                Some("metrics[1]: duplicate name 'a'"),
            ),
            (
                json!([{"name": "a", "provider": {}}]),
                Some("metrics[0]: no provider specified"),
            ),
            (
                json!([{"name": "a", "provider": {"web": {"url": ""}, "job": {"spec": {}}}}]),
                Some("metrics[0]: multiple providers specified"),
            ),
            (
                json!([{"name": "a", "provider": {"plugin": {"p": {}, "q": {}}}}]),
                Some("metrics[0]: multiple providers specified"),
            ),
            (
                json!([{"name": "a", "provider": web}, {"name": "b", "provider": web, "count": 2}]),
                Some("metrics[1]: interval must be specified when count > 1"),
            ),
            (
                json!([{"name": "a", "provider": web, "count": "2", "interval": ""}]),
                Some("metrics[0]: interval must be specified when count > 1"),
            ),
            (
                json!([{"name": "a", "provider": web, "interval": "5"}]),
                Some("metrics[0]: invalid interval string: time: missing unit in duration \"5\""),
            ),
            (
                json!([{"name": "a", "provider": web, "initialDelay": "x"}]),
                Some("metrics[0]: invalid startDelay string: time: invalid duration \"x\""),
            ),
        ]);
    }

    #[test]
    fn problems_of_limits() {
        let web = json!({"web": {"url": "http://x"}});
        first_problems([
            (
                json!([{"name": "a", "provider": web, "failureLimit": -2}]),
                Some("metrics[0]: failureLimit must be >= -1"),
            ),
            (
                json!([{"name": "a", "provider": web, "failureLimit": -1}]),
                Some("metrics[0]: failureLimit and consecutiveSuccessLimit cannot both be disabled"),
            ),
            (
                json!([{"name": "a", "provider": web, "failureLimit": -1, "consecutiveSuccessLimit": 1}]),
                None,
            ),
            (
                json!([{"name": "a", "provider": web, "consecutiveSuccessLimit": -1}]),
                Some("metrics[0]: consecutiveSuccessLimit must be >= 0"),
            ),
            (
                json!([{"name": "a", "provider": web, "inconclusiveLimit": -1}]),
                Some("metrics[0]: inconclusiveLimit must be >= 0"),
            ),
            (
                json!([{"name": "a", "provider": web, "consecutiveErrorLimit": -1}]),
                Some("metrics[0]: consecutiveErrorLimit must be >= 0"),
            ),
            (
                json!([{"name": "a", "provider": web, "count": 1, "failureLimit": 2}]),
                Some("metrics[0]: count must be >= failureLimit"),
            ),
            (
                json!([{"name": "a", "provider": web, "count": 3, "interval": "1s", "failureLimit": 2, "consecutiveSuccessLimit": 2}]),
                Some("metrics[0]: count must be >= failureLimit + consecutiveSuccessLimit"),
            ),
            (
                json!([{"name": "a", "provider": web, "count": 1, "inconclusiveLimit": 2}]),
                Some("metrics[0]: count must be >= inconclusiveLimit"),
            ),
            (
                json!([{"name": "a", "provider": web, "count": 0, "failureLimit": 2, "interval": "1m"}]),
                None,
            ),
        ]);
    }

    #[test]
    fn what_is_allowed_and_hardly_meant() {
        let never = |field: &str, outcome: &str, count: i64, limit: i64| {
            format!(
                "{field}: the metric can never {outcome}: it is measured {count} times at most, and {limit} bad ones are forgiven: set {field} \
                 to less than {count}"
            )
        };
        let cases = [
            (json!({"count": 3, "failureLimit": 2, "interval": "1m"}), vec![]),
            (
                json!({"count": 3, "failureLimit": 3, "interval": "1m"}),
                vec![never("failureLimit", "fail", 3, 3)],
            ),
            // one measurement by default
            (
                json!({"failureLimit": 1}),
                vec![never("failureLimit", "fail", 1, 1)],
            ),
            (
                json!({"count": "2", "inconclusiveLimit": "2", "interval": "1m"}),
                vec![never("inconclusiveLimit", "be inconclusive", 2, 2)],
            ),
            // without an end there are always enough of them, and -1 says that it shall not fail
            (json!({"failureLimit": 5, "interval": "1m"}), vec![]),
            (
                json!({"count": 3, "failureLimit": -1, "consecutiveSuccessLimit": 1, "interval": "1m"}),
                vec![],
            ),
            (
                json!({"count": "many", "interval": "1m"}),
                vec!["count: \"many\" is no number and counts as 0: write a number".to_owned()],
            ),
        ];
        for (json, want) in cases {
            let metric: Metric = serde_json::from_value(json.clone()).unwrap();
            let said: Vec<String> = remarks(&metric)
                .into_iter()
                .map(|(field, message)| format!("{field}: {message}"))
                .collect();
            assert_eq!(said, want, "{json}");
        }
    }

    #[test]
    fn how_often_a_metric_is_measured() {
        let cases = [
            (json!({}), Some(1)),
            (json!({"count": 0}), Some(1)),
            (json!({"interval": "1m"}), None),
            (json!({"count": 0, "interval": "1m"}), None),
            (json!({"count": "0", "interval": "1m"}), None),
            (json!({"count": "3", "interval": "1m"}), Some(3)),
            (json!({"count": "many", "interval": "1m"}), None),
        ];
        for (json, want) in cases {
            let metric: Metric = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(effective_count(&metric), want, "{json}");
            assert_eq!(runs_indefinitely(&metric), want.is_none(), "{json}");
        }
    }

    #[test]
    fn rules_match_anywhere_in_a_name() {
        let metrics = metrics(json!([{"name": "latency"}, {"name": "latency-p99"}, {"name": "errors"}]));
        let dry = |name: &str| {
            dry_run_metrics(
                &[DryRun {
                    metric_name: name.to_owned(),
                }],
                &metrics,
            )
        };
        assert_eq!(
            dry("latency").unwrap(),
            ["latency".to_owned(), "latency-p99".to_owned()].into()
        );
        assert_eq!(dry("^latency$").unwrap(), ["latency".to_owned()].into());
        for no_match in ["*", "x", &"e".repeat(2000), "(e{1000}){1000}{1000}"] {
            assert_eq!(
                dry(no_match).unwrap_err(),
                "dryRun[0]: Rule didn't match any metric name(s)"
            );
        }
        let keep =
            |rules: Value| retention_limits(&serde_json::from_value::<Vec<_>>(rules).unwrap(), &metrics);
        assert_eq!(
            keep(
                json!([{"metricName": ".*", "limit": 3}, {"metricName": "err", "limit": 5}, {"metricName": "p99", "limit": 0}])
            ),
            Ok([("errors".to_owned(), 5), ("latency".to_owned(), 3)].into())
        );
        assert_eq!(
            keep(json!([{"metricName": "e", "limit": 3}, {"metricName": "x", "limit": 3}])),
            Err("measurementRetention[1]: Rule didn't match any metric name(s)".to_owned())
        );
    }
}

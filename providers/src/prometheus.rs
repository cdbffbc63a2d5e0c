//! Prometheus: a query, or a range query, as a number or a list of numbers (F110).
//!
//! The client library asks; its answer is taken raw and read here, because the library reads an answer of any size, drops
//! the warnings and does not tell a native histogram from an empty sample.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_http_query::{Client, Error, InstantQueryBuilder, RangeQueryBuilder};
use reqwest::Response;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use tidegate_analysis::expr::{Env, Kind, Program, Value};
use tidegate_analysis::{Answer, Outcome, Trouble};
use tidegate_crds::{PrometheusMetric, PrometheusRangeQueryArgs};

use crate::{
    Failure, Measured,
    auth::{Login, Tokens},
    http::{Answered, Http, MAX_TIMEOUT, address, failure, headers},
};

/// Key in the metadata of a metric: the query with its arguments filled in.
const RESOLVED_QUERY_KEY: &str = "ResolvedPrometheusQuery";
/// Key in the metadata of a measurement.
const WARNINGS_KEY: &str = "warnings";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// What Prometheus answers.
#[derive(Deserialize)]
struct Reply {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Sample),
    Vector(Vec<Series>),
    Matrix(Vec<Series>),
    String(serde::de::IgnoredAny),
}

/// A time, and a number as text.
type Sample = (f64, String);

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    value: Option<Sample>,
    #[serde(default)]
    values: Vec<Sample>,
}

/// What the provider says of the metric.
pub(crate) fn metadata(metric: &PrometheusMetric) -> BTreeMap<String, String> {
    let query = metric.query.as_ref().filter(|query| !query.is_empty());
    query
        .map(|query| (RESOLVED_QUERY_KEY.to_owned(), query.clone()))
        .into_iter()
        .collect()
}

pub(crate) async fn measure(
    http: &Http,
    tokens: &Tokens,
    default_address: Option<&str>,
    max_values: usize,
    metric: &PrometheusMetric,
    now: Timestamp,
) -> Result<Measured, Failure> {
    let configuration = |message: &str| Failure::new(Trouble::Configuration, message);
    let given = metric.address.as_deref().filter(|address| !address.is_empty());
    let base = given
        .or(default_address)
        .ok_or_else(|| configuration("prometheus address is not configured"))?;
    let base = address(base, "prometheus address")?;
    let timeout = match metric.timeout {
        Some(seconds) if seconds < 0 => {
            return Err(configuration("prometheus timeout should not be negative"));
        }
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        _ => DEFAULT_TIMEOUT,
    }
    .min(MAX_TIMEOUT);
    let range = metric.range_query.as_ref();
    let range = range.map(|range| Range::of(range, now)).transpose()?;

    let insecure = metric.insecure == Some(true);
    let login = Login {
        authentication: metric.authentication.as_ref(),
        insecure,
    };
    let client = http.client(insecure);
    // Never sent: it shows which headers and which address the client makes of all that logs in.
    let request = client.get(base).headers(headers(&metric.headers)?);
    let request = tokens.log_in(http, request, &login).await?.build();
    let request = request.map_err(|error| failure(&error))?;

    let mut base = request.url().clone();
    if base.path() == "/" && base.query().is_some() {
        // The library would drop it.
        return Err(configuration(
            "prometheus address has a query but no path: name the path in front of /api/v1, or leave the query out",
        ));
    }
    let path = base.path().trim_end_matches('/').to_owned();
    base.set_path(&path);
    let client = Client::from(client.clone(), base.as_str()).map_err(|error| unsent(&error))?;
    let query = metric.query.as_deref().unwrap_or_default();
    let mut question = if let Some(Range { start, end, step }) = range {
        // Whole seconds: the library takes no others.
        Question::Range(client.query_range(query, start.as_second(), end.as_second(), step))
    } else {
        // Not `at`, which takes whole seconds.
        Question::Instant(client.query(query).query("time", seconds(now)))
    };
    question = question.timeout(timeout);
    for (name, value) in request.headers() {
        question = question.header(name, value);
    }
    let mut answered = http.receive(question.clone().post(), timeout).await?;
    // Proxies in front of Prometheus may not let a POST through.
    if matches!(answered.status.as_u16(), 405 | 501) {
        answered = http.receive(question.get(), timeout).await?;
    }
    if answered.status.as_u16() == 401 {
        tokens.forget(&login);
    }
    read(&answered, max_values)
}

fn seconds(time: Timestamp) -> String {
    format!("{}.{:03}", time.as_second(), time.subsec_millisecond())
}

/// A query on its way: the library has a type for each endpoint.
#[derive(Clone)]
enum Question {
    Instant(InstantQueryBuilder),
    Range(RangeQueryBuilder),
}

impl Question {
    fn timeout(self, timeout: Duration) -> Self {
        let timeout = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        match self {
            Self::Instant(query) => Self::Instant(query.timeout(timeout)),
            Self::Range(query) => Self::Range(query.timeout(timeout)),
        }
    }

    fn header(self, name: &HeaderName, value: &HeaderValue) -> Self {
        match self {
            Self::Instant(query) => Self::Instant(query.header(name, value.clone())),
            Self::Range(query) => Self::Range(query.header(name, value.clone())),
        }
    }

    async fn post(self) -> Result<Response, Failure> {
        let response = match self {
            Self::Instant(query) => query.post_raw().await,
            Self::Range(query) => query.post_raw().await,
        };
        response.map_err(|error| unsent(&error))
    }

    async fn get(self) -> Result<Response, Failure> {
        let response = match self {
            Self::Instant(query) => query.get_raw().await,
            Self::Range(query) => query.get_raw().await,
        };
        response.map_err(|error| unsent(&error))
    }
}

/// What went wrong before there was a response.
fn unsent(error: &Error) -> Failure {
    match error {
        Error::Client(client) if let Some(cause) = client.inner() => failure(cause),
        // Its message is fixed; what is behind it may show the address.
        other => Failure::new(Trouble::Configuration, other.to_string()),
    }
}

/// A range query's times; the step in seconds.
struct Range {
    start: Timestamp,
    end: Timestamp,
    step: f64,
}

impl Range {
    fn of(range: &PrometheusRangeQueryArgs, now: Timestamp) -> Result<Self, Failure> {
        let configuration = |message: String| Failure::new(Trouble::Configuration, message);
        let time = |name: &str, source: &Option<String>| {
            let source = source.as_deref().unwrap_or_default();
            let program = Program::compile(source, Kind::Range).map_err(|error| error.to_string());
            let time = program.and_then(|program| {
                program
                    .run_time(&Env {
                        result: Value::Nil,
                        now,
                    })
                    .map_err(|error| error.to_string())
            });
            time.map_err(|error| configuration(format!("failed to parse rangeQuery.{name} as time: {error}")))
        };
        let step = range.step.clone().unwrap_or_default();
        let parsed = step.parse().map_err(|error| {
            configuration(format!("failed to parse rangeQuery.step as duration: {error}"))
        })?;
        if !parsed.is_positive() {
            return Err(configuration(format!(
                "rangeQuery.step must be positive, but is {step}"
            )));
        }
        Ok(Self {
            start: time("start", &range.start)?,
            end: time("end", &range.end)?,
            step: parsed.as_secs_f64(),
        })
    }
}

/// What an answer says.
pub(crate) fn read(answered: &Answered, max_values: usize) -> Result<Measured, Failure> {
    let (answer, warnings) = answer_of(answered, max_values)?;
    let warnings = warnings
        .iter()
        .map(|warning| format!("\"{warning}\""))
        .collect::<Vec<_>>()
        .join(", ");
    let metadata = (!warnings.is_empty()).then(|| (WARNINGS_KEY.to_owned(), warnings));
    Ok(Measured {
        outcome: Outcome::Value(answer),
        metadata: metadata.into_iter().collect(),
    })
}

fn answer_of(answered: &Answered, max_values: usize) -> Result<(Answer, Vec<String>), Failure> {
    let code = answered.status.as_u16();
    let reply: Reply = match serde_json::from_slice(&answered.body) {
        Ok(reply) => reply,
        Err(_) if answered.status.is_server_error() => {
            return Err(Failure::new(
                Trouble::ServerError,
                format!("server_error: server error: {code}"),
            ));
        }
        Err(_) if !answered.status.is_success() => {
            return Err(Failure::new(
                Trouble::Rejected,
                format!("client_error: client error: {code}"),
            ));
        }
        Err(error) => {
            return Err(Failure::new(
                Trouble::Malformed,
                format!("the answer is not Prometheus': {error}"),
            ));
        }
    };
    if reply.status != "success" {
        let kind = reply.error_type.unwrap_or_else(|| "error".to_owned());
        let trouble = match kind.as_str() {
            "timeout" | "canceled" => Trouble::Timeout,
            "internal" | "unavailable" => Trouble::ServerError,
            _ => Trouble::Rejected,
        };
        return Err(Failure::new(
            trouble,
            format!("{kind}: {}", reply.error.unwrap_or_default()),
        ));
    }
    let answer = match reply.data {
        Some(Data::Scalar((_, text))) => Answer::Number(number(&text)?),
        Some(Data::Vector(series) | Data::Matrix(series)) => Answer::Numbers(numbers(&series, max_values)?),
        Some(Data::String(_)) | None => {
            return Err(Failure::new(
                Trouble::Malformed,
                "Prometheus metric type not supported",
            ));
        }
    };
    Ok((answer, reply.warnings))
}

fn numbers(series: &[Series], max_values: usize) -> Result<Vec<f64>, Failure> {
    let values: usize = series
        .iter()
        .map(|one| one.values.len() + usize::from(one.value.is_some()))
        .sum();
    if values > max_values {
        let message =
            format!("the query gives {values} values, more than {max_values}: aggregate in the query");
        return Err(Failure::new(Trouble::TooLarge, message));
    }
    let mut numbers = Vec::with_capacity(values);
    for one in series {
        if one.value.is_none() && one.values.is_empty() {
            let message =
                "the query gives a native histogram: use histogram_quantile() or histogram_count() on it";
            return Err(Failure::new(Trouble::Malformed, message));
        }
        for (_, text) in one.value.iter().chain(&one.values) {
            numbers.push(number(text)?);
        }
    }
    Ok(numbers)
}

fn number(text: &str) -> Result<f64, Failure> {
    text.parse()
        .map_err(|_| Failure::new(Trouble::Malformed, "the answer has a sample that is no number"))
}

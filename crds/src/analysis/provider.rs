use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::schema;
use crate::{GoDuration, IntOrString, text_enum};

/// Who measures; exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct MetricProvider {
    /// A Prometheus server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusMetric>,
    /// A Kayenta canary judgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kayenta: Option<KayentaMetric>,
    /// An HTTP endpoint that answers JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<WebMetric>,
    /// Datadog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datadog: Option<DatadogMetric>,
    /// Wavefront.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wavefront: Option<WavefrontMetric>,
    /// New Relic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_relic: Option<NewRelicMetric>,
    /// A Kubernetes Job: success is a Job that completes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobMetric>,
    /// Amazon CloudWatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_watch: Option<CloudWatchMetric>,
    /// Graphite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphite: Option<GraphiteMetric>,
    /// InfluxDB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub influxdb: Option<InfluxdbMetric>,
    /// Apache SkyWalking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skywalking: Option<SkyWalkingMetric>,
    /// A metric plugin, by name, with its configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Opaque"))]
    pub plugin: BTreeMap<String, Value>,
}

/// A query to a Prometheus server. The result is a number, or a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct PrometheusMetric {
    /// URL of the server. Default: the controller's environment variable `ARGO_ROLLOUTS_PROMETHEUS_ADDRESS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The query in PromQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How to log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Seconds that a query may take. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Do not verify the server's certificate. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Headers of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<WebMetricHeader>,
    /// Makes it a range query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_query: Option<PrometheusRangeQueryArgs>,
}

/// Limits of a range query.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct PrometheusRangeQueryArgs {
    /// Expression for the start, such as `now() - duration("1h")`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Expression for the end, such as `now()`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Time between two points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<GoDuration>,
}

/// How to log in to a server; at most one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Authentication {
    /// Amazon's request signing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigv4: Option<Sigv4Config>,
    /// OAuth 2 client credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2Config>,
    /// Name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuthConfig>,
}

/// Amazon's request signing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Sigv4Config {
    /// Region of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Profile of the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Role to assume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
}

/// OAuth 2 client credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct OAuth2Config {
    /// Where to get a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// The client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its secret; use an argument from a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Scopes to ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// Name and password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct BasicAuthConfig {
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password; use an argument from a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A header of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct WebMetricHeader {
    /// Name of the header.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A request to an HTTP endpoint. The result is what `jsonPath` selects of the answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct WebMetric {
    /// GET, POST or PUT. Default GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<WebMetricMethod>,
    /// Where to send the request.
    pub url: String,
    /// Headers of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<WebMetricHeader>,
    /// Body of a POST or PUT; not together with `jsonBody`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Seconds that a request may take. Default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i64>,
    /// JSONPath of the value in the answer. Default `{$}`, the whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    /// Do not verify the server's certificate. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Body of a POST or PUT, as JSON; not together with `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Opaque"))]
    pub json_body: Option<Value>,
    /// How to log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
}

/// A query to Datadog. Credentials: `secretRef`, the Secret `datadog` beside the controller, or its
/// environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DatadogMetric {
    /// How far to look back. Default 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-default" = "5m")))]
    pub interval: Option<GoDuration>,
    /// One query; not together with `queries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Named queries, for `formula` (v2 only).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: BTreeMap<String, String>,
    /// Formula over `queries` (v2 only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// Version of Datadog's API, v1 or v2. Default v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-default" = "v1", "enum" = ["v1", "v2"])))]
    pub api_version: Option<String>,
    /// How points become one number (v2 only). Default last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["avg", "min", "max", "sum", "last", "percentile", "mean", "l2norm", "area"])))]
    pub aggregator: Option<String>,
    /// Secret with the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Time that a request may take. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-default" = "10s")))]
    pub request_timeout: Option<GoDuration>,
}

/// A Secret with credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// True: in the namespace of the run; false: beside the controller. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaced: Option<bool>,
}

/// A query to Wavefront. The result is the nearest point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct WavefrontMetric {
    /// Host of the server; key of its token in the Secret `wavefront-api-tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A query to New Relic. One row is an object, several are a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct NewRelicMetric {
    /// Secret with the credentials, beside the controller. Default `newrelic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The query in NRQL.
    pub query: String,
    /// Seconds that a query may take. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// A Job for each measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct JobMetric {
    /// Labels and annotations of the Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JobMetadata>,
    /// Spec of the Job. Kept as it is: Kubernetes is its judge.
    #[cfg_attr(feature = "schema", schemars(with = "schema::Opaque"))]
    pub spec: Value,
}

/// Labels and annotations of a Job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct JobMetadata {
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Queries to Amazon CloudWatch. The result is the list of results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct CloudWatchMetric {
    /// How far to look back. Default 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// The queries.
    pub metric_data_queries: Vec<CloudWatchMetricDataQuery>,
}

/// One query: an expression or a statistic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct CloudWatchMetricDataQuery {
    /// Name of the result within the queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Expression over other results; not together with `metricStat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Statistic of a metric; not together with `expression`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_stat: Option<CloudWatchMetricStat>,
    /// Seconds that a point stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<IntOrString>,
    /// Whether the result is part of the answer. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_data: Option<bool>,
}

/// A statistic of a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct CloudWatchMetricStat {
    /// The metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<CloudWatchMetricStatMetric>,
    /// Seconds that a point stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<IntOrString>,
    /// Which statistic, such as `Average` or `p99`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stat: Option<String>,
    /// Unit of the points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct CloudWatchMetricStatMetric {
    /// What the metric is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<CloudWatchMetricStatMetricDimension>,
    /// Name of the metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_name: Option<String>,
    /// CloudWatch namespace of the metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What a metric is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct CloudWatchMetricStatMetricDimension {
    /// The dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A query to Graphite. The result is the list of numbers of the first target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct GraphiteMetric {
    /// URL of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The target expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A query to InfluxDB. The result is the list of values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct InfluxdbMetric {
    /// Secret with address, token and organisation, beside the controller. Default `influxdb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The query in Flux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// A query to Apache SkyWalking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct SkyWalkingMetric {
    /// URL of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The query in GraphQL, with a variable `duration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How far to look back. No default: without it the measurement errs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
}

/// A judgement of Kayenta.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct KayentaMetric {
    /// URL of the server.
    pub address: String,
    /// Application that the canary configuration belongs to.
    pub application: String,
    /// The canary configuration.
    pub canary_config_name: String,
    /// Account for metrics.
    pub metrics_account_name: String,
    /// Account for configurations.
    pub configuration_account_name: String,
    /// Account for storage.
    pub storage_account_name: String,
    /// Scores that decide.
    pub threshold: KayentaThreshold,
    /// What to compare.
    pub scopes: Vec<KayentaScope>,
    /// Judge growing windows. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookback: Option<bool>,
}

/// Scores that decide, 0 to 100.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct KayentaThreshold {
    /// Successful from this score on.
    pub pass: i64,
    /// Inconclusive from this score on; Failed below.
    pub marginal: i64,
}

/// What to compare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct KayentaScope {
    /// Name of the scope.
    pub name: String,
    /// The baseline.
    pub control_scope: ScopeDetail,
    /// The canary.
    pub experiment_scope: ScopeDetail,
}

/// One side of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ScopeDetail {
    /// What it is about.
    pub scope: String,
    /// Where.
    pub region: String,
    /// Seconds between two points.
    pub step: i64,
    /// Start in RFC 3339. Default: the start of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// End in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

text_enum! {
    /// HTTP methods of a web metric.
    WebMetricMethod {
        /// `GET`, the default.
        Get = "GET",
        /// `POST`.
        Post = "POST",
        /// `PUT`.
        Put = "PUT",
    }
}
